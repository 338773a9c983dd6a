// The optimizer hook: asks the planner about a plan and carries out what it decides.
#include "connection.hpp"
#include "cut.hpp"
#include "describe.hpp"
#include "keepable.hpp"
#include "snapshot.hpp"
#include "wire_type.hpp"

#include "duckdb/main/client_context_state.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/optimizer/optimizer_extension.hpp"
#include "duckdb/planner/operator/logical_get.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const DISTRIBUTOR_STATE = "duckherder_distributor";
//! How often a plan is decided about again.
static constexpr idx_t MOST_DECISIONS = 16;

//! Marks a connection whose queries may be distributed.
struct DistributorState : public ClientContextState {
	DistributorState(const DhDistributorTable &functions_p, void *self_p) : functions(functions_p), self(self_p) {
	}
	~DistributorState() override {
		functions.release(self);
	}

	void QueryBegin(ClientContext &context) override {
		had_written = context.transaction.HasActiveTransaction() && HasWritten(context);
	}

	DhDistributorTable functions;
	void *self;
	//! Before the running statement.
	bool had_written = false;
	//! A plan is being cut.
	bool decides = false;
	//! The plan has an EXCEPT or INTERSECT of texts with a collation.
	bool has_collated_sets = false;
};

static optional_ptr<DistributorState> FindDistributor(ClientContext &context) {
	return context.registered_state->Get<DistributorState>(DISTRIBUTOR_STATE).get();
}

bool HadWritten(ClientContext &context) {
	auto state = FindDistributor(context);
	return state && state->had_written;
}

bool IsProvisional(ClientContext &context) {
	auto state = FindDistributor(context);
	return state && state->functions.is_provisional(state->self);
}

bool MayBindParts(ClientContext &context) {
	auto state = FindDistributor(context);
	return !state || state->decides;
}

//! While a plan is being cut.
class Deciding {
public:
	explicit Deciding(DistributorState &state_p) : state(state_p) {
		state.decides = true;
	}
	~Deciding() {
		state.decides = false;
	}
	Deciding(const Deciding &) = delete;

private:
	DistributorState &state;
};

static unique_ptr<LogicalOperator> &BelowExplain(unique_ptr<LogicalOperator> &plan) {
	return plan->type == LogicalOperatorType::LOGICAL_EXPLAIN ? plan->children[0] : plan;
}

static void AppendText(void *target, DhText text) {
	*static_cast<string *>(target) += ToString(text);
}

static void AddCut(void *target, DhCut cut) {
	static_cast<vector<PlannedCut> *>(target)->emplace_back(cut);
}

//! Cuts the plan as the planner decides; what DuckDB turns out not to be able to write as SQL is decided again.
static void Decide(Optimizer &optimizer, DistributorState &state, unique_ptr<LogicalOperator> &root, bool explained) {
	Deciding deciding(state);
	auto &functions = state.functions;
	auto compressed = true;
	vector<uint64_t> not_written;
	auto scans = FindScans(optimizer.context, *root);
	while (true) {
		auto description = DescribePlan(optimizer.context, *root, scans, not_written, explained);
		vector<PlannedCut> cuts;
		DhError error {nullptr, nullptr};
		auto decided = functions.decide(state.self, ToText(description), &cuts, AddCut, &error);
		ThrowIfError(error);
		if (!decided) {
			return;
		}
		auto query = make_shared_ptr<DistributedQuery>(functions, decided);
		if (compressed) {
			UndoCompression(*root);
			compressed = false;
		}
		uint64_t failed = 0;
		try {
			PlanCutter(optimizer, root, scans).Cut(query, cuts, failed);
			return;
		} catch (const NotImplementedException &exception) {
			// Only what has no SQL is said this way; the plan is as it was.
			auto message = ErrorData(exception).RawMessage();
			functions.stay(state.self, ToText(message));
			if (not_written.size() == MOST_DECISIONS) {
				return;
			}
			not_written.push_back(failed);
		}
	}
}

//! Of a plan that is there: it has been decided about.
static bool IsExecution(const LogicalOperator &plan) {
	return plan.type == LogicalOperatorType::LOGICAL_EXECUTE && plan.children.empty();
}

//! After DuckDB's own passes.
static void Distribute(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	auto state = input.context.registered_state->Get<DistributorState>(DISTRIBUTOR_STATE);
	if (!state || IsExecution(*plan)) {
		return;
	}
	auto &functions = state->functions;
	auto explained = plan->type == LogicalOperatorType::LOGICAL_EXPLAIN;
	auto &root = BelowExplain(plan);
	if (state->has_collated_sets) {
		functions.stay(state->self, ToText(string("EXCEPT or INTERSECT compares texts by a collation")));
	} else {
		Decide(input.optimizer, *state, root, explained);
	}
	if (explained) {
		string reason;
		functions.reason(state->self, &reason, AppendText);
		if (!reason.empty()) {
			root = make_uniq<LogicalNotice>(std::move(reason), std::move(root));
			root->ResolveOperatorTypes();
		}
	}
}

static idx_t CountScans(LogicalOperator &op) {
	idx_t count = op.type == LogicalOperatorType::LOGICAL_GET ? 1 : 0;
	for (auto &child : op.children) {
		count += CountScans(*child);
	}
	return count;
}

static void ScanOnce(LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_GET) {
		op.Cast<LogicalGet>().function.late_materialization = false;
	}
	for (auto &child : op.children) {
		ScanOnce(*child);
	}
}

//! DuckDB compares such rows by their collations only when it plans the operator, from what is left of them by then: an
//! exchange below has lost them.
static bool HasCollatedSets(LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_EXCEPT || op.type == LogicalOperatorType::LOGICAL_INTERSECT) {
		for (auto &child : op.children) {
			child->ResolveOperatorTypes();
			if (std::any_of(child->types.begin(), child->types.end(), IsCollated)) {
				return true;
			}
		}
	}
	return std::any_of(op.children.begin(), op.children.end(),
	                   [](const unique_ptr<LogicalOperator> &child) { return HasCollatedSets(*child); });
}

//! Before DuckDB's own passes. A single scan that may be cut keeps its shape, with no second scan for late columns.
static void Prepare(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	auto state = FindDistributor(input.context);
	if (!state) {
		return;
	}
	state->has_collated_sets = HasCollatedSets(*plan);
	if (CountScans(*plan) == 1) {
		ScanOnce(*plan);
	}
}

//! It moves a limit's offset into a scan, where it would count the rows of each task.
static const OptimizerType PASSES_OFF[] = {OptimizerType::ROW_GROUP_PRUNER};

void RegisterDistribution(DatabaseInstance &instance) {
	auto &config = DBConfig::GetConfig(instance);
	auto off = config.GetDisabledOptimizers();
	off.insert(std::begin(PASSES_OFF), std::end(PASSES_OFF));
	config.SetDisabledOptimizers(std::move(off));
	OptimizerExtension extension;
	extension.pre_optimize_function = Prepare;
	extension.optimize_function = Distribute;
	OptimizerExtension::Register(config, std::move(extension));
}

} // namespace duckherder

extern "C" {

//! Queries of this connection are distributed by `self`, which is released with the connection.
bool dh_connection_distribute(DhConnection *connection, const DhDistributorTable *functions, void *self,
                              DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		auto state = make_shared_ptr<duckherder::DistributorState>(*functions, self);
		connection->context->registered_state->Insert(duckherder::DISTRIBUTOR_STATE, std::move(state));
		return true;
	});
}

//! Lets connections of this database be given a distributor.
bool dh_database_allow_distribution(DhDatabase *database, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		duckherder::RegisterDistribution(*database->instance);
		return true;
	});
}

} // extern "C"
