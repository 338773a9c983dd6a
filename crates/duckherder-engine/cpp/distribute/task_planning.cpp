// How a task's fragment is planned. It is the text of a plan that the driver's DuckDB has optimised, knowing the whole
// tables: its joins keep their order and their sides. DuckDB would order them anew, from the parts of tables and through
// the text's subqueries, and worse: the task of TPC-DS's Q64 took nine times as long. The passes here are for
// what a text does not say; of those that the driver's plan went through before it was written, none is worth its time.
#include "task_planning.hpp"

#include "names.hpp"
#include "spared_plan.hpp"

#include "duckdb/main/client_context_state.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/optimizer/column_lifetime_analyzer.hpp"
#include "duckdb/optimizer/cte_inlining.hpp"
#include "duckdb/optimizer/deliminator.hpp"
#include "duckdb/optimizer/expression_heuristics.hpp"
#include "duckdb/optimizer/filter_pushdown.hpp"
#include "duckdb/optimizer/join_filter_pushdown_optimizer.hpp"
#include "duckdb/optimizer/limit_pushdown.hpp"
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/optimizer/optimizer_extension.hpp"
#include "duckdb/optimizer/relation_statistics/relation_statistics_helper.hpp"
#include "duckdb/optimizer/remove_unused_columns.hpp"
#include "duckdb/optimizer/statistics_propagator.hpp"
#include "duckdb/optimizer/topn_optimizer.hpp"
#include "duckdb/optimizer/unnest_rewriter.hpp"
#include "duckdb/planner/operator/logical_get.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const TASK_STATE = "duckherder_task";

struct TaskState : public ClientContextState {};

void RunTasks(ClientContext &context) {
	context.registered_state->GetOrCreate<TaskState>(TASK_STATE);
}

bool RunsTasks(ClientContext &context) {
	return context.registered_state->Get<TaskState>(TASK_STATE) != nullptr;
}

class TaskPlanner {
public:
	TaskPlanner(Optimizer &optimizer_p, unique_ptr<LogicalOperator> plan_p)
	    : optimizer(optimizer_p), context(optimizer_p.context), plan(std::move(plan_p)) {
	}

	unique_ptr<LogicalOperator> Plan() {
		ReadAsWritten();
		EstimateScans(*plan);
		plan->EstimateCardinality(context);
		UseColumns();
		Run(OptimizerType::LIMIT_PUSHDOWN, [&]() { plan = LimitPushdown().Optimize(std::move(plan)); });
		Run(OptimizerType::TOP_N, [&]() { plan = TopN(context).Optimize(std::move(plan)); });
		UseStatistics();
		Run(OptimizerType::COLUMN_LIFETIME,
		    [&]() { ColumnLifetimeAnalyzer(optimizer, *plan, true).VisitOperator(*plan); });
		Run(OptimizerType::REORDER_FILTER,
		    [&]() { plan = ExpressionHeuristics(optimizer).Rewrite(std::move(plan)); });
		Run(OptimizerType::JOIN_FILTER_PUSHDOWN,
		    [&]() { JoinFilterPushdownOptimizer(optimizer).VisitOperator(*plan); });
		return std::move(plan);
	}

private:
	void Run(OptimizerType type, const std::function<void()> &pass) {
		context.InterruptCheck();
		if (!optimizer.OptimizerDisabled(type)) {
			pass();
		}
	}

	//! Constants are values again, inputs are where they are read, conditions are in the joins and the scans.
	void ReadAsWritten() {
		Run(OptimizerType::EXPRESSION_REWRITER, [&]() { optimizer.rewriter.VisitOperator(*plan); });
		Run(OptimizerType::CTE_INLINING, [&]() { plan = CTEInlining(optimizer).Optimize(std::move(plan)); });
		Run(OptimizerType::FILTER_PUSHDOWN, [&]() {
			FilterPushdown pushdown(optimizer);
			unordered_set<TableIndex> top_bindings;
			pushdown.CheckMarkToSemi(*plan, top_bindings);
			plan = pushdown.Rewrite(std::move(plan));
		});
		Run(OptimizerType::DELIMINATOR, [&]() { plan = Deliminator(context).Optimize(std::move(plan)); });
		Run(OptimizerType::UNNEST_REWRITER, [&]() { plan = UnnestRewriter(context).Optimize(std::move(plan)); });
	}

	//! By which a join decides whether its keys are worth a filter of the other side's scan.
	void EstimateScans(LogicalOperator &op) {
		if (op.type == LogicalOperatorType::LOGICAL_GET) {
			auto &get = op.Cast<LogicalGet>();
			get.SetEstimatedCardinality(RelationStatisticsHelper::ExtractGetStats(get, context).cardinality);
		}
		for (auto &child : op.children) {
			EstimateScans(*child);
		}
	}

	void UseColumns() {
		Run(OptimizerType::UNUSED_COLUMNS, [&]() { RemoveUnusedColumns(optimizer).VisitOperator(plan); });
	}

	void UseStatistics() {
		Run(OptimizerType::STATISTICS_PROPAGATION, [&]() {
			StatisticsPropagator propagator(optimizer, plan);
			propagator.PropagateStatistics(plan);
			if (propagator.HasRemovedExpressions()) {
				UseColumns();
			}
		});
	}

	Optimizer &optimizer;
	ClientContext &context;
	unique_ptr<LogicalOperator> plan;
};

//! Before DuckDB's own passes.
static void PlanTask(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	if (plan->type == LogicalOperatorType::LOGICAL_EXECUTE && plan->children.empty()) {
		// What had become old would have been bound again, below it.
		SparePasses(plan);
	} else if (RunsTasks(input.context)) {
		NameAsTables(*plan);
		if (!plan->children.empty()) {
			plan = TaskPlanner(input.optimizer, std::move(plan)).Plan();
			SparePasses(plan);
		}
	}
}

void RegisterTaskPlanning(DBConfig &config) {
	OptimizerExtension extension;
	extension.pre_optimize_function = PlanTask;
	extension.optimize_function = TakeSpared;
	OptimizerExtension::Register(config, std::move(extension));
}

} // namespace duckherder

extern "C" {

//! All that the connection runs from now on are fragments.
bool dh_connection_run_tasks(DhConnection *connection, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		duckherder::RunTasks(*connection->context);
		return true;
	});
}

} // extern "C"
