// ALTER TABLE ... ADD COLUMN with a default that is no constant: DuckDB runs an UPDATE that gives it to the rows which are
// there. It is bound as the default will be, where its table is.
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/query_node/update_query_node.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace duckherder {

//! Has `written`, if that is the text of the statement which is being bound and that such an UPDATE, bound as one; whether
//! it is.
bool BindAsFilling(duckdb::ClientContext &context, duckdb::SQLStatement &written);
//! Puts back what was written for the values that DuckDB has put in the place of expressions: it evaluates them where the
//! session looks for names. What tells of the session stays a value. `statements` are those of the UPDATE's text; `catalog`
//! is the driver's name.
void WriteFilling(duckdb::ClientContext &context, duckdb::UpdateQueryNode &node,
                  const duckdb::vector<duckdb::unique_ptr<duckdb::SQLStatement>> &statements,
                  const duckdb::Identifier &catalog);

} // namespace duckherder
