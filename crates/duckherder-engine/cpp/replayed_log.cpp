#include "replayed_log.hpp"

#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/catalog/duck_catalog.hpp"
#include "duckdb/common/error_data.hpp"
#include "duckdb/common/exception.hpp"
#include "duckdb/common/file_system.hpp"
#include "duckdb/common/path.hpp"
#include "duckdb/execution/index/art/art.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/storage/data_table.hpp"
#include "duckdb/storage/table/data_table_info.hpp"
#include "duckdb/storage/table/table_index_list.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

bool HasTwoLogs(FileSystem &files, const string &path) {
	return files.FileExists(Path::AddSuffixToPath(path, ".wal.checkpoint")) &&
	       files.FileExists(Path::AddSuffixToPath(path, ".wal"));
}

//! Tables whose indexes remember something.
static vector<reference<DuckTableEntry>> TablesBehind(AttachedDatabase &database) {
	vector<reference<DuckTableEntry>> found;
	database.GetCatalog().Cast<DuckCatalog>().ScanSchemas([&](SchemaCatalogEntry &schema) {
		schema.Scan(CatalogType::TABLE_ENTRY, [&](CatalogEntry &entry) {
			if (entry.type != CatalogType::TABLE_ENTRY) {
				return;
			}
			auto &table = entry.Cast<DuckTableEntry>();
			if (table.GetStorage().GetDataTableInfo()->GetIndexes().HasBufferedReplays()) {
				found.push_back(table);
			}
		});
	});
	return found;
}

//! Of an expression whose functions or types come with an extension that is not loaded yet.
static bool NeedsMore(ExceptionType type) {
	return type == ExceptionType::CATALOG || type == ExceptionType::BINDER || type == ExceptionType::MISSING_EXTENSION;
}

static bool IsDamaged(ExceptionType type) {
	return type == ExceptionType::INTERNAL || type == ExceptionType::FATAL || type == ExceptionType::CONSTRAINT ||
	       type == ExceptionType::INVALID_INPUT;
}

void CatchUpIndexes(ClientContext &context) {
	for (auto &database : DatabaseManager::Get(*context.db).GetDatabases()) {
		if (database->IsSystem() || database->IsTemporary() || database->IsReadOnly() ||
		    !database->GetCatalog().IsDuckCatalog()) {
			continue;
		}
		for (DuckTableEntry &table : TablesBehind(*database)) {
			try {
				// Those of other types may need an extension.
				context.RunFunctionInTransaction(
				    [&]() { table.GetStorage().GetDataTableInfo()->BindIndexes(context, string(ART::TYPE_NAME)); });
			} catch (const std::exception &exception) {
				ErrorData error(exception);
				if (NeedsMore(error.Type())) {
					continue;
				}
				if (!IsDamaged(error.Type())) {
					throw;
				}
				throw IOException("an index of \"%s\".\"%s\" does not fit its table: open the database with DuckDB, drop "
				                  "the table's indexes and create them again (%s)",
				                  table.schema.name, table.name, error.RawMessage());
			}
		}
	}
}

} // namespace duckherder
