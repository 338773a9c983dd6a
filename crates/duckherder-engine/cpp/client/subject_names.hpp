// The name of what a statement changes: DuckDB has taken the catalog's name away, and it has no place in the text.
#pragma once

#include "searched_names.hpp"

#include "duckdb/common/enums/on_entry_not_found.hpp"

namespace duckherder {

class SubjectNames {
public:
	SubjectNames(duckdb::ClientContext &context, RemoteCatalog &catalog, WrittenNames &written, SearchedNames &searched);

	//! Fails where what is inserted into, deleted from and the like is not the driver's, though its `main` has it.
	void CheckTarget(const duckdb::QualifiedName &name);
	//! Names what an ALTER or DROP is of as the driver finds it where DuckDB looks, and nowhere else. What there is nothing
	//! of is an error here, in DuckDB's words, which has similar names of all databases in mind.
	void Find(duckdb::QualifiedName &name, duckdb::CatalogType type, duckdb::OnEntryNotFound if_not_found);
	//! Whether the driver has something of that name, of whatever kind. Somebody may have made it since we last asked.
	bool IsThere(const duckdb::Identifier &schema, const duckdb::Identifier &name);

private:
	void CheckMain(const duckdb::QualifiedName &name, duckdb::CatalogType type);
	void PutInPath(duckdb::QualifiedName &name);
	void CheckThere(const duckdb::QualifiedName &name, duckdb::CatalogType type, duckdb::OnEntryNotFound if_not_found);
	bool IsRegistered(const duckdb::QualifiedName &name);

	duckdb::ClientContext &context;
	RemoteCatalog &catalog;
	WrittenNames &written;
	SearchedNames &searched;
};

} // namespace duckherder
