// The names in a statement that goes to a driver: types of the client's own are replaced by their definition, tables that
// the client registered by the driver's names, and what DuckDB leaves of the catalog's name goes.
#pragma once

#include "catalog.hpp"

namespace duckherder {

//! Writes the statement as the driver understands it; its parameters, in order.
duckdb::vector<duckdb::Identifier> RewriteForDriver(duckdb::ClientContext &context, RemoteCatalog &catalog,
                                                    duckdb::QueryNode &node);
duckdb::vector<duckdb::Identifier> RewriteForDriver(duckdb::ClientContext &context, RemoteCatalog &catalog,
                                                    duckdb::SQLStatement &statement);

} // namespace duckherder
