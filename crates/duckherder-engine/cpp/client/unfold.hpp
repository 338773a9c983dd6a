// While a driver is attached, DuckDB puts the values of constant expressions in their place before it binds a statement,
// any statement, and takes these for literals: `t + 10::INT` becomes `t + 10`, of another type, whose overflow is an
// error; a macro's argument becomes a named one. What was written is put back.
#pragma once

#include "duckdb/catalog/catalog_entry.hpp"
#include "duckdb/common/optional.hpp"
#include "duckdb/function/function.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace duckherder {

//! Whether a function came with DuckDB or an extension, so that a driver has it, too.
bool IsDuckDBs(const duckdb::CatalogEntry &function);
//! The function that a call is of, or the macro; null if there is none, or several may be meant.
duckdb::optional_ptr<duckdb::CatalogEntry> FunctionOf(duckdb::ClientContext &context,
                                                      const duckdb::ParsedExpression &call);
//! Whether all functions of that name are as stable as that.
bool HasStability(const duckdb::CatalogEntry &function, duckdb::FunctionStability stability);
//! The statements of a text, as they were written, of a PREPARE or EXECUTE what it is of; not to be changed. (DuckDB's
//! parser takes milliseconds for a text of some kilobytes.)
duckdb::shared_ptr<const duckdb::vector<duckdb::unique_ptr<duckdb::SQLStatement>>>
ParseAllWritten(duckdb::ClientContext &context, const duckdb::string &sql);
//! The one statement of a text, as it was written; what a PREPARE or EXECUTE is of. Null if there are several, or none.
duckdb::unique_ptr<duckdb::SQLStatement> ParseWritten(duckdb::ClientContext &context, const duckdb::string &sql);
//! Whether DuckDB would fold something in a query as it is written.
bool MayBeFolded(duckdb::ClientContext &context, duckdb::QueryNode &written);
//! Puts back what was folded in `node`, which is, or was a part of, the query `written`.
void Unfold(duckdb::ClientContext &context, duckdb::QueryNode &node, duckdb::QueryNode &written);
//! The same for a part of the statement that is being bound, if its text is known, which is to go to a driver: what is of
//! the client's session (current_schema) stays a value. `catalog` is the driver's name, which the part has lost.
void UnfoldPart(duckdb::ClientContext &context, duckdb::QueryNode &node, const duckdb::Identifier &catalog);

//! The value of an expression, as DuckDB writes it; null if it can't be evaluated by itself.
duckdb::unique_ptr<duckdb::ParsedExpression> ValueOf(duckdb::ClientContext &context,
                                                     const duckdb::ParsedExpression &expression);

} // namespace duckherder
