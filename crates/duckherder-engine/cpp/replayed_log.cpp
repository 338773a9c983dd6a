#include "replayed_log.hpp"

#include "stored_files.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/common/error_data.hpp"
#include "duckdb/common/exception.hpp"
#include "duckdb/common/file_system.hpp"
#include "duckdb/common/path.hpp"
#include "duckdb/common/types/uuid.hpp"
#include "duckdb/execution/index/art/art.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_context_state.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/main/connection.hpp"
#include "duckdb/main/database.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/parsed_data/attach_info.hpp"
#include "duckdb/parser/parsed_data/detach_info.hpp"
#include "duckdb/parser/statement/attach_statement.hpp"
#include "duckdb/parser/statement/detach_statement.hpp"
#include "duckdb/storage/data_table.hpp"
#include "duckdb/storage/table/data_table_info.hpp"
#include "duckdb/storage/table/table_index_list.hpp"

#include <algorithm>
#include <functional>

using namespace duckdb; // NOLINT

namespace duckherder {

bool HasTwoLogs(FileSystem &files, const string &path) {
	return files.FileExists(Path::AddSuffixToPath(path, ".wal.checkpoint")) &&
	       files.FileExists(Path::AddSuffixToPath(path, ".wal"));
}

void UniteLogs(ClientContext &context, const string &path) {
	if (!HasTwoLogs(FileSystem::GetFileSystem(context), path)) {
		return;
	}
	DBConfig config;
	if (auto waits = CommitWaits::Of(context)) {
		config.file_system = MakeFileSystem(waits->files);
	}
	config.SetOptionByName("threads", Value::BIGINT(1));
	// DETACH would write the indexes without what they remember.
	config.options.checkpoint_on_shutdown = false;
	DuckDB united(path, &config);
}

//! Tables, as the transaction sees them, whose indexes remember something.
static vector<reference<DuckTableEntry>> TablesBehind(ClientContext &context, AttachedDatabase &database) {
	vector<reference<DuckTableEntry>> found;
	database.GetCatalog().ScanSchemas(context, [&](SchemaCatalogEntry &schema) {
		schema.Scan(context, CatalogType::TABLE_ENTRY, [&](CatalogEntry &entry) {
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

static void CatchUpIndexes(ClientContext &context, AttachedDatabase &database) {
	for (DuckTableEntry &table : TablesBehind(context, database)) {
		try {
			// Those of other types may need an extension.
			table.GetStorage().GetDataTableInfo()->BindIndexes(context, string(ART::TYPE_NAME));
		} catch (const std::exception &exception) {
			ErrorData error(exception);
			if (NeedsMore(error.Type())) {
				continue;
			}
			if (!IsDamaged(error.Type())) {
				throw;
			}
			throw IOException("an index of %s.%s does not fit its table: open the database with DuckDB, drop "
			                  "the table's indexes and create them again (%s)",
			                  table.schema.name, table.name, error.RawMessage());
		}
	}
}

static void CatchUpIndexes(ClientContext &context, const std::function<bool(AttachedDatabase &)> &is_wanted) {
	for (auto &database : DatabaseManager::Get(*context.db).GetDatabases()) {
		if (!is_wanted(*database) || database->IsSystem() || database->IsTemporary() || database->IsReadOnly() ||
		    !database->GetCatalog().IsDuckCatalog()) {
			continue;
		}
		// In one transaction: what it has found stays, whoever drops it meanwhile.
		context.RunFunctionInTransaction([&]() { CatchUpIndexes(context, *database); });
	}
}

void CatchUpIndexes(ClientContext &context, const Identifier &name) {
	CatchUpIndexes(context, [&](AttachedDatabase &database) { return name.empty() || database.GetName() == name; });
}

//! The databases that there were before a connection's ATTACH. Not kept by that: one may be detached meanwhile.
struct DatabasesBefore : public ClientContextState {
	vector<weak_ptr<AttachedDatabase>> databases;

	static DatabasesBefore &Of(ClientContext &context) {
		return *context.registered_state->GetOrCreate<DatabasesBefore>("duckherder_databases_before");
	}
};

void AfterAttach(ClientContext &context) {
	auto before = std::move(DatabasesBefore::Of(context).databases);
	CatchUpIndexes(context, [&](AttachedDatabase &database) {
		return std::none_of(before.begin(), before.end(),
		                    [&](const weak_ptr<AttachedDatabase> &known) { return known.lock().get() == &database; });
	});
}

//! Text as the user wrote it; nothing, if it is to be computed.
static string TextOf(const unique_ptr<ParsedExpression> &expression) {
	if (!expression || expression->GetExpressionClass() != ExpressionClass::CONSTANT) {
		return string();
	}
	auto &literal = expression->Cast<ConstantExpression>().GetLiteral();
	return literal.kind == LiteralKind::STRING ? literal.text : string();
}

static void UniteLogs(ClientContext &context, const AttachInfo &info) {
	auto path = info.parsed_path ? TextOf(info.parsed_path) : info.path;
	// One with options may be of another type, only be read, or be encrypted: DuckDB tells what it thinks of it.
	if (path.empty() || !info.parsed_options.empty() || !info.options.empty() || FileSystem::IsRemoteFile(path) ||
	    !HasTwoLogs(FileSystem::GetFileSystem(context), path)) {
		return;
	}
	// In this instance, which knows whether it has the file open: then that is why there are two.
	Connection connection(*context.db);
	Settings::Set(*connection.context, CheckpointOnDetachSetting::SettingIndex, SetScope::SESSION, Value("DISABLED"));
	auto once = info.Copy();
	once->name = Identifier("duckherder " + UUID::ToString(UUID::GenerateRandomUUID()));
	auto detach = make_uniq<DetachStatement>();
	detach->info = make_uniq<DetachInfo>();
	detach->info->name = once->name;
	auto attach = make_uniq<AttachStatement>();
	attach->info = std::move(once);
	// What is wrong, the ATTACH itself tells.
	if (!connection.Query(std::move(attach))->HasError()) {
		connection.Query(std::move(detach))->ThrowIfError();
	}
}

void BeforeAttach(ClientContext &context, const AttachInfo &info) {
	UniteLogs(context, info);
	auto &before = DatabasesBefore::Of(context).databases;
	before.clear();
	for (auto &database : DatabaseManager::Get(*context.db).GetDatabases()) {
		before.emplace_back(database);
	}
}

} // namespace duckherder
