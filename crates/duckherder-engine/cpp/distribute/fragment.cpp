#include "fragment.hpp"

#include "arrow_source.hpp"
#include "bridge.hpp"
#include "task_query.hpp"
#include "duckdb/common/extension_type_info.hpp"
#include "duckdb/common/types/value.hpp"
#include "duckdb/parser/common_table_expression_info.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/comparison_expression.hpp"
#include "duckdb/parser/expression/conjunction_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/star_expression.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/query_node/set_operation_node.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/emptytableref.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! The column of a split of which no column is needed.
static const char *const EMPTY_COLUMN = "no_column";

Identifier SplitName(idx_t scan) {
	return Identifier("split_" + to_string(scan));
}

Identifier ExchangeName(idx_t stage) {
	return Identifier(EXCHANGE_PREFIX + to_string(stage));
}

Identifier ColumnName(idx_t index) {
	return Identifier("c" + to_string(index));
}

Fragment::Fragment(unique_ptr<QueryNode> query_p, vector<SplitInput> splits_p, vector<ExchangeInput> exchanges_p)
    : query(std::move(query_p)), splits(std::move(splits_p)), exchanges(std::move(exchanges_p)) {
}

unique_ptr<Fragment> Fragment::Copy() const {
	auto copy = make_uniq<Fragment>(query->Copy(), splits, exchanges);
	copy->types = types;
	copy->keys = keys;
	copy->target = target;
	copy->path = path;
	return copy;
}

unique_ptr<Fragment> Fragment::Writing(const string &path_p) const {
	if (!target) {
		throw InternalException("the fragment's rows go nowhere but to its reader");
	}
	auto writing = Copy();
	writing->path = path_p;
	writing->types = WrittenTypes();
	return writing;
}

unique_ptr<QueryNode> Fragment::Written(unique_ptr<QueryNode> rows) const {
	return path.empty() ? std::move(rows) : target->WritingQuery(std::move(rows), path);
}

unique_ptr<Fragment> Fragment::Narrowed(const vector<DhScanRange> &ranges) const {
	auto narrowed = Copy();
	for (auto &range : ranges) {
		auto of_scan = [&](const SplitInput &split) { return split.scan == range.scan && split.types.count(range.column); };
		auto found = std::find_if(narrowed->splits.begin(), narrowed->splits.end(), of_scan);
		if (found == narrowed->splits.end()) {
			throw InternalException("the fragment reads no column %d of scan %d", range.column, range.scan);
		}
		found->ranges.push_back(range);
	}
	return narrowed;
}

string Fragment::ToString() const {
	return query->ToString();
}

static unique_ptr<ParsedExpression> RowId() {
	return make_uniq<ColumnRefExpression>(Identifier("rowid"));
}

static unique_ptr<ParsedExpression> Compare(ExpressionType type, unique_ptr<ParsedExpression> left, int64_t right) {
	return make_uniq<ComparisonExpression>(type, std::move(left), ConstantExpression::FromValue(Value::BIGINT(right)));
}

using Conditions = vector<unique_ptr<ParsedExpression>>;

static void Where(SelectNode &node, Conditions conditions) {
	if (conditions.size() == 1) {
		node.where_clause = std::move(conditions[0]);
	} else if (!conditions.empty()) {
		node.where_clause = make_uniq<ConjunctionExpression>(ExpressionType::CONJUNCTION_AND, std::move(conditions));
	}
}

//! `names` are those of the input's columns in their order.
static void AddRange(Conditions &conditions, const SplitInput &input, const vector<Identifier> &names, idx_t column,
                     int64_t least, int64_t greatest) {
	auto place = std::find(input.columns.begin(), input.columns.end(), column) - input.columns.begin();
	auto &type = input.types.at(column);
	// Other tables' keys may have a larger type.
	int64_t lowest, highest;
	LimitsOf(type, lowest, highest);
	if (least > greatest || least > highest || greatest < lowest) {
		conditions.push_back(ConstantExpression::FromValue(Value::BOOLEAN(false)));
		return;
	}
	auto compare = [&](ExpressionType comparison, int64_t value) {
		conditions.push_back(make_uniq<ComparisonExpression>(
		    comparison, make_uniq<ColumnRefExpression>(names.at(NumericCast<idx_t>(place))),
		    WriteValue(Value::Numeric(type, value))));
	};
	if (least > lowest) {
		compare(ExpressionType::COMPARE_GREATERTHANOREQUALTO, least);
	}
	if (greatest < highest) {
		compare(ExpressionType::COMPARE_LESSTHANOREQUALTO, greatest);
	}
}

//! What of the rows of a split is read.
static void AddRanges(Conditions &conditions, const SplitInput &input, const vector<Identifier> &names,
                      const DhSplit &split) {
	if (split.key >= 0) {
		AddRange(conditions, input, names, NumericCast<idx_t>(split.key), split.least, split.greatest);
	}
	for (auto &range : input.ranges) {
		AddRange(conditions, input, names, range.column, range.least, range.greatest);
	}
}

//! What a task reads of its files.
static unique_ptr<QueryNode> FilesQuery(const SplitInput &input, const DhSplit &split) {
	auto part = input.files->PartQuery(input.columns, split.first, split.last);
	if (input.ranges.empty() && split.key < 0) {
		return part;
	}
	auto statement = make_uniq<SelectStatement>();
	statement->node = std::move(part);
	auto rows = make_uniq<SubqueryRef>(std::move(statement), Identifier("part"));
	for (idx_t i = 0; i < input.columns.size(); i++) {
		rows->column_name_alias.push_back(ColumnName(i));
	}
	Conditions conditions;
	AddRanges(conditions, input, rows->column_name_alias, split);
	auto node = make_uniq<SelectNode>();
	node->select_list.push_back(make_uniq<StarExpression>());
	node->from_table = std::move(rows);
	Where(*node, std::move(conditions));
	return std::move(node);
}

//! The same table of another database.
static QualifiedName InCatalog(const QualifiedName &table, const string &catalog) {
	auto path = table.Path();
	path.front() = Identifier(catalog);
	return QualifiedName::FromPath(std::move(path));
}

unique_ptr<QueryNode> Fragment::SplitQuery(idx_t number, const DhSplit &split, const string &catalog) const {
	if (split.part_count > 0) {
		// Conditions that are all fulfilled, or none, leave out row groups and cost less than alternatives.
		auto all = make_uniq<SetOperationNode>();
		all->setop_type = SetOperationType::UNION;
		all->setop_all = true;
		for (uint64_t i = 0; i < split.part_count; i++) {
			all->children.push_back(SplitQuery(number, split.parts[i], catalog));
		}
		return std::move(all);
	}
	auto &input = splits.at(number);
	if (input.files) {
		return FilesQuery(input, split);
	}
	auto node = make_uniq<SelectNode>();
	for (auto &column : input.names) {
		node->select_list.push_back(make_uniq<ColumnRefExpression>(column));
	}
	if (input.names.empty()) {
		auto nothing = ConstantExpression::FromValue(Value::BOOLEAN(true));
		nothing->SetAlias(Identifier(EMPTY_COLUMN));
		node->select_list.push_back(std::move(nothing));
	}
	auto reference = make_uniq<BaseTableRef>();
	reference->SetQualifiedName(catalog.empty() ? input.table : InCatalog(input.table, catalog));
	node->from_table = std::move(reference);
	Conditions conditions;
	if (split.every > 0) {
		// The rest of a division by a power of two.
		vector<unique_ptr<ParsedExpression>> arguments;
		arguments.push_back(RowId());
		arguments.push_back(ConstantExpression::FromValue(Value::BIGINT(split.every - 1)));
		conditions.push_back(Compare(ExpressionType::COMPARE_LESSTHAN,
		                             make_uniq<FunctionExpression>(Identifier("&"), std::move(arguments)), split.rows));
	}
	if (split.first >= 0) {
		conditions.push_back(Compare(ExpressionType::COMPARE_GREATERTHANOREQUALTO, RowId(), split.first));
	}
	if (split.last >= 0) {
		conditions.push_back(Compare(ExpressionType::COMPARE_LESSTHANOREQUALTO, RowId(), split.last));
	}
	AddRanges(conditions, input, input.names, split);
	Where(*node, std::move(conditions));
	return std::move(node);
}

string Fragment::KeyCondition(idx_t number, const DhSplit &split) const {
	auto &input = splits.at(number);
	Conditions conditions;
	if (split.key >= 0) {
		AddRange(conditions, input, input.names, NumericCast<idx_t>(split.key), split.least, split.greatest);
	}
	SelectNode node;
	Where(node, std::move(conditions));
	return node.where_clause ? node.where_clause->ToString() : string();
}

struct InputDefinition {
	Identifier name;
	unique_ptr<QueryNode> rows;
	//! Several operators read them.
	bool read_again;
};

//! `query` reads the inputs, which come before its own CTEs: they may read them, too.
static void Define(QueryNode &query, vector<InputDefinition> definitions) {
	auto own = std::move(query.cte_map.map);
	query.cte_map.map = decltype(own)();
	for (auto &entry : definitions) {
		auto definition = make_uniq<CommonTableExpressionInfo>();
		definition->query_node = std::move(entry.rows);
		definition->materialized =
		    entry.read_again ? CTEMaterialize::CTE_MATERIALIZE_ALWAYS : CTEMaterialize::CTE_MATERIALIZE_NEVER;
		query.cte_map.map.insert(entry.name, std::move(definition));
	}
	for (auto &entry : own) {
		query.cte_map.map.insert(entry.first, std::move(entry.second));
	}
}

//! What the connection was given under the name of an exchange, whatever tables have that name.
static unique_ptr<QueryNode> Arriving(idx_t stage) {
	vector<unique_ptr<ParsedExpression>> arguments;
	arguments.push_back(ConstantExpression::FromValue(Value(ExchangeName(stage).GetIdentifierName())));
	auto source = make_uniq<TableFunctionRef>();
	source->function = make_uniq<FunctionExpression>(Identifier(EXCHANGE_FUNCTION), std::move(arguments));
	auto node = make_uniq<SelectNode>();
	node->select_list.push_back(make_uniq<StarExpression>());
	node->from_table = std::move(source);
	return std::move(node);
}

unique_ptr<QueryNode> Fragment::WithInputs(const vector<DhSplit> &task, const DefineExchange &define) const {
	vector<InputDefinition> definitions;
	for (idx_t i = 0; i < splits.size(); i++) {
		definitions.push_back({SplitName(splits[i].scan), SplitQuery(i, task.at(i)), false});
	}
	for (auto &exchange : exchanges) {
		definitions.push_back({ExchangeName(exchange.stage), define(exchange), exchange.read_again});
	}
	auto result = query->Copy();
	Define(*result, std::move(definitions));
	return result;
}

unique_ptr<QueryNode> Fragment::TaskQuery(const vector<DhSplit> &task) const {
	return Written(WithInputs(task, [](const ExchangeInput &exchange) { return Arriving(exchange.stage); }));
}

unique_ptr<QueryNode> Fragment::LastColumnQuery(const vector<DhSplit> &task) const {
	auto statement = make_uniq<SelectStatement>();
	statement->node = TaskQuery(task);
	auto rows = make_uniq<SubqueryRef>(std::move(statement), Identifier("task_rows"));
	for (idx_t i = 0; i < types.size(); i++) {
		rows->column_name_alias.push_back(ColumnName(i));
	}
	auto node = make_uniq<SelectNode>();
	node->select_list.push_back(make_uniq<ColumnRefExpression>(rows->column_name_alias.back()));
	node->from_table = std::move(rows);
	return std::move(node);
}

//! A relation without rows that has these columns.
static unique_ptr<QueryNode> NoRows(const vector<LogicalType> &types) {
	auto node = make_uniq<SelectNode>();
	for (idx_t i = 0; i < types.size(); i++) {
		auto column = make_uniq<CastExpression>(types[i], ConstantExpression::FromValue(Value()));
		column->SetAlias(ColumnName(i));
		node->select_list.push_back(std::move(column));
	}
	if (types.empty()) {
		node->select_list.push_back(ConstantExpression::FromValue(Value()));
	}
	node->from_table = make_uniq<EmptyTableRef>();
	return std::move(node);
}

LogicalType WithoutState(const LogicalType &type) {
	return type.IsAggregateState() ? type.WithExtensionInfo(nullptr).WithAlias("") : type;
}

unique_ptr<QueryNode> Fragment::RemoteQuery(const vector<DhSplit> &task) const {
	auto over_inputs = query->Copy();
	vector<InputDefinition> definitions;
	for (idx_t i = 0; i < splits.size(); i++) {
		if (splits[i].files) {
			definitions.push_back({SplitName(splits[i].scan), SplitQuery(i, task.at(i)), false});
		}
	}
	for (auto &exchange : exchanges) {
		if (exchange.read_again) {
			definitions.push_back({ExchangeName(exchange.stage), Arriving(exchange.stage), true});
		}
	}
	Define(*over_inputs, std::move(definitions));
	auto has_state = std::any_of(types.begin(), types.end(),
	                             [](const LogicalType &type) { return type.IsAggregateState(); });
	if (!has_state) {
		return Written(std::move(over_inputs));
	}
	auto node = make_uniq<SelectNode>();
	auto statement = make_uniq<SelectStatement>();
	statement->node = std::move(over_inputs);
	auto states = make_uniq<SubqueryRef>(std::move(statement), Identifier("states"));
	for (idx_t i = 0; i < types.size(); i++) {
		auto name = ColumnName(i);
		states->column_name_alias.push_back(name);
		unique_ptr<ParsedExpression> column = make_uniq<ColumnRefExpression>(name);
		if (types[i].IsAggregateState()) {
			vector<unique_ptr<ParsedExpression>> state;
			state.push_back(std::move(column));
			column = make_uniq<FunctionExpression>(Identifier(STATE_VALUE_FUNCTION), std::move(state));
		}
		node->select_list.push_back(std::move(column));
	}
	node->from_table = std::move(states);
	return std::move(node);
}

const vector<LogicalType> &Fragment::BindTypes(ClientContext &context) {
	vector<DhSplit> whole(splits.size(), DhSplit {-1, -1, 0, 0, -1, 0, 0, nullptr, 0});
	SelectStatement statement;
	statement.node = WithInputs(whole, [](const ExchangeInput &exchange) { return NoRows(exchange.types); });
	auto binder = Binder::CreateBinder(context);
	try {
		types = binder->Bind(statement.Cast<SQLStatement>()).types;
	} catch (const BinderException &exception) {
		// A constant that a function insists on can be another stage's column, say.
		throw NotImplementedException("DuckDB can't read its SQL: " + ErrorData(exception).RawMessage());
	}
	return types;
}

} // namespace duckherder

using duckherder::Fragment;

extern "C" {

void dh_fragment_free(Fragment *fragment) {
	delete fragment;
}

//! What the fragment reads, in the order in which its splits are given.
void dh_fragment_inputs(const Fragment *fragment, DhInputSink sink, void *target) {
	for (auto &split : fragment->Splits()) {
		sink(target, split.files ? DH_INPUT_FILES : DH_INPUT_SPLIT, split.scan);
	}
	for (auto &exchange : fragment->Exchanges()) {
		sink(target, DH_INPUT_EXCHANGE, exchange.stage);
	}
}

//! What the fragment's hash is of, in order; nothing if it has none.
void dh_fragment_keys(const Fragment *fragment, DhKeySink sink, void *target) {
	for (auto column : fragment->keys) {
		sink(target, column);
	}
}

//! The same fragment without rows of its scans that are outside of these ranges.
Fragment *dh_fragment_narrowed(const Fragment *fragment, const DhScanRange *ranges, uint64_t count, DhError *error) {
	return duckherder::Guard<Fragment *>(error, nullptr, [&]() {
		return fragment->Narrowed(vector<DhScanRange>(ranges, ranges + count)).release();
	});
}

//! The same fragment, which writes its rows to `path` and tells how many there were, in which files.
Fragment *dh_fragment_writing(const Fragment *fragment, DhText path, DhError *error) {
	return duckherder::Guard<Fragment *>(
	    error, nullptr, [&]() { return fragment->Writing(duckherder::ToString(path)).release(); });
}

//! The query of one task, as duckherder::ReadQuery reads it; a split an input.
void dh_fragment_query(const Fragment *fragment, int form, const DhSplit *splits, uint64_t count, DhTextSink sink,
                       void *target, DhError *error) {
	duckherder::Guard(error, false, [&]() {
		vector<DhSplit> task(splits, splits + count);
		auto query = form == DH_FRAGMENT_HERE        ? fragment->TaskQuery(task)
		             : form == DH_FRAGMENT_ELSEWHERE ? fragment->RemoteQuery(task)
		                                             : fragment->LastColumnQuery(task);
		sink(target, duckherder::ToText(duckherder::WriteQuery(*query)));
		return true;
	});
}

//! The database of the table that a split input is of; nothing if its rows can't be read in a copy of that.
void dh_fragment_catalog(const Fragment *fragment, uint64_t input, DhTextSink sink, void *target, DhError *error) {
	duckherder::Guard(error, false, [&]() {
		auto &split = fragment->Splits().at(input);
		if (!split.files && !split.has_computed && !split.table.Catalog().empty()) {
			sink(target, duckherder::ToText(split.table.Catalog().GetIdentifierName()));
		}
		return true;
	});
}

//! The SQL of the rows that a split input stands for in one task, in a database of the name `catalog` if that is not empty.
void dh_fragment_split_sql(const Fragment *fragment, uint64_t input, DhSplit split, DhText catalog, DhTextSink sink,
                           void *target, DhError *error) {
	duckherder::Guard(error, false, [&]() {
		auto query = fragment->SplitQuery(input, split, duckherder::ToString(catalog));
		sink(target, duckherder::ToText(query->ToString()));
		return true;
	});
}

//! What a split by keys says of the rows that it reads.
void dh_fragment_key_condition(const Fragment *fragment, uint64_t input, DhSplit split, DhTextSink sink, void *target,
                               DhError *error) {
	duckherder::Guard(error, false, [&]() {
		sink(target, duckherder::ToText(fragment->KeyCondition(input, split)));
		return true;
	});
}

} // extern "C"
