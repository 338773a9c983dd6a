// The client's transaction on an attached driver: begun there by the first statement that needs it.
#pragma once

#include "catalog.hpp"
#include "duckdb/transaction/transaction.hpp"
#include "duckdb/transaction/transaction_manager.hpp"

#include <atomic>

namespace duckherder {

class PreparedStatement;

class RemoteTransaction : public duckdb::Transaction {
public:
	RemoteTransaction(duckdb::TransactionManager &manager, duckdb::ClientContext &context, RemoteCatalog &catalog);

	static RemoteTransaction &Get(duckdb::ClientContext &context, RemoteCatalog &catalog);

	duckdb::shared_ptr<CatalogSession> GetSession() const {
		return session;
	}

	//! The catalog to look names up in: the last that was seen, unless this session has changed it.
	duckdb::shared_ptr<Snapshot> GetSnapshot(duckdb::ClientContext &context);
	//! The catalog as it is now; asks the driver once a transaction.
	duckdb::shared_ptr<Snapshot> Validate(duckdb::ClientContext &context);
	//! The catalog with everything as it is now, also what changes without a new version, such as numbers of rows;
	//! asks the driver once a statement.
	duckdb::shared_ptr<Snapshot> Refresh(duckdb::ClientContext &context);
	//! Makes sure that `table` is still what the driver holds; otherwise the statement is bound again.
	void CheckCurrent(duckdb::ClientContext &context, RemoteTable &table);
	//! A statement may have changed the catalog.
	void CatalogChanged();

	//! Counts the parts of the running statement that go to the driver; whether this is the first.
	bool AddOperation(duckdb::ClientContext &context);
	//! The first part runs already, on its own. Should the driver be asked for anything else while the statement is bound,
	//! it is stopped: the parts start together, and the session runs one at a time.
	void StartedEarly(const duckdb::shared_ptr<PreparedStatement> &statement);
	//! Whether rows for the driver must wait until all else that the running statement asks of it is done: a session
	//! runs one statement at a time.
	bool MustWait(duckdb::ClientContext &context) const {
		return operations > 1 && context.transaction.GetActiveQuery() != inserting_query;
	}
	//! The running statement asks for INSERTs only, one after the other.
	void InsertsFollowEachOther(duckdb::ClientContext &context) {
		inserting_query = context.transaction.GetActiveQuery();
	}
	//! From here on the running statement has the session busy with rows: the catalog is what it was known to be.
	void Ingests(duckdb::ClientContext &context) {
		ingesting_query = context.transaction.GetActiveQuery();
	}
	void Ingested() {
		ingesting_query = duckdb::MAXIMUM_QUERY_ID;
	}
	//! Whether the running statement is a transaction of its own.
	static bool StandsAlone(duckdb::ClientContext &context);
	//! Whether a statement that is prepared now belongs to a transaction of several.
	bool InUserTransaction(duckdb::ClientContext &context);
	//! Whether a part that starts now must share a transaction on the driver with others.
	bool StartInTransaction(duckdb::ClientContext &context);

	void End(DhPatience patience, bool commit);

private:
	//! With `lock` held.
	void ForgetEarly();
	//! With that and the session's held: whether the driver can't be asked for the catalog, but it was before.
	bool MustDoWithKnown(duckdb::ClientContext &context);

	const duckdb::shared_ptr<CatalogSession> session;
	RemoteCatalog &catalog;
	std::mutex lock;
	//! Every catalog that entries of this transaction's statements belong to; the last is the current one.
	duckdb::vector<duckdb::shared_ptr<Snapshot>> snapshots;
	bool validated = false;
	//! The statement that `Refresh` was last asked for.
	duckdb::optional_idx refreshed_query;
	std::atomic<duckdb::idx_t> operations {0};
	//! The statement that `operations` counts.
	duckdb::idx_t counted_query = 0;
	//! See InsertsFollowEachOther.
	duckdb::idx_t inserting_query = duckdb::MAXIMUM_QUERY_ID;
	//! See Ingests.
	std::atomic<duckdb::idx_t> ingesting_query {duckdb::MAXIMUM_QUERY_ID};
	duckdb::weak_ptr<PreparedStatement> started_early;
	//! Whether the driver may have a transaction open for us.
	std::atomic<bool> open_on_driver {false};
};

class RemoteTransactionManager : public duckdb::TransactionManager {
public:
	RemoteTransactionManager(duckdb::AttachedDatabase &db, RemoteCatalog &catalog)
	    : TransactionManager(db), catalog(catalog) {
	}

	duckdb::Transaction &StartTransaction(duckdb::ClientContext &context) override;
	duckdb::ErrorData CommitTransaction(duckdb::ClientContext &context, duckdb::Transaction &transaction) override;
	void RollbackTransaction(duckdb::Transaction &transaction) override;
	void Checkpoint(duckdb::ClientContext &context, bool force) override;

private:
	RemoteCatalog &catalog;
	std::mutex lock;
	duckdb::unordered_map<duckdb::Transaction *, duckdb::unique_ptr<RemoteTransaction>> active;
};

} // namespace duckherder
