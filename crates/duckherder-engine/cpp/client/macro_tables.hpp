// Macros of a driver that the client unfolds, since their call concerns the client, too.
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "snapshot.hpp"

namespace duckherder {

//! The driver describes what is in its database without that database's name; in the client its tables and macros need one.
void QualifyNames(duckdb::ClientContext &context, duckdb::CreateMacroInfo &info, Snapshot &snapshot,
                  const duckdb::Identifier &catalog);

} // namespace duckherder
