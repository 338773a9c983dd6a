// Where the names in a statement that goes to a driver are looked for: DuckDB has taken the catalog's name away, and the
// driver's session looks into its `main`, too, and for no other database.
#pragma once

#include "written_names.hpp"

#include "duckdb/catalog/catalog_entry_retriever.hpp"
#include "duckdb/common/enums/catalog_type.hpp"

#include "duckdb/parser/query_node.hpp"

#include <functional>

namespace duckherder {

class SearchedNames {
public:
	SearchedNames(duckdb::ClientContext &context, RemoteCatalog &catalog, WrittenNames &written);

	//! Whether there are names that are looked for in another schema of the driver's and not in `main`.
	bool IsNarrower() const {
		return narrower;
	}
	//! Fails, as DuckDB would, at a name that the driver would find in `main` alone, if DuckDB does not look there: after
	//! USE of another schema, at one that was written with the catalog's before it, and at any if the database is not the
	//! default one.
	void Check(const duckdb::QualifiedName &name, const duckdb::QueryLocation &location, duckdb::CatalogType type);
	//! The same where it is known whether the catalog's name was there; `of_catalog` is asked if it matters.
	void Check(const duckdb::QualifiedName &name, const duckdb::QueryLocation &location, duckdb::CatalogType type,
	           const std::function<bool()> &of_catalog);
	//! The schema of the driver's in the search path that has a table (or function ...) of that name, and the name; the first
	//! schema if none has.
	duckdb::QualifiedName InSearchedSchema(duckdb::CatalogType type, const duckdb::Identifier &name) const;
	//! Fails where the first of two names is a database's: if it is a schema's as well, it is ambiguous, or another thing
	//! than the driver's; so is what three names name in another database. `beside`: it is looked for where the subject
	//! is, first.
	void CheckDatabase(const duckdb::QualifiedName &name, const duckdb::QueryLocation &location,
	                   duckdb::CatalogType type, bool beside);

	//! What a macro names without the catalog is looked for where this client looks, in DuckDB when it is made, too: there it
	//! is refused unless it is found. (What is found there is no part of the driver.)
	void CheckReach(const duckdb::QualifiedName &name, const duckdb::QueryLocation &location, duckdb::CatalogType type);

	//! What a statement makes or changes.
	void SetSubject(const duckdb::QualifiedName &name);
	//! Its schema.
	duckdb::Identifier SubjectSchema() const;
	//! Looks for things beside it first, as DuckDB does for what a view reads and for types of columns.
	duckdb::CatalogEntryRetriever Beside() const;
	//! Looks for things beside a table, then in `main`, as DuckDB does for what a column's default calls.
	duckdb::CatalogEntryRetriever BesideTable() const;
	//! Whether the statement is the UPDATE by which the rows of a table get a new column's default: it is bound as the
	//! default is. What it calls gets the driver's name then.
	bool NameFilling(duckdb::QueryNode &node);

private:
	void NameBesideTable(duckdb::ParsedExpression &value) const;

	duckdb::ClientContext &context;
	RemoteCatalog &catalog;
	WrittenNames &written;
	const bool narrower;
	duckdb::Identifier subject_schema;
};

} // namespace duckherder
