// What one client connection remembers between its statements: its sessions, and what it has run.
#pragma once

#include "catalog.hpp"
#include "duckdb/main/client_context_state.hpp"
#include "duckdb/parser/sql_statement.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

namespace duckherder {

//! What the user wrote; empty while a statement is only bound (DuckDB's Python relations), which runs no query.
duckdb::string RunningQuery(duckdb::ClientContext &context);

class ConnectionState : public duckdb::ClientContextState {
public:
	//! As long as this lives, what is bound is bound as `sql`, an EXPLAIN, would be; one at a time, and none in another.
	class Explaining {
	public:
		Explaining(ConnectionState &state, duckdb::string sql);
		~Explaining();
		Explaining(const Explaining &) = delete;

	private:
		ConnectionState &state;
		std::unique_lock<std::mutex> guard;
		const bool rebind;
		const bool looked_otherwise;
	};

	explicit ConnectionState(duckdb::idx_t connection_id) : connection_id(connection_id) {
	}
	~ConnectionState() override;

	static duckdb::shared_ptr<ConnectionState> Get(duckdb::ClientContext &context);

	//! Closes the sessions of `registry` with this connection.
	void Watch(const duckdb::shared_ptr<SessionRegistry> &registry);
	//! The text of what is being bound: the running statement's, but for what it explains.
	duckdb::string BoundText(duckdb::ClientContext &context) const;
	bool IsExplaining() const {
		return !explained.empty();
	}
	//! The statements of a text that was read for the running statement: each text is parsed once for it.
	using Statements = duckdb::vector<duckdb::unique_ptr<duckdb::SQLStatement>>;
	duckdb::shared_ptr<const Statements> FindRead(const duckdb::string &text) const {
		return text == read_text ? read : nullptr;
	}
	void NoteRead(duckdb::string text, duckdb::shared_ptr<const Statements> statements) {
		read_text = std::move(text);
		read = std::move(statements);
	}
	//! How far the places in the statement that is being bound are beyond those in its own text.
	void NoteShift(uint32_t shift_p) {
		shift = shift_p;
	}
	uint32_t Shift() const {
		return shift;
	}
	//! The running statement concerns a driver: its time will be recorded. Its scans may begin on several threads at once.
	void NoteRemote(duckdb::ClientContext &context);
	//! The statement that is being bound must be bound once more.
	void RequestRebind() {
		rebind = true;
	}

	//! The statement that is being bound does not, or may not, go whole to a driver. If it is to be bound otherwise
	//! (bind_otherwise.hpp), this throws, and it is.
	void BindOtherwise(duckdb::ClientContext &context);
	//! What is to be bound in place of the statement that is being bound; null if that is as it should be, or was looked
	//! at already.
	duckdb::unique_ptr<duckdb::SQLStatement> TakeOtherwise(duckdb::ClientContext &context);
	//! A part of the statement that is being bound, or all of it, goes to a driver.
	void NotePushed() {
		pushed = true;
	}
	bool HasPushed() const {
		return pushed;
	}

	//! setseed() was called; several threads may at once.
	void Seeded(double seed);
	//! The last seed, as it goes to a driver: another text for each call.
	duckdb::optional<duckdb::string> Seed();

	//! A whole statement that is handed to a driver takes so many parameters.
	void SetParameterCount(duckdb::idx_t count) {
		parameter_count = count;
	}

	void QueryBegin(duckdb::ClientContext &context) override;
	void QueryEnd(duckdb::ClientContext &context, duckdb::optional_ptr<duckdb::ErrorData> error) override;
	bool CanRequestRebind() override {
		return true;
	}
	duckdb::RebindQueryInfo OnPlanningError(duckdb::ClientContext &context, duckdb::SQLStatement &statement,
	                                        duckdb::ErrorData &error) override;
	//! DuckDB counts the parameters of the statement that it binds; ours are arguments of a function in it.
	duckdb::RebindQueryInfo OnFinalizePrepare(duckdb::ClientContext &context, duckdb::PreparedStatementData &prepared,
	                                          duckdb::PreparedStatementMode mode) override;

private:
	duckdb::optional<duckdb::string> TakeRemoteQuery();
	//! Throws for what a statement that is being explained calls itself.
	std::unique_lock<std::mutex> NotExplainingYet();

	const duckdb::idx_t connection_id;
	duckdb::vector<duckdb::weak_ptr<SessionRegistry>> registries;
	std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();
	std::mutex lock;
	//! What runs, if it concerns a driver.
	duckdb::optional<duckdb::string> remote_query;
	double seed = 0;
	duckdb::idx_t seeds = 0;
	std::mutex explaining_lock;
	std::atomic<std::thread::id> explaining_thread;
	//! See Explaining.
	duckdb::string explained;
	//! See FindRead.
	duckdb::string read_text;
	duckdb::shared_ptr<const Statements> read;
	uint32_t shift = 0;
	bool rebind = false;
	duckdb::unique_ptr<duckdb::SQLStatement> otherwise;
	bool looked_otherwise = false;
	bool pushed = false;
	duckdb::idx_t parameter_count = 0;
};

} // namespace duckherder
