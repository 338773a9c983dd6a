// Statements over several databases of one driver that are attached one by one: DuckDB hands a statement over as a whole
// only if it concerns one attachment, so one of them names the tables of the others.
//
//   FROM s.orders JOIN h.people    ->    FROM s.orders JOIN s.hr.main.people AS people
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace duckherder {

//! Names the tables of all attachments of one driver by one of them; whether there were several. What the statement
//! means does not change, whoever runs it.
bool UniteDatabases(duckdb::ClientContext &context, duckdb::SQLStatement &statement);

} // namespace duckherder
