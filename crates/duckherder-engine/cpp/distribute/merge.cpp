// Aggregates in two steps: states from the tasks, combined and finalized on the driver.
#include "cut.hpp"

#include "duckdb/function/builtin_function_lookup.hpp"
#include "duckdb/function/function_binder.hpp"
#include "duckdb/optimizer/column_binding_replacer.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/bound_aggregate_expression.hpp"
#include "duckdb/planner/expression/bound_cast_expression.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"
#include "duckdb/planner/operator/logical_projection.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static unique_ptr<Expression> Reference(const LogicalType &type, TableIndex table, idx_t column) {
	return make_uniq<BoundColumnRefExpression>(type, ColumnBinding(table, ProjectionIndex(column)));
}

static unique_ptr<Expression> BindCombine(ClientContext &context, unique_ptr<Expression> state,
                                          const BoundAggregateFunction &original) {
	auto function = GetBuiltinAggregateFunction(context, Identifier("combine_aggr"), {state->GetReturnType()});
	vector<unique_ptr<Expression>> arguments;
	arguments.push_back(std::move(state));
	auto combine = FunctionBinder(context).BindAggregateFunction(function, std::move(arguments));
	// States of an aggregate that doesn't care about the order of its rows can be combined in any order.
	combine->FunctionMutable().SetOrderDependent(original.GetOrderDependent());
	return std::move(combine);
}

static unique_ptr<Expression> BindFinalize(ClientContext &context, unique_ptr<Expression> state,
                                           const LogicalType &type) {
	vector<unique_ptr<Expression>> arguments;
	arguments.push_back(std::move(state));
	auto value = FunctionBinder(context).BindScalarFunction(Identifier::DefaultSchema(), Identifier("finalize"),
	                                                        std::move(arguments));
	return BoundCastExpression::AddCastToType(context, std::move(value), type);
}

void MergeStates(Optimizer &optimizer, unique_ptr<LogicalOperator> &root, unique_ptr<LogicalOperator> &place,
                 shared_ptr<DistributedQuery> query, const vector<LogicalType> &types, Undo &undo) {
	auto &context = optimizer.context;
	auto &aggregate = place->Cast<LogicalAggregate>();
	auto groups = aggregate.groups.size();
	auto stage = query->LastStage();
	auto &binder = optimizer.binder;
	auto source = binder.GenerateTableIndex();
	vector<ColumnBinding> source_bindings;
	for (idx_t i = 0; i < types.size(); i++) {
		source_bindings.emplace_back(source, ProjectionIndex(i));
	}

	vector<unique_ptr<Expression>> combines;
	for (idx_t i = 0; i < aggregate.expressions.size(); i++) {
		auto &original = aggregate.expressions[i]->Cast<BoundAggregateExpression>().Function();
		combines.push_back(BindCombine(context, Reference(types[groups + i], source, groups + i), original));
	}
	auto merged = make_uniq<LogicalAggregate>(binder.GenerateTableIndex(), binder.GenerateTableIndex(),
	                                          std::move(combines));
	vector<unique_ptr<Expression>> columns;
	vector<ColumnBinding> old_bindings = aggregate.GetColumnBindings();
	for (idx_t i = 0; i < groups; i++) {
		merged->groups.push_back(Reference(types[i], source, i));
		columns.push_back(Reference(types[i], merged->group_index, i));
	}
	// The tasks group by all keys: each grouping set is combined of these groups.
	merged->grouping_sets = aggregate.grouping_sets;
	merged->grouping_functions = aggregate.grouping_functions;
	if (!merged->grouping_functions.empty()) {
		merged->groupings_index = binder.GenerateTableIndex();
	}
	merged->group_stats.resize(groups);
	merged->distinct_validity = aggregate.distinct_validity;
	for (idx_t i = 0; i < aggregate.expressions.size(); i++) {
		auto state = Reference(types[groups + i], merged->aggregate_index, i);
		auto &type = aggregate.expressions[i]->GetReturnType();
		if (!type.IsAggregateState()) {
			state = BindFinalize(context, std::move(state), type);
		} else if (state->GetReturnType() != type) {
			throw NotImplementedException("its SQL gives another state than the plan");
		}
		columns.push_back(std::move(state));
	}
	for (idx_t i = 0; i < merged->grouping_functions.size(); i++) {
		columns.push_back(Reference(LogicalType::BIGINT, merged->groupings_index, i));
	}
	auto rows = aggregate.has_estimated_cardinality ? aggregate.estimated_cardinality : 1;
	merged->SetEstimatedCardinality(rows);
	merged->children.push_back(make_uniq<LogicalExchange>(std::move(query), stage, std::move(source_bindings), types, rows));

	auto projection = make_uniq<LogicalProjection>(binder.GenerateTableIndex(), std::move(columns));
	projection->SetEstimatedCardinality(rows);
	projection->children.push_back(std::move(merged));
	projection->ResolveOperatorTypes();
	auto new_bindings = projection->GetColumnBindings();
	auto &replaced = *projection;
	ReplaceUntilUndone(place, std::move(projection), undo);

	auto rebind = [&root](const vector<ColumnBinding> &from, const vector<ColumnBinding> &to, LogicalOperator &below) {
		ColumnBindingReplacer replacer;
		replacer.AddReplacements(from, to);
		replacer.stop_operator = &below;
		replacer.VisitOperator(*root);
	};
	rebind(old_bindings, new_bindings, replaced);
	undo.Add([=, &replaced]() { rebind(new_bindings, old_bindings, replaced); });
}

} // namespace duckherder
