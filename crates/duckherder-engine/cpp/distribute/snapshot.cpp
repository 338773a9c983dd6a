#include "snapshot.hpp"

#include "task_planning.hpp"

#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/transaction/duck_transaction_manager.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

QuerySnapshot::QuerySnapshot(ClientContext &context) : config(ClientConfig::GetConfig(context)) {
	// Whoever watches the query watches its own connection.
	config.enable_profiler = false;
	config.enable_progress_bar = false;
	config.get_result_collector = nullptr;
	config.profiler_save_location.clear();
	// How the session's client wants its rows: those of tasks lose nothing, and are what workers make them.
	for (auto setting : {ArrowLargeBufferSizeSetting::SettingIndex, ArrowOutputListViewSetting::SettingIndex,
	                     ArrowOutputVersionSetting::SettingIndex, ProduceArrowStringViewSetting::SettingIndex}) {
		config.user_settings.ClearSetting(setting);
	}
	config.user_settings.SetUserSetting(ArrowLosslessConversionSetting::SettingIndex, Value::BOOLEAN(true));
}

void QuerySnapshot::Add(ClientContext &context, AttachedDatabase &database) {
	for (auto &part : parts) {
		if (part.database.get() == &database) {
			return;
		}
	}
	auto &transaction = DuckTransaction::Get(context, database);
	parts.push_back(Part {database.shared_from_this(), transaction.start_time, transaction.view.visibility_bound,
	                      DuckTransactionManager::Get(database).SharedVacuumLock()});
	auto positions = StoredPositions::Of(context);
	StoredDatabase found;
	if (positions && !transaction.ChangesMade() && positions->Find(context, database, found)) {
		stored_position = positions->Position();
		stored.push_back(std::move(found));
	}
}

void QuerySnapshot::Enter(DhConnection &connection) const {
	auto &context = *connection.context;
	RunTasks(context);
	ClientConfig::GetConfig(context) = config;
	connection.seat = seat;
	connection.BeginTransaction();
	auto &meta = MetaTransaction::Get(context);
	// Also keeps it from waiting for a checkpoint that waits for the query.
	meta.SetReadOnly();
	for (auto &part : parts) {
		auto &transaction = meta.GetTransaction(*part.database).Cast<DuckTransaction>();
		transaction.start_time = part.start_time;
		transaction.view.visibility_bound = part.visibility_bound;
	}
}

bool HasWritten(ClientContext &context) {
	auto &meta = MetaTransaction::Get(context);
	for (auto &database : meta.OpenedTransactions()) {
		auto &transaction = meta.GetTransaction(database.get());
		if (transaction.IsDuckTransaction() && transaction.Cast<DuckTransaction>().ChangesMade()) {
			return true;
		}
	}
	return false;
}

} // namespace duckherder

using duckherder::QuerySnapshot;

extern "C" {

void dh_snapshot_free(QuerySnapshot *snapshot) {
	delete snapshot;
}

//! The position of the stored files that have the snapshot's databases; of each its name in DuckDB, its name there, and
//! the position that its bytes are of.
uint64_t dh_snapshot_stored(const QuerySnapshot *snapshot, DhTextSink sink, void *target) {
	for (auto &database : snapshot->Stored()) {
		sink(target, duckherder::ToText(database.name));
		sink(target, duckherder::ToText(database.file));
		sink(target, duckherder::ToText(to_string(database.as_of)));
	}
	return snapshot->stored_position;
}

//! The connection's next statements read the snapshot, until dh_snapshot_leave.
bool dh_snapshot_enter(const QuerySnapshot *snapshot, DhConnection *connection, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		snapshot->Enter(*connection);
		return true;
	});
}

bool dh_snapshot_leave(DhConnection *connection, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		connection->seat.reset();
		if (connection->HasActiveTransaction()) {
			connection->Rollback();
		}
		return true;
	});
}

} // extern "C"
