#include "snapshot.hpp"

#include "catalog.hpp"
#include "clients_entries.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/parser/parsed_data/create_schema_info.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static Value OptionalValue(const DhOptionalText &text) {
	return text.present ? Value(ToString(text.text)) : Value();
}

void Snapshot::Add(const DhCatalogEntry &entry) {
	EntryDescription description;
	description.kind = static_cast<EntryKind>(entry.kind);
	description.name = Identifier(ToString(entry.name));
	if (description.kind == EntryKind::SCHEMA) {
		GetOrMakeSchema(description.name).comment = OptionalValue(entry.comment);
		return;
	}
	description.schema = Identifier(ToString(entry.schema));
	description.sql = ToString(entry.sql);
	description.table = Identifier(ToString(entry.table));
	description.estimated_rows = entry.estimated_rows;
	description.comment = OptionalValue(entry.comment);
	description.sequence = entry.sequence;
	for (idx_t i = 0; i < entry.column_count; i++) {
		auto &column = entry.columns[i];
		description.columns.push_back({ToString(column.name), ToString(column.type_name), column.not_null,
		                               OptionalValue(column.comment)});
	}
	GetOrMakeSchema(description.schema).Add(std::move(description));
}

RemoteSchema &Snapshot::GetOrMakeSchema(const Identifier &name) {
	auto &schema = schemas[StringUtil::Lower(name.GetIdentifierName())];
	if (!schema) {
		CreateSchemaInfo info;
		info.SetQualifiedName(QualifiedName(catalog.GetName(), name, Identifier()));
		info.internal = name == Identifier::DefaultSchema();
		schema = make_uniq<RemoteSchema>(catalog, *this, info);
	}
	return *schema;
}

shared_ptr<Snapshot> Snapshot::Fetch(ClientContext &context, RemoteCatalog &catalog, Session &session,
                                     const shared_ptr<Snapshot> &previous, bool in_transaction) {
	shared_ptr<Snapshot> fresh(new Snapshot(catalog));
	struct Target {
		Snapshot &snapshot;
		ErrorData error;
	} target {*fresh, ErrorData()};
	auto sink = [](void *pointer, const DhCatalogEntry *entry) {
		auto &target = *static_cast<Target *>(pointer);
		try {
			target.snapshot.Add(*entry);
		} catch (std::exception &exception) {
			// No exception travels through Rust.
			target.error = ErrorData(exception);
		}
	};
	auto name_database = [](void *pointer, DhText name) {
		static_cast<Target *>(pointer)->snapshot.database = Identifier(ToString(name));
	};
	optional_idx known;
	if (previous) {
		known = previous->Version();
	}
	auto state = session.Describe(context, known, in_transaction, sink, name_database, &target);
	if (target.error.HasError()) {
		target.error.Throw();
	}
	if (state.unchanged && previous) {
		return previous;
	}
	fresh->version = state.version;
	fresh->GetOrMakeSchema(Identifier::DefaultSchema());
	fresh->clients_entries = FindClientsEntries(context, *fresh);
	catalog.Saw(*fresh);
	return fresh;
}

vector<reference<const EntryDescription>> Snapshot::Definitions() const {
	vector<reference<const EntryDescription>> result;
	for (auto &schema : schemas) {
		schema.second->AddDefinitions(result);
	}
	return result;
}

identifier_set_t Snapshot::Sequences() const {
	identifier_set_t result;
	for (auto &schema : schemas) {
		schema.second->AddSequences(result);
	}
	return result;
}

bool Snapshot::HasTable(const Identifier &name) const {
	return std::any_of(schemas.begin(), schemas.end(), [&](const auto &schema) {
		return static_cast<bool>(schema.second->Describe(EntryKind::TABLE, name));
	});
}

optional_ptr<RemoteSchema> Snapshot::FindSchema(const Identifier &name) {
	auto found = schemas.find(StringUtil::Lower(name.GetIdentifierName()));
	return found == schemas.end() ? nullptr : found->second.get();
}

void Snapshot::ScanSchemas(const std::function<void(RemoteSchema &)> &callback) {
	for (auto &schema : schemas) {
		callback(*schema.second);
	}
}

} // namespace duckherder
