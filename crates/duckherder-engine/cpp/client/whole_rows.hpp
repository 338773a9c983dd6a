// Whole rows: a table's name in the place of a column.
#pragma once

#include "catalog.hpp"

#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/query_node.hpp"

namespace duckherder {

//! Which names of two parts, of which the first is that of a driver's catalog, are tables' in a query.
class WholeRows {
public:
	WholeRows(duckdb::ClientContext &context, RemoteCatalog &catalog, duckdb::QueryNode &node);

	//! `dh.t` gets the name that the driver knows it by, `main.t`, if it can't be a column.
	void NameForDriver(duckdb::ColumnRefExpression &column) const;

private:
	class Collector;

	const duckdb::Identifier catalog_name;
	//! The tables that are read by their own name, each with its schema; an empty one if there are several.
	duckdb::identifier_map_t<duckdb::Identifier> schemas;
	//! Names that a part of the query, or a column, may have.
	duckdb::identifier_set_t taken;
};

} // namespace duckherder
