#include "describe.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/common/enum_util.hpp"
#include "duckdb/common/enums/logical_operator_type.hpp"
#include "duckdb/function/scalar/compressed_materialization_utils.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/parallel/task_scheduler.hpp"
#include "duckdb/planner/expression/bound_aggregate_expression.hpp"
#include "duckdb/planner/expression/bound_cast_expression.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/expression/bound_function_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"
#include "duckdb/planner/operator/logical_comparison_join.hpp"
#include "duckdb/planner/operator/logical_cteref.hpp"
#include "duckdb/planner/operator/logical_distinct.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/planner/operator/logical_limit.hpp"
#include "duckdb/planner/operator/logical_materialized_cte.hpp"
#include "duckdb/planner/operator/logical_sample.hpp"
#include "duckdb/planner/operator/logical_set_operation.hpp"
#include "duckdb/planner/operator/logical_top_n.hpp"
#include "duckdb/storage/data_table.hpp"
#include "duckdb/storage/table/data_table_info.hpp"
#include "combined.hpp"
#include "estimates.hpp"
#include "file_target.hpp"
#include "fingerprint.hpp"
#include "keys.hpp"
#include "labels.hpp"
#include "settings.hpp"
#include "snapshot.hpp"
#include "wire_type.hpp"
#include "zones.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Writes one JSON object, field by field.
class JsonObject {
public:
	JsonObject &Raw(const char *name, const string &value) {
		text += (text.empty() ? "{\"" : ",\"") + string(name) + "\":" + value;
		return *this;
	}
	JsonObject &Bool(const char *name, bool value) {
		return Raw(name, value ? "true" : "false");
	}
	JsonObject &Number(const char *name, idx_t value) {
		return Raw(name, to_string(value));
	}
	JsonObject &Text(const char *name, const string &value) {
		string quoted = "\"";
		for (auto c : value) {
			if (c == '"' || c == '\\') {
				quoted += '\\';
				quoted += c;
			} else if (static_cast<unsigned char>(c) < 0x20) {
				quoted += StringUtil::Format("\\u%04x", static_cast<int>(c));
			} else {
				quoted += c;
			}
		}
		return Raw(name, quoted + "\"");
	}
	string End() const {
		return text.empty() ? "{}" : text + "}";
	}

private:
	string text;
};

static string List(const vector<string> &items) {
	return "[" + StringUtil::Join(items, ",") + "]";
}

static bool HasEquality(const Expression &expression) {
	auto type = expression.GetExpressionType();
	if (type == ExpressionType::COMPARE_EQUAL || type == ExpressionType::COMPARE_IN) {
		return true;
	}
	bool found = false;
	ExpressionIterator::EnumerateChildren(expression,
	                                      [&](const Expression &child) { found |= HasEquality(child); });
	return found;
}

//! Whether the scan's one filter asks for values of an indexed column.
static bool AsksIndex(const LogicalGet &get, DuckTableEntry &table) {
	if (get.table_filters.FilterCount() != 1) {
		return false;
	}
	auto indexed = table.GetStorage().GetDataTableInfo()->GetIndexes().GetIndexedColumns();
	for (auto &entry : get.table_filters) {
		auto &index = get.GetColumnIds()[entry.GetIndex().GetIndex()];
		if (index.IsVirtualColumn()) {
			continue;
		}
		auto &column = table.GetColumn(index.ToLogical());
		BoundColumnRefExpression reference(column.Type(), ColumnBinding(get.table_index, entry.GetIndex()));
		if (indexed.count(column.Physical().index) && HasEquality(*entry.Filter().ToExpression(reference))) {
			return true;
		}
	}
	return false;
}

static string Quoted(const string &text) {
	JsonObject object;
	auto written = object.Text("", text).End();
	return written.substr(4, written.size() - 5);
}

static string QuotedAll(const vector<string> &texts) {
	vector<string> quoted;
	for (auto &text : texts) {
		quoted.push_back(Quoted(text));
	}
	return List(quoted);
}

static string DescribeFiles(const FileScan &files) {
	vector<string> row_groups;
	for (auto &rows : files.row_groups) {
		vector<string> numbers;
		for (auto count : rows) {
			numbers.push_back(to_string(count));
		}
		row_groups.push_back(List(numbers));
	}
	return JsonObject()
	    .Raw("paths", QuotedAll(files.paths))
	    .Raw("others", QuotedAll(files.OthersOpened()))
	    .Raw("row_groups", List(row_groups))
	    .Bool("text", files.text)
	    .Bool("sampled_again", files.IsSampledAgain())
	    .End();
}

//! Why only the driver can read the scan, whoever else sees its table: the plan says by itself how texts are compared, and
//! a task that reads a column with a collation would collate once more; what COLLATE C asks for, too.
static string WhyKept(const PlanScan &plan_scan) {
	auto &get = plan_scan.get.get();
	for (auto &index : get.GetColumnIds()) {
		if (!index.IsVirtualColumn() && IsCollated(get.GetColumnType(index))) {
			return "its column " + get.GetColumnName(index).GetIdentifierName() + " has a collation";
		}
	}
	return plan_scan.files.kept;
}

static string ColumnId(const ColumnBinding &binding) {
	return Quoted(to_string(binding.table_index.index) + "." + to_string(binding.column_index.GetIndex()));
}

//! More of them are described as fewer.
static constexpr idx_t MOST_ZONES = 128;

static string DescribeZones(const vector<Zone> &zones) {
	vector<string> described;
	auto together = zones.size() / MOST_ZONES + 1;
	for (idx_t i = 0; i < zones.size(); i += together) {
		auto all = zones[i];
		for (idx_t other = i + 1; other < MinValue<idx_t>(i + together, zones.size()); other++) {
			all.rows += zones[other].rows;
			all.least = MinValue(all.least, zones[other].least);
			all.greatest = MaxValue(all.greatest, zones[other].greatest);
		}
		described.push_back(List({to_string(all.rows), to_string(all.least), to_string(all.greatest)}));
	}
	return List(described);
}

static vector<Zone> ZonesOf(ClientContext &context, const PlanScan &scan, const ColumnIndex &index) {
	if (scan.files.scan) {
		auto found = scan.files.scan->zones.find(index.GetPrimaryIndex());
		return found == scan.files.scan->zones.end() ? vector<Zone>() : found->second;
	}
	auto table = scan.get.get().GetTable();
	if (!table || !table->IsDuckTable()) {
		return {};
	}
	return ZonesOf(context, table->Cast<DuckTableEntry>(), table->GetColumn(index.ToLogical()));
}

//! The columns of which a range can be read, with their numbers in the table, and what they have where.
static string DescribeRanges(ClientContext &context, const PlanScan &scan) {
	vector<string> columns;
	auto &get = scan.get.get();
	auto &read = get.GetColumnIds();
	for (idx_t i = 0; i < read.size(); i++) {
		if (HasRange(scan, read[i])) {
			JsonObject column;
			column.Raw("column", ColumnId(ColumnBinding(get.table_index, ProjectionIndex(i))));
			column.Number("number", read[i].GetPrimaryIndex());
			columns.push_back(column.Raw("zones", DescribeZones(ZonesOf(context, scan, read[i]))).End());
		}
	}
	return List(columns);
}

static string DescribeScan(ClientContext &context, const PlanScan &plan_scan) {
	auto &get = plan_scan.get.get();
	JsonObject scan;
	auto table = get.GetTable();
	scan.Text("name", table ? table->name.GetIdentifierName() : get.function.GetName().GetIdentifierName());
	auto shared = table && table->IsDuckTable() && !table->temporary && !table->internal && get.children.empty() &&
	              !get.at_clause && get.scan_partition_indices.empty() &&
	              !table->ParentCatalog().GetAttached().IsTemporary();
	idx_t rows = 0;
	bool asks_index = false;
	if (shared) {
		auto &duck_table = table->Cast<DuckTableEntry>();
		rows = duck_table.GetStorage().GetTotalRows();
		asks_index = AsksIndex(get, duck_table);
		// Its own column of that name hides the row ids that splits are made of.
		shared = !table->ColumnExists(Identifier("rowid"));
	}
	bool virtual_columns = false;
	vector<string> columns;
	for (auto &index : get.GetColumnIds()) {
		virtual_columns |= index.IsVirtualColumn() && !index.IsEmptyColumn();
		if (!index.IsVirtualColumn()) {
			columns.push_back(to_string(index.GetPrimaryIndex()));
		}
	}
	if (shared) {
		scan.Text("table", table->schema.GetQualifiedName(table->name).ToString()).Raw("columns", List(columns));
	}
	if (plan_scan.files.scan) {
		scan.Raw("files", DescribeFiles(*plan_scan.files.scan));
		rows = get.EstimateSourceCardinality(context);
		virtual_columns = false;
	}
	scan.Text("kept", WhyKept(plan_scan)).Raw("ranges", DescribeRanges(context, plan_scan));
	return scan.Bool("shared_table", shared)
	    .Number("rows", rows)
	    .Number("row_bytes", ReadBytes(get))
	    .Bool("virtual_columns", virtual_columns)
	    .Bool("sampled", get.extra_info.sample_options != nullptr)
	    .Bool("index_lookup", asks_index)
	    .End();
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

static string NumberOrNull(optional_idx number) {
	return number.IsValid() ? to_string(number.GetIndex()) : "null";
}

static string DescribeAggregate(LogicalAggregate &aggregate, RelationStatsExtractor &statistics, bool combined) {
	vector<string> values;
	for (auto count : DistinctValues(statistics, aggregate)) {
		values.push_back(NumberOrNull(count));
	}
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
	    .Raw("key_values", List(values))
	    .Raw("text_keys", List(texts))
	    .Bool("combined", combined)
	    .Raw("calls", List(calls))
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

static string DescribeColumns(LogicalOperator &op) {
	vector<string> columns;
	for (auto &binding : op.GetColumnBindings()) {
		columns.push_back(ColumnId(binding));
	}
	return List(columns);
}

static string DescribeKeys(LogicalOperator &op, idx_t side, bool explained) {
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
	return List(keys);
}

static void AddRename(vector<string> &renames, const ColumnBinding &now, const Expression &expression) {
	auto cast = false;
	if (auto column = ColumnOf(expression, cast)) {
		JsonObject rename;
		rename.Raw("now", ColumnId(now)).Raw("was", ColumnId(column->Binding())).Bool("cast", cast);
		renames.push_back(rename.End());
	}
}

//! Columns of the operator that are those of its (first) child under another name.
static string DescribeRenames(LogicalOperator &op) {
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
	return List(renames);
}

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
	node.Raw("keys", List(keys)).Raw("renames", DescribeRenames(op));
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
		node.Bool("all", op.Cast<LogicalSetOperation>().setop_all);
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
	return node.Raw("children", List(children)).End();
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
	    .Raw("not_written", List(failed))
	    .Number("fingerprint", Fingerprint(root))
	    .Raw("root", DescribeOperator(context, root, scans, numbers))
	    .End();
}

} // namespace duckherder
