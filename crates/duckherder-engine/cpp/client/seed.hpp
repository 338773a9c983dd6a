// setseed(), which is to hold for the random numbers of drivers, too.
#pragma once

#include "duckdb/main/extension/extension_loader.hpp"

namespace duckherder {

//! Has setseed() remember what it was given: it goes along with the statements that follow.
void RegisterSeedFunction(duckdb::ExtensionLoader &loader);

} // namespace duckherder
