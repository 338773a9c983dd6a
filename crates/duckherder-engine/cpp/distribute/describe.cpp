#include "describe.hpp"

#include "duckdb/common/enum_util.hpp"
#include "duckdb/common/enums/logical_operator_type.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/parallel/task_scheduler.hpp"
#include "duckdb/planner/expression/bound_aggregate_expression.hpp"
#include "duckdb/planner/expression/bound_function_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"
#include "duckdb/planner/operator/logical_comparison_join.hpp"
#include "duckdb/planner/operator/logical_cteref.hpp"
#include "duckdb/planner/operator/logical_distinct.hpp"
#include "duckdb/planner/operator/logical_limit.hpp"
#include "duckdb/planner/operator/logical_materialized_cte.hpp"
#include "duckdb/planner/operator/logical_sample.hpp"
#include "duckdb/planner/operator/logical_set_operation.hpp"
#include "duckdb/planner/operator/logical_top_n.hpp"
#include "combined.hpp"
#include "describe_columns.hpp"
#include "describe_scan.hpp"
#include "estimates.hpp"
#include "file_target.hpp"
#include "fingerprint.hpp"
#include "json_object.hpp"
#include "labels.hpp"
#include "settings.hpp"
#include "snapshot.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static string NumberOrNull(optional_idx number) {
	return number.IsValid() ? to_string(number.GetIndex()) : "null";
}

static string NumbersOrNulls(const vector<optional_idx> &numbers) {
	vector<string> list;
	std::transform(numbers.begin(), numbers.end(), std::back_inserter(list), NumberOrNull);
	return JsonList(list);
}

//! Whether an order says more about the rows of a group than their keys do.
static bool IsOrderedWithin(LogicalDistinct &distinct) {
	if (!distinct.order_by) {
		return false;
	}
	auto &orders = distinct.order_by->orders;
	return std::any_of(orders.begin(), orders.end(), [&](const BoundOrderByNode &by) {
		auto is_key = [&](const unique_ptr<Expression> &target) { return target->Equals(*by.expression); };
		return std::none_of(distinct.distinct_targets.begin(), distinct.distinct_targets.end(), is_key);
	});
}

//! Whether states of rows that follow each other, combined in their order, give what one state of all rows would.
static bool CanBeCombined(const BoundAggregateFunction &function) {
	// Of the states of last() the first one wins, where its values are numbers.
	return function.HasStateCombineCallback() && function.GetName() != "last";
}

static string DescribeAggregate(LogicalAggregate &aggregate, RelationStatsExtractor &statistics, bool combined) {
	vector<string> texts;
	for (idx_t i = 0; i < aggregate.groups.size(); i++) {
		if (aggregate.groups[i]->GetReturnType().InternalType() == PhysicalType::VARCHAR) {
			texts.push_back(to_string(i));
		}
	}
	vector<string> calls;
	for (auto &expression : aggregate.expressions) {
		auto &call = expression->Cast<BoundAggregateExpression>();
		auto &function = call.Function();
		// The optimizer itself exports and combines states, for grouping sets and below joins.
		auto is_state = call.GetReturnType().IsAggregateState();
		auto exportable = CanBeCombined(function) && (is_state || function.HasGetStateTypeCallback());
		calls.push_back(JsonObject()
		                    .Text("name", function.GetName().GetIdentifierName())
		                    .Bool("distinct", call.IsDistinct())
		                    .Bool("exportable", exportable)
		                    .Bool("order_dependent", function.GetOrderDependent() == AggregateOrderDependent::ORDER_DEPENDENT)
		                    .End());
	}
	return JsonObject()
	    .Number("groups", aggregate.groups.size())
	    .Bool("grouping_sets", aggregate.grouping_sets.size() > 1 || !aggregate.grouping_functions.empty())
	    .Raw("distinct", NumberOrNull(DistinctGroups(statistics, aggregate)))
	    .Raw("key_values", NumbersOrNulls(DistinctValues(statistics, aggregate)))
	    .Raw("text_keys", JsonList(texts))
	    .Bool("combined", combined)
	    .Raw("calls", JsonList(calls))
	    .End();
}

static string DescribeLimit(const BoundLimitNode &limit, const BoundLimitNode &offset) {
	auto constant = [](const BoundLimitNode &node) { return to_string(node.GetConstantValue()); };
	string offset_text = "null";
	if (offset.Type() == LimitNodeType::UNSET) {
		offset_text = "0";
	} else if (offset.Type() == LimitNodeType::CONSTANT_VALUE) {
		offset_text = constant(offset);
	}
	return JsonObject()
	    .Raw("rows", limit.Type() == LimitNodeType::CONSTANT_VALUE ? constant(limit) : "null")
	    .Raw("offset", offset_text)
	    .End();
}

static string DescribeJoin(LogicalJoin &join) {
	return JsonObject()
	    .Text("type", EnumUtil::ToString(join.join_type))
	    .Bool("asof", join.type == LogicalOperatorType::LOGICAL_ASOF_JOIN)
	    .End();
}

static string DescribeWrite(ClientContext &context, const LogicalCopyToFile &copy) {
	auto kept = WhyDriverWrites(copy);
	return JsonObject()
	    .Text("directory", kept.empty() ? AbsolutePath(context, copy.file_path) : "")
	    .Text("kept", kept)
	    .End();
}

//! Whether it gives another value each time. DuckDB calls `error()`, with which it checks scalar subqueries, volatile
//! so that it stays where it is.
static bool IsVolatile(const Expression &expression) {
	if (!expression.IsVolatile()) {
		return false;
	}
	auto children_alone = true;
	switch (expression.GetExpressionClass()) {
	case ExpressionClass::BOUND_FUNCTION: {
		auto &function = expression.Cast<BoundFunctionExpression>().Function();
		children_alone = function.GetName() == Identifier("error") ||
		                 (function.GetStability() != FunctionStability::VOLATILE && !function.HasBindLambdaCallback());
		break;
	}
	case ExpressionClass::BOUND_CASE:
	case ExpressionClass::BOUND_CONJUNCTION:
		break;
	default:
		return true;
	}
	auto found = !children_alone;
	ExpressionIterator::EnumerateChildren(expression, [&](const Expression &child) { found |= IsVolatile(child); });
	return found;
}

static bool HasVolatileExpression(LogicalOperator &op) {
	bool found = false;
	LogicalOperatorVisitor::EnumerateExpressions(
	    op, [&](unique_ptr<Expression> *expression) { found |= IsVolatile(**expression); });
	return found;
}

//! What is counted on the way through a plan.
struct Numbers {
	explicit Numbers(ClientContext &context) : statistics(context) {
	}

	RelationStatsExtractor statistics;
	uint64_t node = 0;
	uint64_t scan = 0;
	//! Operators have labels.
	bool explained = false;
	//! Aggregates whose states one above combines.
	reference_set_t<const LogicalAggregate> combined;
};

//! Whether the optimizer has made it of GROUPING SETS with DISTINCT aggregates (`TryExpandGroupingSets`, DuckDB 2.0.0):
//! the UNION ALL above is of groups, which have no order.
static bool IsOfGroupingSets(const LogicalMaterializedCTE &cte) {
	return StringUtil::StartsWith(cte.ctename.GetIdentifierName(), "__grouping_sets_input_cte_");
}

static string DescribeOperator(ClientContext &context, LogicalOperator &op, const Scans &scans, Numbers &numbers) {
	JsonObject node;
	node.Number("id", numbers.node++);
	node.Text("operator", LogicalOperatorToString(op.type));
	node.Bool("volatile", HasVolatileExpression(op));
	if (op.has_estimated_cardinality) {
		node.Number("estimated_rows", op.estimated_cardinality);
	}
	auto operations = CountOperations(op);
	node.Number("row_bytes", RowBytes(op.types))
	    .Number("operations", operations.all)
	    .Number("text_operations", operations.of_texts);
	if (numbers.explained) {
		node.Text("label", OperatorLabel(op));
	}
	vector<string> keys;
	for (idx_t side = 0; side < op.children.size(); side++) {
		keys.push_back(DescribeKeys(op, side, numbers.explained));
	}
	node.Raw("keys", JsonList(keys)).Raw("renames", DescribeRenames(op));
	switch (op.type) {
	case LogicalOperatorType::LOGICAL_GET:
		node.Raw("scan", DescribeScan(context, scans.at(numbers.scan++)));
		break;
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY: {
		auto &aggregate = op.Cast<LogicalAggregate>();
		if (auto below = CombinedBy(aggregate)) {
			numbers.combined.insert(*below);
		}
		auto combined = numbers.combined.count(aggregate) > 0;
		node.Raw("aggregate", DescribeAggregate(aggregate, numbers.statistics, combined));
		break;
	}
	case LogicalOperatorType::LOGICAL_DISTINCT: {
		auto &distinct = op.Cast<LogicalDistinct>();
		node.Bool("distinct_on", distinct.distinct_type == DistinctType::DISTINCT_ON);
		node.Bool("ordered", IsOrderedWithin(distinct));
		break;
	}
	case LogicalOperatorType::LOGICAL_SAMPLE:
		node.Bool("repeatable", op.Cast<LogicalSample>().sample_options->repeatable);
		break;
	case LogicalOperatorType::LOGICAL_COMPARISON_JOIN:
	case LogicalOperatorType::LOGICAL_ANY_JOIN:
	case LogicalOperatorType::LOGICAL_ASOF_JOIN:
		node.Raw("join", DescribeJoin(op.Cast<LogicalJoin>()));
		break;
	case LogicalOperatorType::LOGICAL_UNION:
	case LogicalOperatorType::LOGICAL_EXCEPT:
	case LogicalOperatorType::LOGICAL_INTERSECT:
		node.Bool("all", op.Cast<LogicalSetOperation>().setop_all)
		    .Raw("distinct_rows", NumbersOrNulls(DistinctRows(numbers.statistics, op.Cast<LogicalSetOperation>())));
		break;
	case LogicalOperatorType::LOGICAL_MATERIALIZED_CTE:
		node.Number("cte", op.Cast<LogicalMaterializedCTE>().table_index.index);
		node.Bool("grouping_sets", IsOfGroupingSets(op.Cast<LogicalMaterializedCTE>()));
		node.Raw("columns", DescribeColumns(*op.children[0]));
		break;
	case LogicalOperatorType::LOGICAL_CTE_REF:
		node.Number("cte", op.Cast<LogicalCTERef>().cte_index.index);
		node.Raw("columns", DescribeColumns(op));
		break;
	case LogicalOperatorType::LOGICAL_LIMIT: {
		auto &limit = op.Cast<LogicalLimit>();
		node.Raw("limit", DescribeLimit(limit.limit_val, limit.offset_val));
		break;
	}
	case LogicalOperatorType::LOGICAL_TOP_N: {
		auto &top_n = op.Cast<LogicalTopN>();
		node.Raw("limit", JsonObject().Number("rows", top_n.limit).Number("offset", top_n.offset).End());
		break;
	}
	case LogicalOperatorType::LOGICAL_COPY_TO_FILE: {
		auto &copy = op.Cast<LogicalCopyToFile>();
		if (WritesDirectory(copy)) {
			node.Raw("write", DescribeWrite(context, copy));
		}
		break;
	}
	default:
		break;
	}
	vector<string> children;
	for (auto &child : op.children) {
		children.push_back(DescribeOperator(context, *child, scans, numbers));
	}
	return node.Raw("children", JsonList(children)).End();
}

string DescribePlan(ClientContext &context, LogicalOperator &root, const Scans &scans,
                    const vector<uint64_t> &not_written, bool explained) {
	Numbers numbers(context);
	numbers.explained = explained;
	root.ResolveOperatorTypes();
	root.EstimateCardinality(context);
	vector<string> failed;
	for (auto node : not_written) {
		failed.push_back(to_string(node));
	}
	Value distribution;
	context.TryGetCurrentSetting(DISTRIBUTION_SETTING, distribution);
	Value min_split_rows;
	context.TryGetCurrentSetting(MIN_SPLIT_ROWS_SETTING, min_split_rows);
	// The plan says how it compares texts; tasks would do it once more, or at less.
	auto collated = !Settings::Get<DefaultCollationSetting>(context).empty();
	return JsonObject()
	    .Bool("has_written", HasWritten(context))
	    .Text("kept", collated ? "default_collation is set" : "")
	    .Bool("explained", explained)
	    .Text("distribution", distribution.IsNull() ? "auto" : distribution.ToString())
	    .Number("threads", NumericCast<idx_t>(TaskScheduler::GetScheduler(context).NumberOfThreads()))
	    .Number("min_split_rows", min_split_rows.IsNull() ? DEFAULT_ROW_GROUP_SIZE : min_split_rows.GetValue<uint64_t>())
	    .Raw("not_written", JsonList(failed))
	    .Number("fingerprint", Fingerprint(root))
	    .Raw("root", DescribeOperator(context, root, scans, numbers))
	    .End();
}

} // namespace duckherder
