#include "combined.hpp"

#include "duckdb/planner/expression/bound_aggregate_expression.hpp"
#include "duckdb/planner/column_binding_map.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/logical_join.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

static optional_ptr<const BoundColumnRefExpression> AsColumn(const Expression &expression) {
	if (expression.GetExpressionClass() != ExpressionClass::BOUND_COLUMN_REF) {
		return nullptr;
	}
	return expression.Cast<BoundColumnRefExpression>();
}

static bool Reads(const Expression &expression, const column_binding_set_t &columns) {
	auto column = AsColumn(expression);
	if (column && columns.count(column->Binding())) {
		return true;
	}
	auto found = false;
	ExpressionIterator::EnumerateChildren(expression,
	                                      [&](const Expression &child) { found |= Reads(child, columns); });
	return found;
}

static bool AnyReads(LogicalOperator &op, const column_binding_set_t &columns) {
	auto found = false;
	LogicalOperatorVisitor::EnumerateExpressions(
	    op, [&](unique_ptr<Expression> *expression) { found |= Reads(**expression, columns); });
	return found;
}

//! The states that it combines; none if it does anything else.
static column_binding_set_t StatesCombined(const LogicalAggregate &aggregate) {
	column_binding_set_t states;
	for (auto &expression : aggregate.expressions) {
		auto &call = expression->Cast<BoundAggregateExpression>();
		auto &arguments = call.GetChildren();
		auto plain = !call.IsDistinct() && !call.GetFilter() && !call.GetOrderBys();
		auto column = arguments.size() == 1 ? AsColumn(*arguments[0]) : nullptr;
		if (!plain || !column || call.Function().GetName() != "combine_aggr") {
			return column_binding_set_t();
		}
		states.insert(column->Binding());
	}
	for (auto &group : aggregate.groups) {
		if (Reads(*group, states)) {
			return column_binding_set_t();
		}
	}
	return states;
}

//! Whether each row of either side meets those of the other whatever other rows its own side has.
static bool TakesRowByRow(const LogicalJoin &join) {
	switch (join.join_type) {
	case JoinType::INNER:
	case JoinType::LEFT:
	case JoinType::RIGHT:
	case JoinType::SEMI:
	case JoinType::ANTI:
	case JoinType::RIGHT_SEMI:
	case JoinType::RIGHT_ANTI:
		return true;
	default:
		return false;
	}
}

//! The columns below the projection that these of its own are; none if it does more with them, or gives them as others,
//! too, whose readers nobody follows.
static column_binding_set_t BelowProjection(LogicalOperator &projection, const column_binding_set_t &columns) {
	column_binding_set_t below;
	auto bindings = projection.GetColumnBindings();
	for (idx_t i = 0; i < bindings.size(); i++) {
		if (columns.count(bindings[i])) {
			auto column = AsColumn(*projection.expressions[i]);
			if (!column) {
				return column_binding_set_t();
			}
			below.insert(column->Binding());
		}
	}
	for (idx_t i = 0; i < bindings.size(); i++) {
		if (!columns.count(bindings[i]) && Reads(*projection.expressions[i], below)) {
			return column_binding_set_t();
		}
	}
	return below;
}

static bool GivesAll(LogicalOperator &op, const column_binding_set_t &columns) {
	auto bindings = op.GetColumnBindings();
	return std::all_of(columns.begin(), columns.end(), [&](const ColumnBinding &column) {
		return std::find(bindings.begin(), bindings.end(), column) != bindings.end();
	});
}

static bool Exports(const LogicalAggregate &aggregate) {
	auto exports = [](const unique_ptr<Expression> &expression) {
		auto &call = expression->Cast<BoundAggregateExpression>();
		return call.GetReturnType().IsAggregateState() && !call.IsDistinct() &&
		       call.Function().HasStateCombineCallback();
	};
	return !aggregate.groups.empty() && aggregate.grouping_sets.size() < 2 && aggregate.grouping_functions.empty() &&
	       std::all_of(aggregate.expressions.begin(), aggregate.expressions.end(), exports);
}

optional_ptr<const LogicalAggregate> CombinedBy(const LogicalAggregate &combining) {
	auto states = StatesCombined(combining);
	reference<LogicalOperator> next = *combining.children[0];
	while (!states.empty()) {
		auto &op = next.get();
		switch (op.type) {
		case LogicalOperatorType::LOGICAL_PROJECTION:
			states = BelowProjection(op, states);
			next = *op.children[0];
			break;
		case LogicalOperatorType::LOGICAL_FILTER:
			if (AnyReads(op, states)) {
				return nullptr;
			}
			next = *op.children[0];
			break;
		case LogicalOperatorType::LOGICAL_COMPARISON_JOIN: {
			auto side = GivesAll(*op.children[0], states) ? 0 : 1;
			if (AnyReads(op, states) || !TakesRowByRow(op.Cast<LogicalJoin>()) || !GivesAll(*op.children[side], states)) {
				return nullptr;
			}
			next = *op.children[side];
			break;
		}
		case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY: {
			auto &aggregate = op.Cast<LogicalAggregate>();
			auto is_state = [&](const ColumnBinding &state) { return state.table_index == aggregate.aggregate_index; };
			// What becomes of another state of its own nobody has followed.
			auto all = states.size() == aggregate.expressions.size() && std::all_of(states.begin(), states.end(), is_state);
			return all && Exports(aggregate) ? optional_ptr<const LogicalAggregate>(aggregate) : nullptr;
		}
		default:
			return nullptr;
		}
	}
	return nullptr;
}

} // namespace duckherder
