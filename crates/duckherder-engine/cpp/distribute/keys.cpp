#include "keys.hpp"

#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/expression/bound_window_expression.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"
#include "duckdb/planner/operator/logical_comparison_join.hpp"
#include "duckdb/planner/operator/logical_distinct.hpp"
#include "duckdb/planner/operator/logical_window.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static void AddKeys(ShuffleKeys &keys, const vector<unique_ptr<Expression>> &values) {
	for (auto &value : values) {
		keys.push_back({value->Copy(), false});
	}
}

static void AddJoinKeys(ShuffleKeys &keys, LogicalComparisonJoin &join, idx_t side) {
	for (auto &condition : join.conditions) {
		if (!condition.IsComparison()) {
			continue;
		}
		auto equal = condition.GetComparisonType() == ExpressionType::COMPARE_EQUAL;
		if (equal || condition.GetComparisonType() == ExpressionType::COMPARE_NOT_DISTINCT_FROM) {
			keys.push_back({(side == 0 ? condition.GetLHS() : condition.GetRHS()).Copy(), equal});
		}
	}
}

//! Nothing if the windows are not all partitioned by the same.
static void AddWindowKeys(ShuffleKeys &keys, LogicalWindow &window) {
	auto &first = window.expressions[0]->Cast<BoundWindowExpression>();
	for (auto &expression : window.expressions) {
		if (!first.PartitionsAreEquivalent(expression->Cast<BoundWindowExpression>())) {
			return;
		}
	}
	AddKeys(keys, first.Partitions());
}

bool HasRange(const LogicalType &type) {
	switch (type.id()) {
	case LogicalTypeId::TINYINT:
	case LogicalTypeId::SMALLINT:
	case LogicalTypeId::INTEGER:
	case LogicalTypeId::BIGINT:
	case LogicalTypeId::UTINYINT:
	case LogicalTypeId::USMALLINT:
	case LogicalTypeId::UINTEGER:
	case LogicalTypeId::DATE:
	case LogicalTypeId::TIMESTAMP:
		return true;
	default:
		return false;
	}
}

ShuffleKeys KeysOf(LogicalOperator &consumer, idx_t side) {
	ShuffleKeys keys;
	switch (consumer.type) {
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
		AddJoinKeys(keys, consumer.Cast<LogicalComparisonJoin>(), side);
		break;
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY:
		AddKeys(keys, consumer.Cast<LogicalAggregate>().groups);
		break;
	case LogicalOperatorType::LOGICAL_DISTINCT:
		AddKeys(keys, consumer.Cast<LogicalDistinct>().distinct_targets);
		break;
	case LogicalOperatorType::LOGICAL_WINDOW:
		AddWindowKeys(keys, consumer.Cast<LogicalWindow>());
		break;
	case LogicalOperatorType::LOGICAL_UNION:
	case LogicalOperatorType::LOGICAL_EXCEPT:
	case LogicalOperatorType::LOGICAL_INTERSECT: {
		// All columns: equal rows meet.
		auto &child = *consumer.children.at(side);
		auto bindings = child.GetColumnBindings();
		for (idx_t i = 0; i < bindings.size(); i++) {
			keys.push_back({make_uniq<BoundColumnRefExpression>(child.types.at(i), bindings[i]), false});
		}
		break;
	}
	default:
		break;
	}
	return keys;
}

} // namespace duckherder
