#include "subject_names.hpp"

#include "transaction.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

SubjectNames::SubjectNames(ClientContext &context, RemoteCatalog &catalog, WrittenNames &written,
                           SearchedNames &searched)
    : context(context), catalog(catalog), written(written), searched(searched) {
}

static bool IsDescribed(Snapshot &snapshot, const Identifier &schema_name, const Identifier &name) {
	static constexpr EntryKind KINDS[] = {EntryKind::TABLE,        EntryKind::VIEW,        EntryKind::INDEX,
	                                      EntryKind::SEQUENCE,     EntryKind::TYPE,        EntryKind::SCALAR_MACRO,
	                                      EntryKind::TABLE_MACRO};
	auto schema = snapshot.FindSchema(schema_name);
	return schema && std::any_of(std::begin(KINDS), std::end(KINDS),
	                             [&](EntryKind kind) { return static_cast<bool>(schema->Describe(kind, name)); });
}

bool SubjectNames::IsThere(const Identifier &schema, const Identifier &name) {
	auto &transaction = RemoteTransaction::Get(context, catalog);
	return IsDescribed(*transaction.GetSnapshot(context), schema, name) ||
	       IsDescribed(*transaction.Validate(context), schema, name);
}

bool SubjectNames::IsRegistered(const QualifiedName &name) {
	QualifiedName registered;
	return catalog.FindRegistered(name.Name(), registered);
}

void SubjectNames::CheckMain(const QualifiedName &name, CatalogType type) {
	searched.Check(name, QueryLocation(), type, [&]() { return written.IsSubjectOfCatalog(name.Name()); });
}

void SubjectNames::CheckTarget(const QualifiedName &name) {
	if (!IsRegistered(name)) {
		CheckMain(name, CatalogType::TABLE_ENTRY);
	}
}

void SubjectNames::Find(QualifiedName &name, CatalogType type, OnEntryNotFound if_not_found) {
	// `main.x` is not the driver's where its `main` is not looked into; with IF EXISTS, too, nothing of it is dropped.
	if (name.Path().size() == 2) {
		CheckMain(name, type);
	}
	PutInPath(name);
	CheckThere(name, type, if_not_found);
}

//! The driver would also find in its `main` what DDL names, where DuckDB does not look.
void SubjectNames::PutInPath(QualifiedName &name) {
	if (!searched.IsNarrower() || name.Path().size() != 1 || IsRegistered(name)) {
		return;
	}
	auto schemas = catalog.SearchedSchemas(context);
	if (!written.IsSubjectOfCatalog(name.Name()) && catalog.IsDefault(context)) {
		return;
	}
	auto found = std::find_if(schemas.begin(), schemas.end(),
	                          [&](const Identifier &schema) { return IsThere(schema, name.Name()); });
	name = QualifiedName(Identifier(), found == schemas.end() ? schemas[0] : *found, name.Name());
}

void SubjectNames::CheckThere(const QualifiedName &name, CatalogType type, OnEntryNotFound if_not_found) {
	auto path = name.Path();
	while (path.size() > 1 && path.front().empty()) {
		path.erase(path.begin());
	}
	// Of types, DuckDB has similar ones in every database.
	auto is_type = type == CatalogType::TYPE_ENTRY && path.size() < 3;
	if (is_type || if_not_found != OnEntryNotFound::THROW_EXCEPTION || IsRegistered(name)) {
		return;
	}
	if (path.size() == 1) {
		// After USE of another schema, it is also looked for in `main`.
		if (IsThere(catalog.InDefaultSchema(context, name.Name()).Schema(), name.Name()) ||
		    IsThere(Identifier::DefaultSchema(), name.Name())) {
			return;
		}
		path.insert(path.begin(), Identifier());
	} else if (path.size() == 2 && IsThere(path[0], path[1])) {
		return;
	}
	path.insert(path.begin(), catalog.GetName());
	EntryLookupInfo lookup(type, QualifiedName::FromPath(std::move(path)));
	Catalog::GetEntry(context, lookup, OnEntryNotFound::THROW_EXCEPTION);
}

} // namespace duckherder
