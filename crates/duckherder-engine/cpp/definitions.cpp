// The statements that would create what DuckDB's system views show without one, or, for a sequence, with the next
// value in place of the first; for src/connection.rs.
#include "connection.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/sequence_catalog_entry.hpp"
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

} // extern "C"
