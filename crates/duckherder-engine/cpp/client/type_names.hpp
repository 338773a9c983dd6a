// Types of a statement that goes to a driver, which has no others than its own.
#pragma once

#include "searched_names.hpp"

#include "duckdb/parser/expression/type_expression.hpp"

namespace duckherder {

class TypeNames {
public:
	TypeNames(duckdb::ClientContext &context, RemoteCatalog &catalog, WrittenNames &written, SearchedNames &searched)
	    : context(context), catalog(catalog), written(written), searched(searched) {
	}

	//! What is looked for is a part of an ALTER TABLE, for which DuckDB looks into `main`, too.
	bool of_change = false;

	//! The definition of a type that the client has and the driver has not, the driver's own name of a type of its;
	//! nothing for any other. `beside`: it is looked for where the statement's subject is, first. `of_statement`: it is
	//! a part of the statement's text.
	duckdb::unique_ptr<duckdb::TypeExpression> Define(const duckdb::TypeExpression &type, bool beside = false,
	                                                  bool of_statement = true);
	//! The type of a column, or, if not `beside`, of a macro's parameter, and what a type is made of.
	void Define(duckdb::LogicalType &type, bool beside = true);

private:
	//! What the client means by it; nothing if the catalog's name was taken away from a schema's.
	duckdb::optional_ptr<duckdb::CatalogEntry> Find(const duckdb::TypeExpression &type, bool beside, bool of_statement);
	bool IsTypeThere(const duckdb::QualifiedName &type);

	duckdb::ClientContext &context;
	RemoteCatalog &catalog;
	WrittenNames &written;
	SearchedNames &searched;
};

} // namespace duckherder
