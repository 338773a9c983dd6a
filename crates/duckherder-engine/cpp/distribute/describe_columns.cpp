#include "describe_columns.hpp"

#include "json_object.hpp"
#include "keys.hpp"

#include "duckdb/function/scalar/compressed_materialization_utils.hpp"
#include "duckdb/planner/expression/bound_cast_expression.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/expression/bound_function_expression.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

string ColumnId(const ColumnBinding &binding) {
	return JsonText(to_string(binding.table_index.index) + "." + to_string(binding.column_index.GetIndex()));
}

//! The column that an expression gives as it is, or narrowed, or `cast` to another type of integers.
static optional_ptr<const BoundColumnRefExpression> ColumnOf(const Expression &expression, bool &cast) {
	if (auto wrapped = CMUtils::GetWrappedInput(expression)) {
		return ColumnOf(*wrapped, cast);
	}
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		return expression.Cast<BoundColumnRefExpression>();
	}
	if (!BoundCastExpression::IsCast(expression)) {
		return nullptr;
	}
	auto &function = expression.Cast<BoundFunctionExpression>();
	auto &child = BoundCastExpression::Child(function);
	if (BoundCastExpression::IsTryCast(function) || !child.GetReturnType().IsIntegral() ||
	    !expression.GetReturnType().IsIntegral()) {
		return nullptr;
	}
	cast = true;
	return ColumnOf(child, cast);
}

string DescribeColumns(LogicalOperator &op) {
	vector<string> columns;
	for (auto &binding : op.GetColumnBindings()) {
		columns.push_back(ColumnId(binding));
	}
	return JsonList(columns);
}

string DescribeKeys(LogicalOperator &op, idx_t side, bool explained) {
	vector<string> keys;
	for (auto &key : KeysOf(op, side)) {
		JsonObject object;
		auto cast = false;
		auto column = ColumnOf(*key.value, cast);
		if (column) {
			object.Raw(cast ? "cast_from" : "column", ColumnId(column->Binding()));
		}
		object.Bool("null_meets_none", key.null_meets_none);
		if (explained) {
			object.Text("text", key.value->GetName().GetIdentifierName());
		}
		keys.push_back(object.End());
	}
	return JsonList(keys);
}

static void AddRename(vector<string> &renames, const ColumnBinding &now, const Expression &expression) {
	auto cast = false;
	if (auto column = ColumnOf(expression, cast)) {
		JsonObject rename;
		rename.Raw("now", ColumnId(now)).Raw("was", ColumnId(column->Binding())).Bool("cast", cast);
		renames.push_back(rename.End());
	}
}

string DescribeRenames(LogicalOperator &op) {
	vector<string> renames;
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_PROJECTION: {
		auto bindings = op.GetColumnBindings();
		for (idx_t i = 0; i < bindings.size(); i++) {
			AddRename(renames, bindings[i], *op.expressions[i]);
		}
		break;
	}
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY: {
		auto &aggregate = op.Cast<LogicalAggregate>();
		for (idx_t i = 0; i < aggregate.groups.size() && aggregate.grouping_sets.size() < 2; i++) {
			AddRename(renames, ColumnBinding(aggregate.group_index, ProjectionIndex(i)), *aggregate.groups[i]);
		}
		break;
	}
	case LogicalOperatorType::LOGICAL_UNION:
	case LogicalOperatorType::LOGICAL_EXCEPT:
	case LogicalOperatorType::LOGICAL_INTERSECT: {
		auto bindings = op.GetColumnBindings();
		auto keys = KeysOf(op, 0);
		for (idx_t i = 0; i < MinValue(bindings.size(), keys.size()); i++) {
			AddRename(renames, bindings[i], *keys[i].value);
		}
		break;
	}
	default:
		break;
	}
	return JsonList(renames);
}

} // namespace duckherder
