// The CTEs of a statement that goes to a driver: which names are theirs, and what is in those that nobody reads.
#pragma once

#include "duckdb/parser/parsed_expression.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/tableref.hpp"

namespace duckherder {

class CTENames {
public:
	//! Those of a query and of the CTEs within.
	void Collect(const duckdb::QueryNode &node);
	//! A name that a CTE has is not a table's.
	bool Has(const duckdb::Identifier &name) const {
		return names.find(name) != names.end();
	}

	//! The same, with subqueries in FROM. Of a CTE that nobody reads, DuckDB binds nothing: that it names what is not
	//! there is no error.
	void CollectWithUnread(duckdb::QueryNode &node);
	//! Whether this table or call is in such a CTE.
	bool IsUnread(const duckdb::TableRef &table) const {
		return unread.count(&table) > 0;
	}
	bool IsUnread(const duckdb::ParsedExpression &call) const {
		return unread.count(&call) > 0;
	}

private:
	void FindUnread(const duckdb::QueryNode &node);
	void NoteUnread(duckdb::QueryNode &node);
	void NoteUnread(duckdb::ParsedExpression &expression);

	duckdb::identifier_set_t names;
	duckdb::unordered_set<const void *> unread;
};

} // namespace duckherder
