#include "transaction.hpp"

#include "connection_state.hpp"
#include "query_function.hpp"
#include "several_statements.hpp"
#include "duckdb/common/exception/transaction_exception.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

RemoteTransaction::RemoteTransaction(TransactionManager &manager, ClientContext &context, RemoteCatalog &catalog_p)
    : Transaction(manager, context), session(catalog_p.GetSession(context)), catalog(catalog_p) {
}

RemoteTransaction &RemoteTransaction::Get(ClientContext &context, RemoteCatalog &catalog) {
	return Transaction::Get(context, catalog).Cast<RemoteTransaction>();
}

shared_ptr<Snapshot> RemoteTransaction::GetSnapshot(ClientContext &context) {
	{
		std::lock_guard<std::mutex> guard(lock);
		std::lock_guard<std::mutex> session_guard(session->lock);
		if (!session->stale && session->snapshot) {
			if (snapshots.empty() || snapshots.back() != session->snapshot) {
				snapshots.push_back(session->snapshot);
			}
			return session->snapshot;
		}
	}
	return Validate(context);
}

bool RemoteTransaction::MustDoWithKnown(ClientContext &context) {
	auto query = context.transaction.GetActiveQuery();
	if (query == MAXIMUM_QUERY_ID || query != ingesting_query || !session->snapshot) {
		return false;
	}
	if (snapshots.empty() || snapshots.back() != session->snapshot) {
		snapshots.push_back(session->snapshot);
	}
	return true;
}

shared_ptr<Snapshot> RemoteTransaction::Validate(ClientContext &context) {
	std::lock_guard<std::mutex> guard(lock);
	std::lock_guard<std::mutex> session_guard(session->lock);
	if ((validated && !session->stale) || MustDoWithKnown(context)) {
		return session->snapshot;
	}
	ForgetEarly();
	auto fresh = Snapshot::Fetch(context, catalog, session->session, session->snapshot, InUserTransaction(context));
	session->snapshot = fresh;
	session->stale = false;
	validated = true;
	if (snapshots.empty() || snapshots.back() != fresh) {
		snapshots.push_back(fresh);
	}
	return fresh;
}

shared_ptr<Snapshot> RemoteTransaction::Refresh(ClientContext &context) {
	std::lock_guard<std::mutex> guard(lock);
	std::lock_guard<std::mutex> session_guard(session->lock);
	auto query = context.transaction.GetActiveQuery();
	auto known = refreshed_query.IsValid() && refreshed_query.GetIndex() == query;
	if ((known && !session->stale && session->snapshot) || MustDoWithKnown(context)) {
		return session->snapshot;
	}
	ForgetEarly();
	auto fresh = Snapshot::Fetch(context, catalog, session->session, nullptr, InUserTransaction(context));
	session->snapshot = fresh;
	session->stale = false;
	validated = true;
	if (query != MAXIMUM_QUERY_ID) {
		refreshed_query = query;
	}
	snapshots.push_back(fresh);
	return fresh;
}

void RemoteTransaction::CheckCurrent(ClientContext &context, RemoteTable &table) {
	auto fresh = Validate(context);
	if (fresh.get() == &table.GetSnapshot()) {
		return;
	}
	auto &known = table.Description();
	auto schema = fresh->FindSchema(known.schema);
	auto current = schema ? schema->Describe(known.kind, known.name) : nullptr;
	if (current && current->columns == known.columns && current->sql == known.sql) {
		return;
	}
	ConnectionState::Get(context)->RequestRebind();
	throw TransactionException("\"%s\" was changed on the driver while the statement was being bound",
	                           known.name.GetIdentifierName());
}

void RemoteTransaction::CatalogChanged() {
	std::lock_guard<std::mutex> guard(lock);
	std::lock_guard<std::mutex> session_guard(session->lock);
	session->stale = true;
	validated = false;
}

bool RemoteTransaction::AddOperation(ClientContext &context) {
	std::lock_guard<std::mutex> guard(lock);
	auto query = context.transaction.GetActiveQuery();
	if (query != counted_query) {
		counted_query = query;
		operations = 0;
		started_early.reset();
	}
	if (++operations == 1) {
		return true;
	}
	ForgetEarly();
	return false;
}

void RemoteTransaction::ForgetEarly() {
	auto early = started_early.lock();
	if (early) {
		early->Forget();
	}
}

void RemoteTransaction::StartedEarly(const shared_ptr<PreparedStatement> &statement) {
	std::lock_guard<std::mutex> guard(lock);
	started_early = statement;
}

bool RemoteTransaction::StandsAlone(ClientContext &context) {
	return context.transaction.IsAutoCommit() && !IsOneOfSeveralStatements(context);
}

bool RemoteTransaction::InUserTransaction(ClientContext &context) {
	if (StandsAlone(context)) {
		return open_on_driver;
	}
	open_on_driver = true;
	return true;
}

bool RemoteTransaction::StartInTransaction(ClientContext &context) {
	if (!StandsAlone(context) || operations > 1) {
		open_on_driver = true;
	}
	return open_on_driver;
}

void RemoteTransaction::End(DhPatience patience, bool commit) {
	if (!open_on_driver.exchange(false)) {
		return;
	}
	if (!commit) {
		// What the transaction made is gone.
		std::lock_guard<std::mutex> session_guard(session->lock);
		session->stale = true;
	}
	session->session.EndTransaction(patience, commit);
}

//! What the driver is asked first is what its transaction begins with, and so the snapshot. DuckDB may have its list of
//! transactions locked: nothing may be looked up.
static void BeginAtOnce(ClientContext &context, RemoteTransaction &transaction) {
	auto session = transaction.GetSession();
	try {
		std::lock_guard<std::mutex> session_guard(session->lock);
		auto in_transaction = transaction.InUserTransaction(context);
		auto leave_entry = [](void *, const DhCatalogEntry *) {};
		auto leave_name = [](void *, DhText) {};
		session->session.Describe(context, optional_idx(), in_transaction, leave_entry, leave_name, nullptr);
	} catch (...) {
		try {
			transaction.End(DhPatience {nullptr, nullptr}, false);
		} catch (std::exception &) { // NOLINT: told is what failed first
		}
		throw;
	}
}

Transaction &RemoteTransactionManager::StartTransaction(ClientContext &context) {
	auto transaction = make_uniq<RemoteTransaction>(*this, context, catalog);
	auto &result = *transaction;
	if (!context.transaction.IsAutoCommit() && Settings::Get<ImmediateTransactionModeSetting>(context)) {
		BeginAtOnce(context, result);
	}
	std::lock_guard<std::mutex> guard(lock);
	active[&result] = std::move(transaction);
	return result;
}

//! DuckDB says what failed, here as at the driver.
static ErrorData OnlyOnce(const ErrorData &error) {
	static const string SAID = "Failed to commit: ";
	auto &message = error.RawMessage();
	return StringUtil::StartsWith(message, SAID) ? ErrorData(error.Type(), message.substr(SAID.size())) : error;
}

ErrorData RemoteTransactionManager::CommitTransaction(ClientContext &context, Transaction &transaction) {
	ErrorData error;
	try {
		transaction.Cast<RemoteTransaction>().End(DhPatience {nullptr, nullptr}, true);
	} catch (std::exception &exception) {
		error = OnlyOnce(ErrorData(exception));
	}
	std::lock_guard<std::mutex> guard(lock);
	active.erase(&transaction);
	return error;
}

void RemoteTransactionManager::RollbackTransaction(Transaction &transaction) {
	try {
		transaction.Cast<RemoteTransaction>().End(DhPatience {nullptr, nullptr}, false);
	} catch (std::exception &) { // NOLINT: the driver rolls back by itself when it has lost us
	}
	std::lock_guard<std::mutex> guard(lock);
	active.erase(&transaction);
}

void RemoteTransactionManager::Checkpoint(ClientContext &context, bool force) {
	catalog.Run(context, force ? "FORCE CHECKPOINT" : "CHECKPOINT");
}

} // namespace duckherder
