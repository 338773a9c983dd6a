#include "stored_positions.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/storage/storage_manager.hpp"
#include "duckdb/transaction/duck_transaction_manager.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const POSITIONS = "duckherder_stored_positions";
static const string LOGS[] = {".wal", ".wal.checkpoint", ".wal.recovery"};

void StoredPositions::Register(ClientContext &context, const shared_ptr<StoredFiles> &files) {
	if (files) {
		context.registered_state->Insert(POSITIONS, make_shared_ptr<StoredPositions>(files));
	}
}

shared_ptr<StoredPositions> StoredPositions::Of(ClientContext &context) {
	return context.registered_state->Get<StoredPositions>(POSITIONS);
}

static bool HasActiveCheckpoint(AttachedDatabase &database) {
	return DuckTransactionManager::Get(database).GetActiveCheckpoint().IsValid();
}

void StoredPositions::TransactionBegin(MetaTransaction &, ClientContext &) {
	begun = files->Position();
	exact = false;
}

void StoredPositions::QueryBegin(ClientContext &context) {
	// A large commit would be seen by others before its checkpoint, which then is all that is written of it, has been
	// synced. Whatever the session says.
	auto never = NumericLimits<idx_t>::Maximum();
	if (Settings::Get<AutoCheckpointSkipWalThresholdSetting>(context) != never) {
		Settings::Set(context, AutoCheckpointSkipWalThresholdSetting::SettingIndex, SetScope::SESSION,
		              Value::UBIGINT(never));
	}
	if (reads) {
		reads = false;
		Look(context);
	}
}

void StoredPositions::Look(ClientContext &context) {
	auto &transaction = MetaTransaction::Get(context);
	auto database = DatabaseManager::Get(context).GetDatabase(context, DatabaseManager::GetDefaultDatabase(context));
	if (!database || !database->GetCatalog().IsDuckCatalog() || database->IsTemporary() ||
	    transaction.TryGetTransaction(*database)) {
		return;
	}
	auto before = files->Position();
	transaction.GetTransaction(*database);
	exact = !HasActiveCheckpoint(*database) && files->Position() == before;
	exact_position = before;
	exact_database = database->shared_from_this();
}

bool StoredPositions::Find(ClientContext &context, AttachedDatabase &database, StoredDatabase &result) {
	auto path = database.GetStorageManager().GetDBPath();
	string file;
	if (!StoredFileName(path, file) || HasActiveCheckpoint(database)) {
		return false;
	}
	auto main_changed = files->Changed(file);
	auto changed = main_changed;
	for (auto &log : LOGS) {
		changed = MaxValue(changed, files->Changed(file + log));
	}
	auto is_exact = exact && exact_database.lock().get() == &database;
	auto position = Position();
	// A checkpoint since then may have moved row ids.
	if (is_exact ? main_changed > position : changed > begun) {
		return false;
	}
	result = StoredDatabase {database.GetName().GetIdentifierName(), file, MinValue(changed, position)};
	return true;
}

} // namespace duckherder
