// The SQL functions and pragmas that the extension offers.
#pragma once

#include "duckdb/main/extension/extension_loader.hpp"

namespace duckherder {

//! duckherder_start_local_server and the other functions that answer one value.
void RegisterScalarFunctions(duckdb::ExtensionLoader &loader);
//! duckherder_get_query_execution_stats, duckherder_get_query_history, duckherder_databases
//! and duckherder_workers.
void RegisterTableFunctions(duckdb::ExtensionLoader &loader);
//! PRAGMA duckherder_register_remote_table and its opposite.
void RegisterPragmas(duckdb::ExtensionLoader &loader);
//! Lets EXPLAIN of a whole remote statement show the driver's plan.
void RegisterExplain(duckdb::DBConfig &config);

} // namespace duckherder
