// Which state of the stored files has what a transaction sees of a database, no more and no less.
//
// Positions count the syncs of all files. DuckDB syncs the log with a commit in it, and draws the commit's number, while
// it holds the lock with which transactions begin: so what a transaction sees that begins between two looks at the
// position that are equal is what the files have at that position.
#pragma once

#include "stored_files.hpp"

namespace duckdb {
class AttachedDatabase;
class MetaTransaction;
} // namespace duckdb

namespace duckherder {

//! A database in the files, as a transaction sees it.
struct StoredDatabase {
	//! In DuckDB.
	duckdb::string name;
	//! In the files.
	duckdb::string file;
	//! Its bytes are those of this position, which is not after the state's.
	uint64_t as_of;
};

//! Looks at the positions while the transactions of a connection begin.
class StoredPositions : public duckdb::ClientContextState {
public:
	explicit StoredPositions(duckdb::shared_ptr<StoredFiles> files) : files(std::move(files)) {
	}

	//! Has the transactions of a connection looked at, if there are such files.
	static void Register(duckdb::ClientContext &context, const duckdb::shared_ptr<StoredFiles> &files);
	//! Those of a connection, or null.
	static duckdb::shared_ptr<StoredPositions> Of(duckdb::ClientContext &context);

	void TransactionBegin(duckdb::MetaTransaction &transaction, duckdb::ClientContext &context) override;
	void QueryBegin(duckdb::ClientContext &context) override;
	//! Begins the transaction's part in the session's own database now, if it has not begun, and at a known position.
	void Look(duckdb::ClientContext &context);

	//! The state of the files that may have what the transaction sees.
	uint64_t Position() const {
		return exact ? exact_position : begun;
	}
	//! A database that the transaction sees as the files have it at that position, with the row ids that it has now;
	//! whether there is such a state. While this is called, no checkpoint may begin that moves row ids.
	bool Find(duckdb::ClientContext &context, duckdb::AttachedDatabase &database, StoredDatabase &result);

	//! Whether the statement that is about to begin reads tables, so that its transaction may begin before it is planned.
	bool reads = false;

private:
	const duckdb::shared_ptr<StoredFiles> files;
	//! Before the transaction had seen anything.
	uint64_t begun = 0;
	//! The database whose part of the transaction began at `exact_position`.
	duckdb::weak_ptr<duckdb::AttachedDatabase> exact_database;
	bool exact = false;
	uint64_t exact_position = 0;
};

} // namespace duckherder
