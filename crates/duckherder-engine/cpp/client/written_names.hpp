// How the user wrote the names of a statement, of which DuckDB has taken a driver's catalog away.
#pragma once

#include "catalog.hpp"
#include "unfold.hpp"

namespace duckherder {

class WrittenNames {
public:
	WrittenNames(duckdb::ClientContext &context, const RemoteCatalog &catalog);

	//! Whether the user wrote more than the own name of the table, function or type that is named there.
	bool IsQualified(const duckdb::QueryLocation &location);
	//! Whether the user wrote the catalog's name before `name` there; before one of that name, where the place is not
	//! known.
	bool IsOfCatalog(const duckdb::Identifier &name, const duckdb::QueryLocation &location);
	//! Whether what the statement makes, changes or inserts into was written as the catalog's name and `name`.
	bool IsSubjectOfCatalog(const duckdb::Identifier &name) const;
	//! Whether the user wrote more than `name` where it is called.
	bool IsCalledByMore(const duckdb::Identifier &name, const duckdb::QueryLocation &location);
	//! So it is with calls of `name` that begin with the catalog's.
	bool IsCalledByCatalog(const duckdb::Identifier &name, const duckdb::QueryLocation &location);
	//! Whether it is seen at once that the user wrote what is named there as `name` and no more, or as the first of several
	//! names. (Locations in an EXECUTE are those of what was prepared.)
	bool IsWritten(const duckdb::Identifier &name, const duckdb::QueryLocation &location) const;

private:
	void Parse();
	//! Whether the text there has `name` in it: locations in one of several statements of a text are of all, while its text
	//! is its own.
	bool IsPlaceOf(const duckdb::Identifier &name, const duckdb::QueryLocation &location) const;
	//! The first of several names that something is named by there; nothing if it is one.
	duckdb::optional<duckdb::Identifier> FirstName(const duckdb::QueryLocation &location);
	//! Whether the call there has such a first name; `such` may be asked about all calls of `name`.
	bool IsCalledBy(const duckdb::Identifier &name, const duckdb::QueryLocation &location,
	                const std::function<bool(const duckdb::optional<duckdb::Identifier> &first)> &such);

	duckdb::ClientContext &context;
	const RemoteCatalog &catalog;
	//! The text that the user ran.
	const duckdb::string text;
	//! It may be an EXECUTE.
	const bool executes;
	//! Known once asked for.
	duckdb::unique_ptr<std::map<Location, duckdb::QualifiedName>> qualified;
};

} // namespace duckherder
