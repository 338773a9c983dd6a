// A statement that a driver runs as a whole: the driver optimizes it, and explains it.
#include "functions.hpp"
#include "query_function.hpp"
#include "spared_plan.hpp"
#include "transaction.hpp"

#include "duckdb/main/config.hpp"
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/optimizer/optimizer_extension.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/bound_statement.hpp"
#include "duckdb/planner/operator/logical_explain.hpp"
#include "duckdb/planner/planner_extension.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/planner/operator/logical_projection.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

optional_ptr<LogicalGet> FindWholeQuery(LogicalOperator &plan) {
	auto current = &plan;
	while (current->type == LogicalOperatorType::LOGICAL_PROJECTION && current->children.size() == 1) {
		current = current->children[0].get();
	}
	if (current->type != LogicalOperatorType::LOGICAL_GET) {
		return nullptr;
	}
	auto &get = current->Cast<LogicalGet>();
	return IsQueryFunction(get.function) ? &get : nullptr;
}

//! What a driver runs as a whole, it optimizes.
static void OptimizeThere(OptimizerExtensionInput &, unique_ptr<LogicalOperator> &plan) {
	auto get = FindWholeQuery(*plan);
	if (get && dynamic_cast<const PushedStatement *>(get->bind_info.get())) {
		SparePasses(plan);
	}
}

static void ExplainThere(OptimizerExtensionInput &input, unique_ptr<LogicalOperator> &plan) {
	TakeSpared(input, plan);
	if (plan->type != LogicalOperatorType::LOGICAL_EXPLAIN || plan->children.size() != 1) {
		return;
	}
	auto &explain = plan->Cast<LogicalExplain>();
	auto get = FindWholeQuery(*plan->children[0]);
	if (!get) {
		return;
	}
	auto &data = get->bind_data->Cast<QueryData>();
	Parser parser(input.context);
	parser.ParseQuery(data.statement.sql);
	if (parser.statements.size() != 1) {
		return;
	}
	ExplainStatement statement(std::move(parser.statements[0]), explain.explain_type, explain.format);
	auto remote = data.catalog.MakeStatement(input.context, statement.ToString());
	auto explained = BindQuery(input.context, data.catalog, std::move(remote), data.parameters, data.changes_catalog,
	                           DH_START_NEVER);
	auto types = explained->columns->types;
	auto names = explained->columns->names;
	auto result = make_uniq<LogicalGet>(input.optimizer.binder.GenerateTableIndex(), get->function,
	                                    std::move(explained), types, names, virtual_column_map_t());
	for (idx_t i = 0; i < types.size(); i++) {
		result->AddColumnId(i);
	}
	result->ResolveOperatorTypes();
	plan = std::move(result);
}

//! SELECT * gives every column a name of its own; the names that the driver gave may be equal, as in DuckDB.
static void KeepNames(PlannerExtensionInput &, BoundStatement &statement) {
	auto get = statement.plan ? FindWholeQuery(*statement.plan) : nullptr;
	if (!get || !dynamic_cast<const PushedStatement *>(get->bind_info.get())) {
		return;
	}
	auto &names = get->bind_data->Cast<QueryData>().columns->names;
	if (names.size() == statement.names.size()) {
		statement.names = names;
	}
}

void RegisterExplain(DBConfig &config) {
	PlannerExtension names;
	names.post_bind_function = KeepNames;
	PlannerExtension::Register(config, std::move(names));
	OptimizerExtension extension;
	extension.pre_optimize_function = OptimizeThere;
	extension.optimize_function = ExplainThere;
	OptimizerExtension::Register(config, std::move(extension));
}

} // namespace duckherder
