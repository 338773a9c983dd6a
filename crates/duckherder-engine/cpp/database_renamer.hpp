// The name of a database in what is parsed.
#pragma once

#include "duckdb/parser/parsed_expression.hpp"
#include "duckdb/parser/qualified_name.hpp"
#include "duckdb/parser/query_node.hpp"

namespace duckherder {

//! Whether the function's first argument is the name of a table, as a text, that DuckDB looks for when it is called.
bool IsOfTable(const duckdb::Identifier &function);
//! What a constant text names; false if it is none, or no name.
bool NamesByText(const duckdb::ParsedExpression &text, duckdb::QualifiedName &name);

//! Calls a database otherwise in names of at least so many parts. (Of two, the first may be a schema.)
class DatabaseRenamer {
public:
	DatabaseRenamer(const duckdb::Identifier &from, const duckdb::Identifier &to, duckdb::idx_t least_parts)
	    : from(from), to(to), least_parts(least_parts) {
	}

	void Rename(duckdb::QueryNode &node);
	void Rename(duckdb::ParsedExpression &expression);

private:
	void Rename(duckdb::QualifiedName &name);

	const duckdb::Identifier from;
	const duckdb::Identifier to;
	const duckdb::idx_t least_parts;
};

} // namespace duckherder
