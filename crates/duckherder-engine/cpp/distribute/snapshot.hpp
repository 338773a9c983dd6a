// The state of the database that a query reads, carried over to the connections of its tasks.
#pragma once

#include "connection.hpp"
#include "stored_positions.hpp"
#include "duckdb/main/client_config.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/storage/storage_lock.hpp"
#include "duckdb/transaction/duck_transaction.hpp"

namespace duckherder {

//! What a query's transaction sees of the databases whose tables it reads, and the settings of its session.
class QuerySnapshot {
public:
	//! Of no database.
	explicit QuerySnapshot(duckdb::ClientContext &context);

	//! What the transaction that `context` is in sees of one more database; it must stay open while tasks begin.
	void Add(duckdb::ClientContext &context, duckdb::AttachedDatabase &database);
	//! The databases that are in stored files as the snapshot sees them, at `stored_position`.
	const duckdb::vector<StoredDatabase> &Stored() const {
		return stored;
	}
	uint64_t stored_position = 0;
	//! Begins a read-only transaction on `connection` that sees exactly this snapshot, with the session's settings.
	void Enter(DhConnection &connection) const;

private:
	struct Part {
		duckdb::shared_ptr<duckdb::AttachedDatabase> database;
		duckdb::transaction_t start_time;
		duckdb::VisibilityBound visibility_bound;
		//! Row ids divide a table only while no checkpoint moves them.
		duckdb::unique_ptr<duckdb::StorageLockKey> vacuum_lock;
	};

	//! None if only files are read.
	duckdb::vector<Part> parts;
	duckdb::vector<StoredDatabase> stored;
	duckdb::ClientConfig config;
	duckdb::shared_ptr<Seat> seat = duckdb::make_shared_ptr<Seat>();
};

//! Whether the transaction that `context` is in has changed anything.
bool HasWritten(duckdb::ClientContext &context);
//! Whether it had when the running statement began.
bool HadWritten(duckdb::ClientContext &context);
//! Whether parts of files may be bound: in a task, or while a plan is cut; not by what a client sends.
bool MayBindParts(duckdb::ClientContext &context);

} // namespace duckherder
