// The order in which entries of a catalog can be created.
#pragma once

#include "duckdb/parser/parsed_data/create_info.hpp"

namespace duckherder {

//! Entries after those that they name: a table after the macros that its defaults, CHECKs and generated columns call, say.
//! Otherwise they stay in their order.
duckdb::vector<duckdb::unique_ptr<duckdb::CreateInfo>> InOrder(duckdb::vector<duckdb::unique_ptr<duckdb::CreateInfo>> entries);

} // namespace duckherder
