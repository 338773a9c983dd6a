// MERGE, and INSERT ... ON CONFLICT, which DuckDB turns into one, with RETURNING over rows that the client has a part
// in: each action becomes a statement of its own on the driver. Without RETURNING DuckDB plans it by itself.
#include "catalog.hpp"

#include "duckdb/execution/operator/persistent/physical_merge_into.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/planner/expression/bound_cast_expression.hpp"
#include "duckdb/planner/expression/bound_reference_expression.hpp"
#include "duckdb/planner/operator/logical_delete.hpp"
#include "duckdb/planner/operator/logical_insert.hpp"
#include "duckdb/planner/operator/logical_merge_into.hpp"
#include "duckdb/planner/operator/logical_update.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Plans the actions of a MERGE as INSERT, UPDATE and DELETE that return their rows.
class ReturningActionPlanner {
public:
	ReturningActionPlanner(ClientContext &context, PhysicalPlanGenerator &planner, LogicalMergeInto &merge,
	                       PhysicalOperator &input)
	    : context(context), planner(planner), merge(merge), input(input) {
	}

	unique_ptr<MergeIntoOperator> Plan(MergeActionCondition when, BoundMergeIntoAction &action) {
		auto result = make_uniq<MergeIntoOperator>();
		result->action_type = action.action_type;
		result->condition = std::move(action.condition);
		switch (action.action_type) {
		case MergeActionType::MERGE_INSERT:
			PlanInsert(when, action, *result);
			break;
		case MergeActionType::MERGE_UPDATE:
			PlanUpdate(when, action, *result);
			break;
		case MergeActionType::MERGE_DELETE:
			PlanDelete(when, *result);
			break;
		case MergeActionType::MERGE_ERROR:
			result->expressions = std::move(action.expressions);
			break;
		default:
			break;
		}
		return result;
	}

private:
	void PlanInsert(MergeActionCondition when, BoundMergeIntoAction &action, MergeIntoOperator &result) {
		auto &columns = merge.table.GetColumns();
		for (idx_t i = 0; i < action.expressions.size(); i++) {
			auto &type = columns.GetColumn(PhysicalIndex(i)).Type();
			result.expressions.push_back(Cast(std::move(action.expressions[i]), type));
		}
		auto &rows = PlanMergeActionSource(planner, input, when, result);
		LogicalInsert insert(merge.table, TableIndex(0));
		insert.return_chunk = true;
		insert.estimated_cardinality = merge.estimated_cardinality;
		insert.ResolveOperatorTypes();
		result.op = merge.table.catalog.PlanInsert(context, planner, insert, rows);
	}

	//! The new values come first, the row id last, as in any UPDATE.
	void PlanUpdate(MergeActionCondition when, BoundMergeIntoAction &action, MergeIntoOperator &result) {
		LogicalUpdate update(merge.table);
		auto &columns = merge.table.GetColumns();
		for (idx_t i = 0; i < action.expressions.size(); i++) {
			auto &type = columns.GetColumn(action.columns[i]).Type();
			result.expressions.push_back(Cast(std::move(action.expressions[i]), type));
			update.expressions.push_back(make_uniq<BoundReferenceExpression>(type, i));
		}
		for (auto &row_id : RowId()) {
			result.expressions.push_back(std::move(row_id));
		}
		auto &rows = PlanMergeActionSource(planner, input, when, result);
		update.columns = std::move(action.columns);
		update.return_chunk = true;
		update.estimated_cardinality = merge.estimated_cardinality;
		update.ResolveOperatorTypes();
		result.op = merge.table.catalog.PlanUpdate(context, planner, update, rows);
	}

	void PlanDelete(MergeActionCondition when, MergeIntoOperator &result) {
		auto &rows = PlanMergeActionSource(planner, input, when, result);
		LogicalDelete deletion(merge.table, TableIndex(0));
		deletion.expressions = RowId();
		deletion.return_chunk = true;
		deletion.estimated_cardinality = merge.estimated_cardinality;
		deletion.ResolveOperatorTypes();
		result.op = merge.table.catalog.PlanDelete(context, planner, deletion, rows);
	}

	unique_ptr<Expression> Cast(unique_ptr<Expression> value, const LogicalType &type) {
		return value->GetReturnType() == type ? std::move(value)
		                                      : BoundCastExpression::AddCastToType(context, std::move(value), type);
	}

	//! The last columns of the input.
	vector<unique_ptr<Expression>> RowId() {
		vector<unique_ptr<Expression>> result;
		for (idx_t i = merge.row_id_start; i < input.types.size(); i++) {
			result.push_back(make_uniq<BoundReferenceExpression>(input.types[i], i));
		}
		return result;
	}

	ClientContext &context;
	PhysicalPlanGenerator &planner;
	LogicalMergeInto &merge;
	PhysicalOperator &input;
};

PhysicalOperator &RemoteCatalog::PlanMergeInto(ClientContext &context, PhysicalPlanGenerator &planner,
                                               LogicalMergeInto &op, PhysicalOperator &plan) {
	if (!op.return_chunk) {
		return Catalog::PlanMergeInto(context, planner, op, plan);
	}
	ReturningActionPlanner actions_planner(context, planner, op, plan);
	map<MergeActionCondition, vector<unique_ptr<MergeIntoOperator>>> actions;
	for (auto &entry : op.actions) {
		auto &planned = actions[entry.first];
		for (auto &action : entry.second) {
			planned.push_back(actions_planner.Plan(entry.first, *action));
		}
	}
	// The rows of one action after those of another, as DuckDB's own tables return them.
	return planner.Make<PhysicalMergeInto>(op.types, plan, std::move(actions), op.row_id_start, op.source_marker,
	                                       /*parallel=*/false, /*return_chunk=*/true, /*serialize_actions=*/true);
}

} // namespace duckherder
