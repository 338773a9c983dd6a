// Operators in a few words, for who draws a plan.
#include "labels.hpp"

#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/common/enum_util.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"
#include "duckdb/planner/operator/logical_comparison_join.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/planner/operator/logical_join.hpp"
#include "duckdb/planner/operator/logical_order.hpp"
#include "duckdb/planner/operator/logical_top_n.hpp"
#include "duckdb/planner/operator/logical_window.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Bytes that a list of expressions takes at most.
static constexpr idx_t MOST_BYTES = 80;

static string Shortened(const string &text) {
	if (text.size() <= MOST_BYTES) {
		return text;
	}
	auto end = MOST_BYTES;
	// Not in the middle of a character.
	while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
		end--;
	}
	return text.substr(0, end) + " ...";
}

static string NameOf(const Expression &expression) {
	return expression.GetName().GetIdentifierName();
}

static string Texts(const vector<unique_ptr<Expression>> &expressions) {
	vector<string> texts;
	for (auto &expression : expressions) {
		texts.push_back(NameOf(*expression));
	}
	return StringUtil::Join(texts, ", ");
}

static string Texts(const vector<BoundOrderByNode> &orders) {
	vector<string> texts;
	for (auto &order : orders) {
		texts.push_back(NameOf(*order.expression) + " " + order.GetOrderModifier());
	}
	return StringUtil::Join(texts, ", ");
}

static string JoinLabel(LogicalJoin &join) {
	auto label = join.type == LogicalOperatorType::LOGICAL_ASOF_JOIN ? string("ASOF JOIN") : string("JOIN");
	label += " " + EnumUtil::ToString(join.join_type);
	if (join.type != LogicalOperatorType::LOGICAL_COMPARISON_JOIN) {
		return label;
	}
	vector<string> conditions;
	for (auto &condition : join.Cast<LogicalComparisonJoin>().conditions) {
		if (condition.IsComparison()) {
			conditions.push_back(NameOf(condition.GetLHS()) + " " +
			                     ExpressionTypeToOperator(condition.GetComparisonType()) + " " +
			                     NameOf(condition.GetRHS()));
		}
	}
	return label + " ON " + Shortened(StringUtil::Join(conditions, ", "));
}

string OperatorLabel(LogicalOperator &op) {
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_GET: {
		auto &get = op.Cast<LogicalGet>();
		auto table = get.GetTable();
		auto label = "SCAN " + (table ? table->name : get.function.GetName()).GetIdentifierName();
		return get.table_filters.HasFilters() ? label + ", filtered" : label;
	}
	case LogicalOperatorType::LOGICAL_FILTER:
		return "FILTER " + Shortened(Texts(op.expressions));
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY: {
		auto &aggregate = op.Cast<LogicalAggregate>();
		auto label = "AGGREGATE " + Shortened(Texts(aggregate.expressions));
		return aggregate.groups.empty() ? label : label + " BY " + Shortened(Texts(aggregate.groups));
	}
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
	case LogicalOperatorType::LOGICAL_ANY_JOIN:
	case LogicalOperatorType::LOGICAL_ASOF_JOIN:
		return JoinLabel(op.Cast<LogicalJoin>());
	case LogicalOperatorType::LOGICAL_ORDER_BY:
		return "ORDER BY " + Shortened(Texts(op.Cast<LogicalOrder>().orders));
	case LogicalOperatorType::LOGICAL_TOP_N:
		return "TOP " + to_string(op.Cast<LogicalTopN>().limit) + " BY " +
		       Shortened(Texts(op.Cast<LogicalTopN>().orders));
	case LogicalOperatorType::LOGICAL_WINDOW:
		return "WINDOW " + Shortened(Texts(op.expressions));
	default:
		return StringUtil::Replace(LogicalOperatorToString(op.type), "_", " ");
	}
}

} // namespace duckherder
