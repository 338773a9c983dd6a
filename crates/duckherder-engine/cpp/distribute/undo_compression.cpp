// DuckDB narrows the columns that an operator materializes, and widens them again above it. A plan that is cut there
// can't be written as SQL, so the narrowing is taken out; the tasks' own plans narrow as they like.
#include "describe.hpp"

#include "duckdb/function/scalar/compressed_materialization_utils.hpp"
#include "duckdb/planner/column_binding_map.hpp"
#include "duckdb/planner/expression/bound_cast_expression.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/expression/bound_function_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"
#include "duckdb/planner/operator/logical_comparison_join.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Whether a call is one that DuckDB widens a column by.
static bool Widens(const Expression &expression) {
	auto input = CMUtils::GetWrappedInput(expression);
	if (!input) {
		return false;
	}
	switch (CMUtils::GetExpressionType(expression.Cast<BoundFunctionExpression>())) {
	case CMExpressionType::DECOMPRESS:
		return true;
	case CMExpressionType::CAST:
		return GetTypeIdSize(expression.GetReturnType().InternalType()) > GetTypeIdSize(input->GetReturnType().InternalType());
	default:
		return false;
	}
}

static void UndoInExpression(unique_ptr<Expression> &expression, const column_binding_map_t<LogicalType> &types) {
	LogicalType wide;
	if (Widens(*expression)) {
		wide = expression->GetReturnType();
	}
	while (CMUtils::GetWrappedInput(*expression)) {
		auto input = std::move(expression->Cast<BoundFunctionExpression>().GetChildrenMutable()[0]);
		expression = std::move(input);
	}
	if (expression->GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		auto found = types.find(expression->Cast<BoundColumnRefExpression>().Binding());
		if (found != types.end()) {
			expression->SetReturnType(found->second);
		}
	}
	ExpressionIterator::EnumerateChildren(*expression,
	                                      [&](unique_ptr<Expression> &child) { UndoInExpression(child, types); });
	if (wide.id() != LogicalTypeId::INVALID && expression->GetReturnType() != wide) {
		// Of what is known to be empty DuckDB has kept the narrow columns only.
		expression = BoundCastExpression::AddDefaultCastToType(std::move(expression), wide);
	}
}

//! What is known of the narrow columns does not hold for the wide ones.
static void ForgetStatistics(LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY) {
		for (auto &statistics : op.Cast<LogicalAggregate>().group_stats) {
			statistics.reset();
		}
	} else if (op.type == LogicalOperatorType::LOGICAL_COMPARISON_JOIN) {
		for (auto &condition : op.Cast<LogicalComparisonJoin>().conditions) {
			if (condition.IsComparison()) {
				condition.SetLeftStats(nullptr);
				condition.SetRightStats(nullptr);
			}
		}
	}
}

void UndoCompression(LogicalOperator &root) {
	column_binding_map_t<LogicalType> types;
	for (auto &child : root.children) {
		UndoCompression(*child);
		child->ResolveOperatorTypes();
		auto bindings = child->GetColumnBindings();
		for (idx_t i = 0; i < bindings.size(); i++) {
			types[bindings[i]] = child->types[i];
		}
	}
	ForgetStatistics(root);
	LogicalOperatorVisitor::EnumerateExpressions(
	    root, [&](unique_ptr<Expression> *expression) { UndoInExpression(*expression, types); });
}

} // namespace duckherder
