// While a driver is attached, DuckDB puts the values of constant expressions in their place before it binds a statement,
// any statement, and takes these for literals: `t + 10::INT` becomes `t + 10`, of another type, whose overflow is an
// error; a macro's argument becomes a named one. What was written is put back.
#pragma once

#include "duckdb/catalog/catalog_entry.hpp"
#include "duckdb/common/optional.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/sql_statement.hpp"

#include <functional>
#include <map>

namespace duckherder {

//! Whether a function came with DuckDB or an extension, so that a driver has it, too.
bool IsDuckDBs(const duckdb::CatalogEntry &function);
//! The one statement of a text, as it was written; what a PREPARE or EXECUTE is of. Null if there are several, or none.
duckdb::unique_ptr<duckdb::SQLStatement> ParseWritten(duckdb::ClientContext &context, const duckdb::string &sql);
//! Whether DuckDB would fold something in a query as it is written.
bool MayBeFolded(duckdb::ClientContext &context, duckdb::QueryNode &written);
//! Puts back what was folded in `node`, which is, or was a part of, the query `written`.
void Unfold(duckdb::ClientContext &context, duckdb::QueryNode &node, duckdb::QueryNode &written);
//! The same for a part of the statement that is being bound, if its text is known, which is to go to a driver: what is of
//! the client's session (current_schema) stays a value.
void UnfoldPart(duckdb::ClientContext &context, duckdb::QueryNode &node);

//! A place in a statement's text.
using Location = std::pair<uint32_t, uint32_t>;
//! Where the statement that is being bound names a table, a function or a type by more than its own name, and by what;
//! nothing if its text is not known.
duckdb::unique_ptr<std::map<Location, duckdb::QualifiedName>> QualifiedNames(duckdb::ClientContext &context);
//! The names of what the statement makes, changes or inserts into, as they were written.
duckdb::vector<duckdb::QualifiedName> WrittenSubjects(duckdb::ClientContext &context);

//! Whether what it calls functions of that name by is such: all, or none, or (nothing) some and others not.
duckdb::optional<bool> AreCalls(duckdb::ClientContext &context, const duckdb::Identifier &function,
                                const std::function<bool(const duckdb::QualifiedName &)> &such);

} // namespace duckherder
