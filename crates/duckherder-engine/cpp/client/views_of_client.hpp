// Views of a driver's that read what only the client has: its own tables, temporary ones say, views and macros.
#pragma once

#include "catalog.hpp"

#include "duckdb/parser/statement/create_statement.hpp"

namespace duckherder {

//! If the view that is created is such, binds it here, where that is an error if it can't be bound, and writes the statement
//! for the driver, which keeps the view unbound: whoever reads it binds it in the client (clients_entries.hpp), with what is
//! then there. Whether it was such.
//! # Errors
//! It names something of the client's other databases by more than its own name.
bool BindHere(duckdb::ClientContext &context, RemoteCatalog &catalog, duckdb::CreateStatement &statement);

} // namespace duckherder
