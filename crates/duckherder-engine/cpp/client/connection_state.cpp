#include "connection_state.hpp"

#include "duckdb/main/client_context.hpp"
#include "duckdb/main/prepared_statement_data.hpp"
#include "duckdb/parser/parser.hpp"
#include "history.hpp"
#include "macros.hpp"
#include "transaction.hpp"
#include "unite.hpp"

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
    : state(state_p), guard(state.NotExplainingYet()), rebind(state.rebind), expand_macros(state.expand_macros),
      looked_for_macros(state.looked_for_macros) {
	state.explaining_thread = std::this_thread::get_id();
	state.explained = std::move(sql);
	state.looked_for_macros = false;
}

ConnectionState::Explaining::~Explaining() {
	state.explained.clear();
	state.explaining_thread = std::thread::id();
	state.looked_for_macros = looked_for_macros;
	state.rebind = rebind;
	state.expand_macros = expand_macros;
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

void ConnectionState::QueryBegin(ClientContext &) {
	begun = std::chrono::steady_clock::now();
	TakeRemoteQuery();
	parameter_count = 0;
	looked_for_macros = false;
}

void ConnectionState::QueryEnd(ClientContext &context, optional_ptr<ErrorData> error) {
	rebind = false;
	expand_macros = false;
	auto query = TakeRemoteQuery();
	if (!query || (error && error->HasError())) {
		return;
	}
	auto elapsed = std::chrono::steady_clock::now() - begun;
	QueryHistory::Get().Record(*query, std::chrono::duration_cast<std::chrono::microseconds>(elapsed).count());
}

void ConnectionState::BindOtherwise(ClientContext &context) {
	if (looked_for_macros) {
		return;
	}
	looked_for_macros = true;
	auto text = BoundText(context);
	if (text.empty()) {
		return;
	}
	Parser parser(context);
	parser.ParseQuery(text);
	// DuckDB does not ask us for the number of parameters of a statement that it binds once more.
	if (parser.statements.size() == 1 && parser.statements[0]->named_param_map.empty() &&
	    WriteOut(context, *parser.statements[0])) {
		rebind = true;
		expand_macros = true;
		throw BinderException("the statement is bound once more with its macros and databases written out");
	}
}

bool ConnectionState::WriteOut(ClientContext &context, SQLStatement &statement) {
	auto expanded = ExpandBuiltInMacros(context, statement);
	// Each attachment has a transaction of its own, which sees what it has written.
	auto united = RemoteTransaction::StandsAlone(context) && UniteDatabases(context, statement);
	return expanded || united;
}

RebindQueryInfo ConnectionState::OnPlanningError(ClientContext &context, SQLStatement &statement, ErrorData &) {
	if (!rebind) {
		return RebindQueryInfo::DO_NOT_REBIND;
	}
	rebind = false;
	if (expand_macros) {
		expand_macros = false;
		WriteOut(context, statement);
	}
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
