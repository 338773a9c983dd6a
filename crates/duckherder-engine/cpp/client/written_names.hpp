// How the user wrote the names of a statement, of which DuckDB has taken a driver's catalog away.
#pragma once

#include "catalog.hpp"
#include "named_places.hpp"

namespace duckherder {

class WrittenNames {
public:
	//! `part` is of the statement that is being bound, and is what will be asked about.
	WrittenNames(duckdb::ClientContext &context, const RemoteCatalog &catalog, NamedPlaces part);

	//! Whether the user wrote more than `name` where that table is named.
	bool IsQualified(const duckdb::Identifier &name, const duckdb::QueryLocation &location);
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
	bool IsWritten(const duckdb::Identifier &name, const duckdb::QueryLocation &location);

	//! How far places in the part are beyond those in the text; 0 if it is not known.
	uint32_t Shift();

private:
	void Parse();
	//! Finds `shift`, if that can be.
	void Seek();
	//! Locations in one of several statements of a text are of all, while its text is its own: the place in that. An
	//! invalid one if it is not known.
	duckdb::QueryLocation InText(const duckdb::QueryLocation &location);
	//! Whether the text there has `name` in it.
	bool IsPlaceOf(const duckdb::Identifier &name, const duckdb::QueryLocation &location);
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
	const NamedPlaces part;
	//! Known once asked for.
	duckdb::optional<NamedPlaces> places;
	//! See ShiftOf; `is_sought` in the text, before that is parsed.
	duckdb::optional<uint32_t> shift;
	bool is_sought = false;
	//! Those of more than one name.
	std::map<Location, duckdb::QualifiedName> qualified;
};

} // namespace duckherder
