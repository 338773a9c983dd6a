// Types of a statement that goes to a driver, which has no others than its own.
#pragma once

#include "catalog.hpp"

#include "duckdb/parser/expression/type_expression.hpp"

namespace duckherder {

class TypeNames {
public:
	TypeNames(duckdb::ClientContext &context, RemoteCatalog &catalog) : context(context), catalog(catalog) {
	}

	//! The definition of a type that the client has and the driver has not, the driver's own name of a type of its;
	//! nothing for any other. A column's type is looked for beside its table first.
	duckdb::unique_ptr<duckdb::TypeExpression> Define(const duckdb::TypeExpression &type, bool of_column = false);
	//! The type of a column.
	void Define(duckdb::LogicalType &type);

private:
	bool IsTypeThere(const duckdb::Identifier &type);

	duckdb::ClientContext &context;
	RemoteCatalog &catalog;
};

} // namespace duckherder
