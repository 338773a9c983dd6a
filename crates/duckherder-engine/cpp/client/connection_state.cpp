#include "connection_state.hpp"

#include "bind_otherwise.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/main/prepared_statement_data.hpp"
#include "history.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const STATE_KEY = "duckherder";

ConnectionState::~ConnectionState() {
	for (auto &weak : registries) {
		auto registry = weak.lock();
		if (registry) {
			registry->Close(connection_id);
		}
	}
}

shared_ptr<ConnectionState> ConnectionState::Get(ClientContext &context) {
	return context.registered_state->GetOrCreate<ConnectionState>(STATE_KEY, context.GetConnectionId());
}

void ConnectionState::Watch(const shared_ptr<SessionRegistry> &registry) {
	for (auto &weak : registries) {
		if (weak.lock() == registry) {
			return;
		}
	}
	registries.push_back(registry);
}

string RunningQuery(ClientContext &context) {
	auto &transaction = context.transaction;
	auto running = transaction.HasActiveTransaction() && transaction.GetActiveQuery() != MAXIMUM_QUERY_ID;
	return running ? context.GetCurrentQuery() : string();
}

ConnectionState::Explaining::Explaining(ConnectionState &state_p, string sql)
    : state(state_p), guard(state.NotExplainingYet()), rebind(state.rebind),
      looked_otherwise(state.looked_otherwise) {
	state.explaining_thread = std::this_thread::get_id();
	state.explained = std::move(sql);
	state.looked_otherwise = false;
}

ConnectionState::Explaining::~Explaining() {
	state.explained.clear();
	state.explaining_thread = std::thread::id();
	state.looked_otherwise = looked_otherwise;
	state.rebind = rebind;
}

std::unique_lock<std::mutex> ConnectionState::NotExplainingYet() {
	if (explaining_thread.load() == std::this_thread::get_id()) {
		throw InvalidInputException("duckherder_explain can't be called by a statement that it explains");
	}
	return std::unique_lock<std::mutex>(explaining_lock);
}

string ConnectionState::BoundText(ClientContext &context) const {
	return IsExplaining() ? explained : RunningQuery(context);
}

void ConnectionState::NoteRemote(ClientContext &context) {
	std::lock_guard<std::mutex> guard(lock);
	if (!remote_query) {
		remote_query = RunningQuery(context);
	}
}

optional<string> ConnectionState::TakeRemoteQuery() {
	std::lock_guard<std::mutex> guard(lock);
	optional<string> taken;
	taken.swap(remote_query);
	return taken;
}

void ConnectionState::Seeded(double seed_p) {
	std::lock_guard<std::mutex> guard(lock);
	seed = seed_p;
	seeds++;
}

optional<string> ConnectionState::Seed() {
	std::lock_guard<std::mutex> guard(lock);
	if (seeds == 0) {
		return {};
	}
	return StringUtil::Format("%d:%.17g", seeds, seed);
}

void ConnectionState::QueryBegin(ClientContext &) {
	begun = std::chrono::steady_clock::now();
	TakeRemoteQuery();
	NoteRead({}, nullptr);
	parameter_count = 0;
	looked_otherwise = false;
	pushed = false;
	shift = 0;
}

//! A whole statement became one without parameters: DuckDB's list of prepared statements (2.0.0) fails at one that has some
//! and counts none.
static void CountParameters(ClientContext &context) {
	for (auto &entry : ClientData::Get(context).prepared_statements) {
		auto &prepared = *entry.second;
		if (prepared.unbound_statement && prepared.properties.parameter_count == 0) {
			prepared.properties.parameter_count = prepared.unbound_statement->named_param_map.size();
		}
	}
}

void ConnectionState::QueryEnd(ClientContext &context, optional_ptr<ErrorData> error) {
	rebind = false;
	NoteRead({}, nullptr);
	CountParameters(context);
	auto query = TakeRemoteQuery();
	if (!query || (error && error->HasError())) {
		return;
	}
	auto elapsed = std::chrono::steady_clock::now() - begun;
	QueryHistory::Get().Record(*query, std::chrono::duration_cast<std::chrono::microseconds>(elapsed).count());
}

unique_ptr<SQLStatement> ConnectionState::TakeOtherwise(ClientContext &context) {
	if (!otherwise && !looked_otherwise) {
		looked_otherwise = true;
		otherwise = WriteOtherwise(context, BoundText(context));
	}
	return std::move(otherwise);
}

void ConnectionState::BindOtherwise(ClientContext &context) {
	otherwise = TakeOtherwise(context);
	if (otherwise) {
		throw BinderException("the statement is bound once more, otherwise");
	}
}

RebindQueryInfo ConnectionState::OnPlanningError(ClientContext &, SQLStatement &, ErrorData &) {
	if (!rebind) {
		return RebindQueryInfo::DO_NOT_REBIND;
	}
	rebind = false;
	return RebindQueryInfo::ATTEMPT_TO_REBIND;
}

RebindQueryInfo ConnectionState::OnFinalizePrepare(ClientContext &, PreparedStatementData &prepared,
                                                   PreparedStatementMode) {
	if (!prepared.unbound_statement && prepared.value_map.empty() && prepared.properties.parameter_count == 0) {
		prepared.properties.parameter_count = parameter_count;
	}
	parameter_count = 0;
	return RebindQueryInfo::DO_NOT_REBIND;
}

} // namespace duckherder
