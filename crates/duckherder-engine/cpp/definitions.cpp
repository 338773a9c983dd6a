// What DuckDB's system views leave out of the catalog: the statements that would create what they show without one, or,
// for a sequence, with the next value in place of the first; the collations of columns. For src/connection.rs.
#include "connection.hpp"
#include "wire_type.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/sequence_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/view_catalog_entry.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/parser/parsed_data/create_sequence_info.hpp"

using namespace duckdb; // NOLINT
using duckherder::Guard;
using duckherder::ToText;

extern "C" {

//! Seven texts for each type, macro and sequence of the user's in the default database: DuckDB's name of its kind,
//! schema, name, CREATE statement; of a sequence that was used how often, the next value and the last, which may be
//! missing: they are empty else.
bool dh_connection_definitions(DhConnection *connection, DhTextSink sink, void *target, DhError *error) {
	return Guard(error, false, [&]() {
		auto &context = *connection->context;
		context.RunFunctionInTransaction([&]() {
			auto &catalog = Catalog::GetCatalog(context, DatabaseManager::GetDefaultDatabase(context));
			for (auto &schema : catalog.GetSchemas(context)) {
				auto tell = [&](CatalogEntry &entry) {
					if (entry.internal) {
						return;
					}
					sink(target, ToText(CatalogTypeToString(entry.type)));
					sink(target, ToText(schema.get().name.GetIdentifierName()));
					sink(target, ToText(entry.name.GetIdentifierName()));
					auto info = entry.GetInfo();
					string uses, next, last;
					if (entry.type == CatalogType::SEQUENCE_ENTRY) {
						auto state = entry.Cast<SequenceCatalogEntry>().GetData();
						info->Cast<CreateSequenceInfo>().start_value = state.start_value;
						if (state.usage_count > 0) {
							uses = to_string(state.usage_count);
							next = to_string(state.counter);
							last = state.last_value ? to_string(*state.last_value) : string();
						}
					}
					info->StripCatalogQualification();
					sink(target, ToText(info->ToString()));
					sink(target, ToText(uses));
					sink(target, ToText(next));
					sink(target, ToText(last));
				};
				for (auto kind : {CatalogType::TYPE_ENTRY, CatalogType::MACRO_ENTRY, CatalogType::TABLE_MACRO_ENTRY,
				                  CatalogType::SEQUENCE_ENTRY}) {
					schema.get().Scan(context, kind, tell);
				}
			}
		});
		return true;
	});
}

//! Four texts for each column of the default database's tables and views that has a collation, which the system views
//! leave out: schema, table, column, type. A view that does not bind has none.
bool dh_connection_collated_columns(DhConnection *connection, DhTextSink sink, void *target, DhError *error) {
	return Guard(error, false, [&]() {
		auto &context = *connection->context;
		context.RunFunctionInTransaction([&]() {
			auto &catalog = Catalog::GetCatalog(context, DatabaseManager::GetDefaultDatabase(context));
			for (auto &schema : catalog.GetSchemas(context)) {
				auto tell = [&](const CatalogEntry &entry, const Identifier &column, const LogicalType &type) {
					if (duckherder::IsCollated(type)) {
						sink(target, ToText(schema.get().name.GetIdentifierName()));
						sink(target, ToText(entry.name.GetIdentifierName()));
						sink(target, ToText(column.GetIdentifierName()));
						sink(target, ToText(duckherder::WireTypeName(type)));
					}
				};
				schema.get().Scan(context, CatalogType::TABLE_ENTRY, [&](CatalogEntry &entry) {
					if (entry.internal) {
						return;
					}
					if (entry.type == CatalogType::TABLE_ENTRY) {
						for (auto &column : entry.Cast<TableCatalogEntry>().GetColumns().Logical()) {
							tell(entry, column.Name(), column.Type());
						}
						return;
					}
					// Listing the columns has bound the views.
					auto columns = entry.Cast<ViewCatalogEntry>().GetColumnInfo();
					for (idx_t i = 0; columns && i < columns->types.size(); i++) {
						tell(entry, columns->names[i], columns->types[i]);
					}
				});
			}
		});
		return true;
	});
}

} // extern "C"
