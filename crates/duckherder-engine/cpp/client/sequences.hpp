// nextval, currval and setval of a driver's sequences.
#pragma once

#include "catalog.hpp"
#include "duckdb/catalog/catalog_entry_retriever.hpp"
#include "duckdb/main/extension/extension_loader.hpp"
#include "duckdb/parser/expression/function_expression.hpp"

namespace duckherder {

//! Lets DuckDB's own functions of sequences ask the driver for those that are there.
void RegisterSequenceFunctions(duckdb::ExtensionLoader &loader);

//! Whether the call is of such a function, and not certainly for a sequence of `catalog`.
bool MayConcernOtherSequence(const duckdb::ParsedExpression &expression, RemoteCatalog &catalog);

//! In a call that goes to the driver as part of a statement, the sequence's name as the driver knows it; nothing
//! happens to other calls. It is looked for with `retriever`: for a column's default, which is stored, beside the table
//! first.
void NameSequenceForDriver(duckdb::CatalogEntryRetriever retriever, RemoteCatalog &catalog,
                           duckdb::FunctionExpression &call, bool is_stored, bool of_column);

} // namespace duckherder
