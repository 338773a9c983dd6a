// The optimizer hook: asks the planner about a plan and carries out what it decides.
#include "connection.hpp"
#include "describe.hpp"
#include "exchange.hpp"
#include "merge.hpp"
#include "snapshot.hpp"

#include "duckdb/main/client_context_state.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/optimizer/optimizer_extension.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/planner/operator/logical_limit.hpp"
#include "duckdb/planner/operator/logical_top_n.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const DISTRIBUTOR_STATE = "duckherder_distributor";

//! Marks a connection whose queries may be distributed.
struct DistributorState : public ClientContextState {
	DistributorState(const DhDistributorTable &functions_p, void *self_p) : functions(functions_p), self(self_p) {
	}
	~DistributorState() override {
		functions.release(self);
	}

	DhDistributorTable functions;
	void *self;
};

static optional_ptr<LogicalGet> FindScan(LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_GET) {
		return &op.Cast<LogicalGet>();
	}
	for (auto &child : op.children) {
		auto found = FindScan(*child);
		if (found) {
			return found;
		}
	}
	return nullptr;
}

//! The operator as each task runs it: a limit takes the rows that the offset skips as well.
class TaskLimit {
public:
	explicit TaskLimit(LogicalOperator &op_p) : op(op_p) {
		if (op.type == LogicalOperatorType::LOGICAL_TOP_N) {
			auto &top_n = op.Cast<LogicalTopN>();
			limit = top_n.limit;
			offset = top_n.offset;
			Set(AddSaturating(limit, offset), 0);
		} else if (op.type == LogicalOperatorType::LOGICAL_LIMIT) {
			auto &node = op.Cast<LogicalLimit>();
			limit = node.limit_val.GetConstantValue();
			has_offset = node.offset_val.Type() == LimitNodeType::CONSTANT_VALUE;
			offset = has_offset ? node.offset_val.GetConstantValue() : 0;
			Set(AddSaturating(limit, offset), 0);
		}
	}
	~TaskLimit() {
		Set(limit, offset);
	}

private:
	static idx_t AddSaturating(idx_t a, idx_t b) {
		idx_t most = NumericLimits<int64_t>::Maximum();
		return a > most - MinValue(b, most) ? most : a + b;
	}

	void Set(idx_t new_limit, idx_t new_offset) {
		if (op.type == LogicalOperatorType::LOGICAL_TOP_N) {
			op.Cast<LogicalTopN>().limit = new_limit;
			op.Cast<LogicalTopN>().offset = new_offset;
		} else if (op.type == LogicalOperatorType::LOGICAL_LIMIT) {
			auto &node = op.Cast<LogicalLimit>();
			node.limit_val = BoundLimitNode::ConstantValue(NumericCast<int64_t>(new_limit));
			if (has_offset) {
				node.offset_val = BoundLimitNode::ConstantValue(NumericCast<int64_t>(new_offset));
			}
		}
	}

	LogicalOperator &op;
	idx_t limit = 0;
	idx_t offset = 0;
	bool has_offset = false;
};

//! Replaces `place` by the rows of tasks that run it.
static void CutSubtree(ClientContext &context, shared_ptr<DistributedQuery> query, unique_ptr<LogicalOperator> &place,
                       ExportedPlan exported, LogicalGet &scan) {
	query->table = scan.GetTable();
	query->fragment = make_uniq<Fragment>(std::move(exported.query), scan);
	query->types = query->fragment->BindTypes(context);
	auto bindings = place->GetColumnBindings();
	auto &types = place->types;
	if (exported.bindings != bindings || query->types.size() < types.size()) {
		throw NotImplementedException("its SQL gives other columns than the plan");
	}
	query->types.resize(types.size());
	for (idx_t i = 0; i < types.size(); i++) {
		if (query->types[i] != types[i]) {
			throw NotImplementedException("its SQL gives a column the type %s, not %s", query->types[i].ToString(),
			                              types[i].ToString());
		}
	}
	auto rows = place->has_estimated_cardinality ? place->estimated_cardinality : 1;
	place = make_uniq<LogicalExchange>(std::move(query), std::move(bindings), types, rows);
}

static void Cut(Optimizer &optimizer, const DhDecision &decision, shared_ptr<DistributedQuery> query,
                unique_ptr<LogicalOperator> &root) {
	auto &context = optimizer.context;
	UndoCompression(*root);
	root->ResolveOperatorTypes();
	auto found = FindOperator(root, decision.node);
	auto scan = found ? FindScan(**found) : nullptr;
	if (!scan) {
		throw InternalException("the planner cuts at operator %d, which scans nothing", decision.node);
	}
	auto &place = *found;
	switch (decision.cut) {
	case DH_CUT_SUBTREE: {
		auto exported = ExportSubtree(context, *place);
		CutSubtree(context, std::move(query), place, std::move(exported), *scan);
		break;
	}
	case DH_CUT_COPY: {
		ExportedPlan exported;
		{
			TaskLimit task_limit(*place);
			exported = ExportSubtree(context, *place);
		}
		CutSubtree(context, std::move(query), place->children[0], std::move(exported), *scan);
		break;
	}
	case DH_CUT_PARTIAL_AGGREGATE:
		CutAggregate(optimizer, std::move(query), root, place, *scan);
		break;
	default:
		throw InternalException("unknown cut %d", decision.cut);
	}
	root->ResolveOperatorTypes();
}

static optional_ptr<DistributorState> FindDistributor(ClientContext &context) {
	return context.registered_state->Get<DistributorState>(DISTRIBUTOR_STATE).get();
}

static unique_ptr<LogicalOperator> &BelowExplain(unique_ptr<LogicalOperator> &plan) {
	return plan->type == LogicalOperatorType::LOGICAL_EXPLAIN ? plan->children[0] : plan;
}

static void AppendText(void *target, DhText text) {
	*static_cast<string *>(target) += ToString(text);
}

//! After DuckDB's own passes.
static void Distribute(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	auto state = input.context.registered_state->Get<DistributorState>(DISTRIBUTOR_STATE);
	if (!state) {
		return;
	}
	auto &functions = state->functions;
	auto explained = plan->type == LogicalOperatorType::LOGICAL_EXPLAIN;
	auto &root = BelowExplain(plan);
	auto description = DescribePlan(input.context, *root);
	DhDecision decision {DH_CUT_NOTHING, 0, nullptr};
	DhError error {nullptr, nullptr};
	functions.decide(state->self, ToText(description), &decision, &error);
	ThrowIfError(error);
	if (decision.query) {
		auto query = make_shared_ptr<DistributedQuery>(functions, decision.query);
		try {
			Cut(input.optimizer, decision, query, root);
		} catch (const NotImplementedException &exception) {
			// Only what has no SQL is said this way, before anything of the plan was replaced.
			auto message = ErrorData(exception).RawMessage();
			functions.stay(state->self, ToText(message));
		}
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

//! Before DuckDB's own passes. A single scan that may be cut keeps its shape, with no second scan for late columns;
//! and in a task, late columns don't go together with a filter on row ids (INTERNAL error in DuckDB 2.0.0).
static void Prepare(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	if (RunsTasks(input.context) || (FindDistributor(input.context) && CountScans(*plan) == 1)) {
		ScanOnce(*plan);
	}
}

//! Passes whose plans can't be cut: they share one scan between several places, or move a limit's offset into it.
static const OptimizerType PASSES_OFF[] = {OptimizerType::COMMON_SUBPLAN,
                                           OptimizerType::PARTIAL_AGGREGATE_PUSHDOWN,
                                           OptimizerType::AGGREGATE_REUSE,
                                           OptimizerType::GROUPING_SETS,
                                           OptimizerType::DISTINCT_AGGREGATE_REWRITE,
                                           OptimizerType::ROW_GROUP_PRUNER};

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
