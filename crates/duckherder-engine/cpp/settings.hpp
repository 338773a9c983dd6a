// Settings that somebody changed.
#pragma once

#include "duckdb/common/optional.hpp"
#include "duckdb/main/client_context.hpp"

namespace duckherder {

//! The value that was given to a setting, for the connection or for all; nothing if it has its default. A default that
//! depends on the machine counts as given.
duckdb::optional<duckdb::string> GivenSetting(duckdb::ClientContext &context, const duckdb::string &name);

} // namespace duckherder
