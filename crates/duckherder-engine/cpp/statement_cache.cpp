#include "statement_cache.hpp"

#include "connection.hpp"
#include "keepable.hpp"
#include "names_of_client.hpp"

#include "duckdb/common/exception.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/main/client_context_state.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/main/connection.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/parser/statement/execute_statement.hpp"
#include "duckdb/planner/planner.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Texts that a connection remembers, and how long they may be.
static constexpr idx_t MOST_STATEMENTS = 16;
static constexpr idx_t MOST_BYTES = 4096;

static const char *const PLAN_NAME = "duckherder_kept_plan";
static const char *const GUARD_STATE = "duckherder_plan_guard";

struct StatementCache::Known {
	string sql;
	//! Once the text has come again, if its kind of statement may be kept.
	unique_ptr<SQLStatement> parsed;
	shared_ptr<KeptPlan> plan;
	bool can_be_planned = true;
	//! `writers_begun` when the text came last; invalid if it came for the first time.
	optional_idx version;
};

//! Looks at a plan of ours once its transaction has begun: a commit after this can't be seen any more.
class PlanGuard : public ClientContextState {
public:
	explicit PlanGuard(shared_ptr<DatabaseChanges> changes_p) : changes(std::move(changes_p)) {
	}

	shared_ptr<KeptPlan> plan;

	RebindQueryInfo OnRebindPreparedStatement(ClientContext &, BindPreparedStatementCallbackInfo &info,
	                                          RebindQueryInfo) override {
		auto ours = plan && &info.prepared_statement == plan->data.get();
		auto stale = ours && plan->reads_rows && changes->writers_begun != plan->version;
		return stale ? RebindQueryInfo::ATTEMPT_TO_REBIND : RebindQueryInfo::DO_NOT_REBIND;
	}

private:
	shared_ptr<DatabaseChanges> changes;
};

StatementCache::StatementCache(ClientContext &context, shared_ptr<DatabaseChanges> changes_p)
    : changes(std::move(changes_p)), guard(make_shared_ptr<PlanGuard>(changes)) {
	context.registered_state->Insert(GUARD_STATE, guard);
}

StatementCache::~StatementCache() {
}

unique_ptr<ChangeMark> StatementCache::Mark(ClientContext &context, Reach reach) {
	if (reach == Reach::SESSION || reach == Reach::ANYTHING) {
		statements.clear();
	}
	// What a transaction did beside its rows, others see at its end.
	changed_anything = !context.transaction.IsAutoCommit() && (changed_anything || reach == Reach::ANYTHING);
	return make_uniq<ChangeMark>(changes, changed_anything ? Reach::ANYTHING : reach);
}

unique_ptr<SQLStatement> ParseOne(DhConnection &connection, const string &sql) {
	auto statements = connection.ExtractStatements(sql);
	if (statements.size() != 1) {
		throw InvalidInputException("expected one statement, got %d", statements.size());
	}
	if (connection.elsewhere) {
		UnderstandNames(*connection.context, *statements[0], *connection.elsewhere);
	}
	return std::move(statements[0]);
}

//! The statement of a text, remembered from now on as the last one used.
StatementCache::Known &StatementCache::Remember(const string &sql) {
	for (auto known = statements.begin(); known != statements.end(); known++) {
		if (known->sql == sql) {
			statements.splice(statements.begin(), statements, known);
			return statements.front();
		}
	}
	if (statements.size() >= MOST_STATEMENTS) {
		statements.pop_back();
	}
	statements.emplace_front();
	statements.front().sql = sql;
	return statements.front();
}

ReadyStatement AsWritten(unique_ptr<SQLStatement> statement, Parameters parameters) {
	ReadyStatement ready;
	ready.type = statement->type;
	ready.reach = ReachOf(*statement);
	ready.statement = std::move(statement);
	ready.parameters = std::move(parameters);
	return ready;
}

ReadyStatement StatementCache::Take(DhConnection &connection, const string &sql, Parameters parameters) {
	auto current = changes->generation.load();
	if (current != generation) {
		statements.clear();
		generation = current;
	}
	if (sql.size() > MOST_BYTES) {
		return AsWritten(ParseOne(connection, sql), std::move(parameters));
	}
	auto &known = Remember(sql);
	auto begun = changes->writers_begun.load();
	auto came_before = known.version.IsValid();
	auto nothing_changed = came_before && known.version.GetIndex() == begun;
	known.version = begun;
	if (!known.parsed) {
		auto statement = ParseOne(connection, sql);
		if (!came_before || !MayBeKept(*statement)) {
			return AsWritten(std::move(statement), std::move(parameters));
		}
		known.parsed = std::move(statement);
	}
	auto &context = *connection.context;
	if (context.transaction.IsAutoCommit()) {
		if (known.plan && (known.plan->once || (known.plan->reads_rows && known.plan->version != begun))) {
			known.plan.reset();
		}
		// A query of a table that changes all the time is not worth a plan.
		if (!known.plan && known.can_be_planned && (nothing_changed || !IsQuery(*known.parsed))) {
			Plan(context, known);
		}
	}
	ReadyStatement ready;
	if (Execute(context, known, parameters, ready)) {
		return ready;
	}
	return AsWritten(known.parsed->Copy(), std::move(parameters));
}

//! As DuckDB prepares a statement (Planner::PrepareSQLStatement): parameters stay open.
shared_ptr<PreparedStatementData> PrepareUnbound(Planner &planner, const SQLStatement &statement) {
	planner.binder->SetBindingMode(BindingMode::PREPARE);
	planner.CreatePlan(statement.Copy());
	auto data = make_shared_ptr<PreparedStatementData>(statement.type);
	data->unbound_statement = statement.Copy();
	data->names = planner.names;
	data->types = planner.types;
	data->value_map = std::move(planner.value_map);
	data->properties = planner.properties;
	return data;
}

//! Plans a statement for good, if that is possible.
void StatementCache::Plan(ClientContext &context, Known &known) {
	// In this order: nothing is over that has not begun.
	auto ended = changes->writers_ended.load();
	auto begun = changes->writers_begun.load();
	if (IsQuery(*known.parsed) && ended != begun) {
		return;
	}
	known.can_be_planned = false;
	auto plan = make_shared_ptr<KeptPlan>();
	plan->version = begun;
	try {
		context.RunFunctionInTransaction([&]() {
			Planner planner(context);
			plan->data = PrepareUnbound(planner, *known.parsed);
			if (!planner.plan) {
				return;
			}
			plan->reads_rows = HasTableScan(*planner.plan);
			if (!DependsOnCatalogAndRowsOnly(context, *plan->data, *planner.plan)) {
				return;
			}
			planner.Optimize();
			plan->once = IsProvisional(context);
			if (!CanRunAgain(*planner.plan)) {
				return;
			}
			PhysicalPlanGenerator generator(context);
			plan->data->physical_plan = generator.Plan(std::move(planner.plan));
			known.can_be_planned = true;
		});
	} catch (const InterruptException &) {
		known.can_be_planned = true;
		throw;
	} catch (const std::exception &) {
		// What is wrong comes out when the statement is run as it was written.
		known.can_be_planned = false;
	}
	if (known.can_be_planned) {
		plan->data->properties.always_require_rebind = false;
		known.plan = std::move(plan);
	}
}

//! The execution of the statement's plan, if it has one that these parameters fit.
bool StatementCache::Execute(ClientContext &context, const Known &known, const Parameters &parameters,
                             ReadyStatement &ready) {
	auto &plan = known.plan;
	if (!plan || (plan->reads_rows && !context.transaction.IsAutoCommit())) {
		return false;
	}
	// DuckDB (2.0.0) does not see through an EXECUTE that the rows below have an order that was asked for.
	if (IsQuery(*known.parsed) && !Settings::Get<PreserveInsertionOrderSetting>(context)) {
		return false;
	}
	auto execution = ExecutionOf(plan, known.sql);
	if (!FitParameters(*plan->data, parameters, execution.statement->Cast<ExecuteStatement>().bound_values)) {
		return false;
	}
	ready = std::move(execution);
	return true;
}

ReadyStatement ExecutionOf(const shared_ptr<KeptPlan> &plan, const string &sql) {
	auto execute = make_uniq<ExecuteStatement>();
	execute->name = Identifier(PLAN_NAME);
	execute->query = sql;
	execute->stmt_location = QueryLocation(0, sql.size());
	ReadyStatement ready;
	ready.type = plan->data->statement_type;
	ready.reach = plan->data->properties.IsReadOnly() ? Reach::NOTHING : Reach::ROWS;
	ready.statement = std::move(execute);
	ready.plan = plan;
	return ready;
}

OfferedPlan::OfferedPlan(ClientContext &context_p, PlanGuard &guard_p, const shared_ptr<KeptPlan> &plan)
    : context(context_p), guard(guard_p) {
	ClientData::Get(context).prepared_statements[Identifier(PLAN_NAME)] = plan->data;
	guard.plan = plan;
}

OfferedPlan::~OfferedPlan() {
	guard.plan.reset();
	ClientData::Get(context).prepared_statements.erase(Identifier(PLAN_NAME));
}

unique_ptr<OfferedPlan> StatementCache::Offer(ClientContext &context, const ReadyStatement &ready) {
	return ready.plan ? make_uniq<OfferedPlan>(context, *guard, ready.plan) : nullptr;
}

} // namespace duckherder
