// Subtrees of a plan as SQL; aggregates as SQL that exports their states.
#include "export.hpp"
#include "exchange.hpp"
#include "long_type.hpp"

#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/common/exception.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/common/type_visitor.hpp"
#include "duckdb/parser/expression/case_expression.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/operator_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "duckdb/planner/bound_expression_sql_exporter.hpp"
#include "duckdb/planner/expression/bound_aggregate_expression.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/logical_plan_sql_exporter.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/planner/operator/logical_order.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! The name of the column that sorted rows are sorted by.
static const char *const SORT_KEY_NAME = "sort_key";
//! The name of the relation below an aggregate.
static const char *const INPUT_NAME = "input";

template <class T>
static T Take(LogicalPlanVerificationResult<T> result) {
	if (result.IsSuccess()) {
		return std::move(result.GetValue());
	}
	string message = "DuckDB can't write it as SQL";
	for (auto &issue : result.GetIssues()) {
		message += ": " + issue.message;
	}
	throw NotImplementedException(message);
}

static LogicalPlanSQLExportRelation Export(ClientContext &context, LogicalOperator &op) {
	auto relation = Take(LogicalPlanSQLExporter::Export(context, op));
	for (auto &field : relation.fields) {
		if (field.optimizer_type && *field.optimizer_type != field.type) {
			throw NotImplementedException("the optimizer gave a column the type %s, which SQL doesn't keep",
			                              field.optimizer_type->ToString());
		}
	}
	return relation;
}

Scans FindScans(ClientContext &context, LogicalOperator &root) {
	Scans scans;
	std::function<void(LogicalOperator &)> visit = [&](LogicalOperator &op) {
		if (op.type == LogicalOperatorType::LOGICAL_GET) {
			auto &get = op.Cast<LogicalGet>();
			scans.push_back(PlanScan {get, FindFiles(context, get)});
		}
		for (auto &child : op.children) {
			visit(*child);
		}
	};
	visit(root);
	return scans;
}

bool HasRange(const PlanScan &scan, const ColumnIndex &index) {
	if (index.IsVirtualColumn() || index.HasChildren()) {
		return false;
	}
	auto &get = scan.get.get();
	auto &types = scan.files.scan ? scan.files.scan->bound.types : get.returned_types;
	auto &type = get.GetColumnType(index);
	return HasRange(type) && type == types.at(index.GetPrimaryIndex());
}

static void NarrowConstants(ParsedExpression &expression);

static void NarrowConstants(QueryNode &node) {
	// Subqueries in FROM are walked, too.
	ParsedExpressionIterator::EnumerateQueryNodeChildren(
	    node, [](unique_ptr<ParsedExpression> &child) { NarrowConstants(*child); }, [](TableRef &) {});
}

//! `CAST(1.00 AS DECIMAL(16, 2))`: a literal that has the scale of its type already.
static bool IsDecimalLiteral(const ParsedExpression &expression) {
	if (expression.GetExpressionClass() != ExpressionClass::CAST) {
		return false;
	}
	auto &cast = expression.Cast<CastExpression>();
	if (cast.Child().GetExpressionClass() != ExpressionClass::CONSTANT) {
		return false;
	}
	auto type = cast.TargetType().ToString();
	auto text = cast.Child().ToString();
	auto point = text.find('.');
	auto digits = text.find_first_not_of("-0123456789.") == string::npos;
	auto scale = ", " + to_string(text.size() - point - 1) + ")";
	return point != string::npos && digits && StringUtil::StartsWith(type, "DECIMAL(") &&
	       StringUtil::EndsWith(type, scale);
}

//! The exporter writes an addend of a DECIMAL sum in the sum's type, `CAST(1.00 AS DECIMAL(16, 2)) + tax`. Bound again,
//! that makes the sum one digit wider, which a checked cast takes back for each row. A literal has the width it needs.
static void NarrowConstants(ParsedExpression &expression) {
	if (expression.GetExpressionClass() == ExpressionClass::FUNCTION) {
		auto &function = expression.Cast<FunctionExpression>();
		auto &name = function.FunctionName().GetIdentifierName();
		if ((name == "+" || name == "-") && function.GetArguments().size() == 2) {
			for (auto &argument : function.GetArgumentsMutable()) {
				auto &addend = argument.GetExpressionMutable();
				if (IsDecimalLiteral(*addend)) {
					addend = std::move(addend->Cast<CastExpression>().ChildMutable());
				}
			}
		}
	}
	ParsedExpressionIterator::EnumerateChildren(
	    expression, [](unique_ptr<ParsedExpression> &child) { NarrowConstants(*child); });
}

//! The name of a scan of files in DuckDB's SQL.
static const char *const FILES_NAME = "duckherder_files_of_the_scan";

static TableFunctionToSQLResult NameFiles(ClientContext &, const LogicalGet &) {
	auto reference = make_uniq<BaseTableRef>();
	reference->SetQualifiedName(QualifiedName(Identifier(), Identifier(), Identifier(FILES_NAME)));
	return {std::move(reference), string()};
}

//! The scan of files as SQL over FILES_NAME.
static LogicalPlanSQLExportRelation ExportFiles(ClientContext &context, LogicalGet &scan) {
	// Files that were left out stay so: there is no need to say why.
	auto left_out = std::move(scan.extra_info.file_filter_expressions);
	scan.extra_info.file_filter_expressions = vector<unique_ptr<Expression>>();
	scan.function.to_sql = NameFiles;
	Undo undo;
	undo.Add([&]() {
		scan.function.to_sql = nullptr;
		scan.extra_info.file_filter_expressions = std::move(left_out);
	});
	return Export(context, scan);
}

//! The places of the columns in the table's storage; empty if one of them is not a plain column.
static vector<idx_t> StoredColumns(const TableCatalogEntry &table, const set<idx_t> &columns) {
	vector<idx_t> places;
	for (auto index : columns) {
		auto &column = table.GetColumn(LogicalIndex(index));
		if (column.Generated() || column.Type().IsNested() || column.Type().id() == LogicalTypeId::VARIANT) {
			return {};
		}
		places.push_back(column.StorageOid());
	}
	return places;
}

//! What the scan reads under its name as an input, with the columns that are needed.
static SplitInput RenameTable(QueryNode &query, const PlanScan &plan_scan, idx_t number) {
	auto &scan = plan_scan.get.get();
	auto entry = scan.GetTable();
	SplitInput input {number, QualifiedName(Identifier(), Identifier(), Identifier(FILES_NAME)), nullptr, {}, {}, {}, {}, {}, false};
	set<idx_t> needed;
	set<column_t> needed_virtual;
	for (auto &index : scan.GetColumnIds()) {
		if (!index.IsVirtualColumn()) {
			needed.insert(index.GetPrimaryIndex());
			if (HasRange(plan_scan, index)) {
				input.types[index.GetPrimaryIndex()] = scan.GetColumnType(index);
			}
		} else if (!index.IsEmptyColumn()) {
			needed_virtual.insert(index.GetPrimaryIndex());
		}
	}
	input.columns.assign(needed.begin(), needed.end());
	if (entry) {
		input.table = entry->schema.GetQualifiedName(entry->name);
		for (auto index : needed) {
			input.names.push_back(scan.names[index]);
		}
		input.stored_columns = StoredColumns(*entry, needed);
		input.has_computed = std::any_of(needed.begin(), needed.end(), [&](idx_t index) {
			return entry->GetColumn(LogicalIndex(index)).Generated();
		});
	} else {
		input.files = plan_scan.files.scan;
		input.columns.insert(input.columns.end(), needed_virtual.begin(), needed_virtual.end());
	}
	idx_t renamed = 0;
	auto rename = [&](TableRef &ref) {
		if (ref.type != TableReferenceType::BASE_TABLE) {
			return;
		}
		auto &base = ref.Cast<BaseTableRef>();
		if (base.GetQualifiedName() != input.table) {
			return;
		}
		base.SetQualifiedName(QualifiedName(Identifier(), Identifier(), SplitName(number)));
		renamed++;
		if (base.column_name_alias.empty()) {
			return;
		}
		// The split has only the columns that are needed.
		if (base.column_name_alias.size() != scan.names.size()) {
			throw NotImplementedException("its SQL names %d of %d columns of %s", base.column_name_alias.size(),
			                              scan.names.size(), input.table.Name());
		}
		vector<Identifier> aliases;
		for (auto index : needed) {
			aliases.push_back(base.column_name_alias[index]);
		}
		for (auto id : needed_virtual) {
			aliases.push_back(scan.virtual_columns.at(id).name);
		}
		base.column_name_alias = std::move(aliases);
	};
	ParsedExpressionIterator::EnumerateQueryNodeChildren(query, [](unique_ptr<ParsedExpression> &) {}, rename);
	if (renamed != 1) {
		throw NotImplementedException("its SQL reads %s %d times", input.table.Name(), renamed);
	}
	return input;
}

//! Replaces the scans below `op` by inputs, and collects all inputs.
static void ReplaceScans(ClientContext &context, unique_ptr<LogicalOperator> &op, const Scans &scans,
                         vector<SplitInput> &splits, vector<ExchangeInput> &exchanges, Undo &undo) {
	if (op->type == LogicalOperatorType::LOGICAL_EXTENSION_OPERATOR) {
		auto exchange = dynamic_cast<LogicalExchange *>(op.get());
		if (!exchange) {
			throw NotImplementedException("it has an operator that is not DuckDB's");
		}
		for (auto &other : exchanges) {
			if (other.stage == exchange->Stage()) {
				other.read_again = true;
				return;
			}
		}
		ExchangeInput input {exchange->Stage(), {}, false};
		for (auto &type : exchange->types) {
			input.types.push_back(WithoutState(type));
		}
		exchanges.push_back(std::move(input));
		return;
	}
	for (auto &child : op->children) {
		ReplaceScans(context, child, scans, splits, exchanges, undo);
	}
	for (idx_t number = 0; number < scans.size(); number++) {
		auto &scan = scans[number];
		if (&scan.get.get() != op.get()) {
			continue;
		}
		auto relation = scan.files.scan ? ExportFiles(context, scan.get) : Export(context, *op);
		splits.push_back(RenameTable(*relation.query, scan, number));
		unique_ptr<LogicalOperator> input = make_uniq<LogicalInput>(std::move(relation), *op);
		std::swap(op, input);
		// Shared, since a step can be copied.
		auto replaced = make_shared_ptr<unique_ptr<LogicalOperator>>(std::move(input));
		undo.Add([&op, replaced]() { std::swap(op, *replaced); });
		return;
	}
}

struct Exported {
	LogicalPlanSQLExportRelation relation;
	vector<SplitInput> splits;
	vector<ExchangeInput> exchanges;
};

static Exported ExportOverInputs(ClientContext &context, unique_ptr<LogicalOperator> &op, const Scans &scans,
                                 Undo &undo) {
	Exported result;
	ReplaceScans(context, op, scans, result.splits, result.exchanges, undo);
	op->ResolveOperatorTypes();
	result.relation = Export(context, *op);
	return result;
}

//! `query` as a relation with columns c0, c1 ...
static unique_ptr<TableRef> AsInput(unique_ptr<QueryNode> query, idx_t columns) {
	auto statement = make_uniq<SelectStatement>();
	statement->node = std::move(query);
	auto input = make_uniq<SubqueryRef>(std::move(statement), Identifier(INPUT_NAME));
	for (idx_t i = 0; i < columns; i++) {
		input->column_name_alias.push_back(ColumnName(i));
	}
	return std::move(input);
}

//! How expressions over `fields` are written over `AsInput`.
static BoundExpressionSQLExportContext OverInput(ClientContext &context, vector<LogicalPlanSQLExportField> fields) {
	BoundExpressionSQLExportContext names;
	names.client_context = &context;
	names.discard_optimizer_metadata = true;
	names.resolve_binding = [fields](const ColumnBinding &binding) -> optional<ResolvedSQLColumnReference> {
		for (idx_t i = 0; i < fields.size(); i++) {
			if (fields[i].source_binding == binding) {
				return ResolvedSQLColumnReference {{Identifier(INPUT_NAME), ColumnName(i)}, fields[i].type, {}};
			}
		}
		return {};
	};
	return names;
}

static unique_ptr<ParsedExpression> InputColumn(const Identifier &name) {
	return make_uniq<ColumnRefExpression>(name, Identifier(INPUT_NAME));
}

static bool IsColumn(const Expression &expression) {
	return expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF;
}

//! `input`, which has `columns` columns, with `values` as its next.
static unique_ptr<TableRef> WithColumns(unique_ptr<TableRef> input, idx_t columns,
                                        vector<unique_ptr<ParsedExpression>> values) {
	auto node = make_uniq<SelectNode>();
	for (idx_t i = 0; i < columns; i++) {
		node->select_list.push_back(InputColumn(ColumnName(i)));
	}
	auto total = columns + values.size();
	std::move(values.begin(), values.end(), std::back_inserter(node->select_list));
	node->from_table = std::move(input);
	return AsInput(std::move(node), total);
}

//! Adds `hash(keys)` as the last column: DuckDB's own equality decides which rows meet. Those that meet none have NULL.
static void AddHash(ClientContext &context, LogicalPlanSQLExportRelation &relation, const ShuffleKeys &keys) {
	auto names = OverInput(context, relation.fields);
	auto columns = MaxValue<idx_t>(relation.fields.size(), 1);
	auto input = AsInput(std::move(relation.query), columns);
	vector<unique_ptr<ParsedExpression>> values;
	for (auto &key : keys) {
		values.push_back(Take(BoundExpressionSQLExporter::Export(*key.value, names)));
	}
	if (!std::all_of(keys.begin(), keys.end(), [](const ShuffleKey &key) { return IsColumn(*key.value); })) {
		// They are read more than once.
		input = WithColumns(std::move(input), columns, std::move(values));
		values = vector<unique_ptr<ParsedExpression>>();
		for (idx_t i = 0; i < keys.size(); i++) {
			values.push_back(InputColumn(ColumnName(columns + i)));
		}
	}
	auto or_null = make_uniq<CaseExpression>();
	for (idx_t i = 0; i < keys.size(); i++) {
		if (keys[i].null_meets_none) {
			CaseCheck is_null;
			is_null.when_expr = make_uniq<OperatorExpression>(ExpressionType::OPERATOR_IS_NULL, values[i]->Copy());
			is_null.then_expr = ConstantExpression::FromValue(Value());
			or_null->CaseChecksMutable().push_back(std::move(is_null));
		}
	}
	unique_ptr<ParsedExpression> hash = make_uniq<FunctionExpression>(Identifier("hash"), std::move(values));
	if (!or_null->CaseChecks().empty()) {
		or_null->ElseMutable() = std::move(hash);
		hash = std::move(or_null);
	}
	auto node = make_uniq<SelectNode>();
	for (idx_t i = 0; i < relation.fields.size(); i++) {
		node->select_list.push_back(InputColumn(ColumnName(i)));
	}
	node->select_list.push_back(std::move(hash));
	node->from_table = std::move(input);
	relation.query = std::move(node);
}

//! States become the plain values that Arrow carries; see `LogicalExchange::ToSQL` for the way back.
static void TakeNamesOffStates(LogicalPlanSQLExportRelation &relation) {
	auto node = make_uniq<SelectNode>();
	for (idx_t i = 0; i < relation.fields.size(); i++) {
		auto column = InputColumn(ColumnName(i));
		if (relation.fields[i].type.IsAggregateState()) {
			vector<unique_ptr<ParsedExpression>> state;
			state.push_back(std::move(column));
			column = make_uniq<FunctionExpression>(Identifier(STATE_VALUE_FUNCTION), std::move(state));
		}
		node->select_list.push_back(std::move(column));
	}
	node->from_table = AsInput(std::move(relation.query), relation.fields.size());
	relation.query = std::move(node);
	for (auto &field : relation.fields) {
		field.type = WithoutState(field.type);
	}
}

//! Equal rows once.
static void MakeDistinct(LogicalPlanSQLExportRelation &relation) {
	auto node = make_uniq<SelectNode>();
	for (idx_t i = 0; i < relation.fields.size(); i++) {
		node->select_list.push_back(InputColumn(ColumnName(i)));
	}
	node->modifiers.push_back(make_uniq<DistinctModifier>());
	node->from_table = AsInput(std::move(relation.query), relation.fields.size());
	relation.query = std::move(node);
}

//! Which of the columns the keys are, where they have a range.
static vector<int64_t> KeyColumns(const vector<LogicalPlanSQLExportField> &fields, const ShuffleKeys &keys) {
	vector<int64_t> columns;
	for (auto &key : keys) {
		int64_t found = -1;
		if (IsColumn(*key.value) && HasRange(key.value->GetReturnType())) {
			auto &binding = key.value->Cast<BoundColumnRefExpression>().Binding();
			auto is_key = [&](const LogicalPlanSQLExportField &field) { return field.source_binding == binding; };
			auto place = std::find_if(fields.begin(), fields.end(), is_key);
			found = place == fields.end() ? -1 : place - fields.begin();
		}
		columns.push_back(found);
	}
	return columns;
}

static ExportedPlan MakeFragment(Exported exported, unique_ptr<QueryNode> query, vector<ColumnBinding> bindings) {
	NarrowConstants(*query);
	ShortenTypes(*query);
	ExportedPlan result;
	result.fragment =
	    make_uniq<Fragment>(std::move(query), std::move(exported.splits), std::move(exported.exchanges));
	result.bindings = std::move(bindings);
	return result;
}

ExportedPlan ExportSubtree(ClientContext &context, unique_ptr<LogicalOperator> &op, const Scans &scans,
                           const Wanted &wanted, Undo &undo) {
	auto exported = ExportOverInputs(context, op, scans, undo);
	vector<ColumnBinding> bindings;
	auto states = false;
	for (auto &field : exported.relation.fields) {
		bindings.push_back(field.source_binding);
		states |= field.type.IsAggregateState();
	}
	if (wanted.to_tasks && states) {
		TakeNamesOffStates(exported.relation);
	}
	if (wanted.distinct) {
		MakeDistinct(exported.relation);
	}
	if (wanted.hashed) {
		AddHash(context, exported.relation, wanted.keys);
	}
	auto columns = KeyColumns(exported.relation.fields, wanted.keys);
	auto query = std::move(exported.relation.query);
	auto result = MakeFragment(std::move(exported), std::move(query), std::move(bindings));
	result.fragment->keys = std::move(columns);
	return result;
}

//! Whether DuckDB, reading `ORDER BY value` again, sorts as it did: not if it may apply a collation once more, or take
//! the value for a position.
static bool SortsAlike(const Expression &value) {
	return !value.IsFoldable() && !TypeVisitor::Contains(value.GetReturnType(), LogicalTypeId::VARCHAR);
}

ExportedPlan ExportSort(ClientContext &context, LogicalOrder &order, const Scans &scans, Undo &undo) {
	auto exported = ExportOverInputs(context, order.children[0], scans, undo);
	auto &relation = exported.relation;
	auto names = OverInput(context, relation.fields);
	auto columns = MaxValue<idx_t>(relation.fields.size(), 1);
	auto bindings = order.GetColumnBindings();
	auto node = make_uniq<SelectNode>();
	for (auto &binding : bindings) {
		auto name = names.resolve_binding(binding);
		if (!name) {
			throw NotImplementedException("its SQL gives other columns than the plan");
		}
		node->select_list.push_back(InputColumn(name->names.back()));
	}
	vector<unique_ptr<ParsedExpression>> arguments;
	for (auto &by : order.orders) {
		arguments.push_back(Take(BoundExpressionSQLExporter::Export(*by.expression, names)));
		arguments.push_back(ConstantExpression::String(by.GetOrderModifier()));
	}
	auto key = make_uniq<FunctionExpression>(Identifier("create_sort_key"), std::move(arguments));
	key->SetAlias(Identifier(SORT_KEY_NAME));
	node->select_list.push_back(std::move(key));
	auto sorted = make_uniq<OrderModifier>();
	auto values = std::all_of(order.orders.begin(), order.orders.end(),
	                          [](const BoundOrderByNode &by) { return SortsAlike(*by.expression); });
	if (!values) {
		// By the very key that the tasks' rows are merged by: nothing that a task knows makes that another order.
		node->from_table = AsInput(std::move(relation.query), columns);
		sorted->orders.emplace_back(OrderType::ASCENDING, OrderByNullType::NULLS_LAST,
		                            make_uniq<ColumnRefExpression>(Identifier(SORT_KEY_NAME)));
		node->modifiers.push_back(std::move(sorted));
		return MakeFragment(std::move(exported), std::move(node), std::move(bindings));
	}
	// By the values, which costs a fraction, and then the keys.
	auto rows = make_uniq<SelectNode>();
	for (idx_t i = 0; i < columns; i++) {
		rows->select_list.push_back(InputColumn(ColumnName(i)));
	}
	for (auto &by : order.orders) {
		sorted->orders.emplace_back(by.type, by.null_order, Take(BoundExpressionSQLExporter::Export(*by.expression, names)));
	}
	rows->from_table = AsInput(std::move(relation.query), columns);
	rows->modifiers.push_back(std::move(sorted));
	node->from_table = AsInput(std::move(rows), columns);
	return MakeFragment(std::move(exported), std::move(node), std::move(bindings));
}

ExportedPlan ExportPartialAggregate(ClientContext &context, LogicalAggregate &aggregate, const Scans &scans,
                                    Undo &undo) {
	auto exported = ExportOverInputs(context, aggregate.children[0], scans, undo);
	auto &relation = exported.relation;
	auto names = OverInput(context, relation.fields);
	// A relation without columns has one that stands for them.
	auto columns = MaxValue<idx_t>(relation.fields.size(), 1);

	auto node = make_uniq<SelectNode>();
	auto input = AsInput(std::move(relation.query), columns);
	vector<unique_ptr<ParsedExpression>> keys;
	for (auto &group : aggregate.groups) {
		keys.push_back(Take(BoundExpressionSQLExporter::Export(*group, names)));
	}
	auto plain_keys = std::all_of(aggregate.groups.begin(), aggregate.groups.end(),
	                              [](unique_ptr<Expression> &group) { return IsColumn(*group); });
	if (!plain_keys) {
		// Keys become columns first: a constant among them would be a position to GROUP BY.
		input = WithColumns(std::move(input), columns, std::move(keys));
	}
	node->from_table = std::move(input);
	GroupingSet all_keys;
	for (idx_t i = 0; i < aggregate.groups.size(); i++) {
		auto key = plain_keys ? std::move(keys[i]) : InputColumn(ColumnName(columns + i));
		node->groups.group_expressions.push_back(key->Copy());
		all_keys.insert(ProjectionIndex(i));
		node->select_list.push_back(std::move(key));
	}
	if (!aggregate.groups.empty()) {
		node->groups.grouping_sets.push_back(std::move(all_keys));
	}
	const LogicalPlanVerificationPath path {LogicalPlanVerificationPathRoot::STANDALONE_EXPRESSION, {}};
	for (auto &expression : aggregate.expressions) {
		if (expression->GetReturnType().IsAggregateState()) {
			node->select_list.push_back(Take(BoundExpressionSQLExporter::Export(*expression, names)));
			continue;
		}
		auto call = Take(BoundExpressionSQLExporter::ExportAggregateCallAtPath(
		    expression->Cast<BoundAggregateExpression>(), names, path));
		call->ExportStateMutable() = true;
		node->select_list.push_back(std::move(call));
	}

	return MakeFragment(std::move(exported), std::move(node), aggregate.GetColumnBindings());
}

unique_ptr<Fragment> PlainStates(ClientContext &context, const Fragment &states, const vector<uint64_t> &hashed) {
	LogicalPlanSQLExportRelation relation;
	relation.query = states.CopyQuery();
	// Its columns are those of no operator: any table number serves.
	auto &types = states.Types();
	for (idx_t i = 0; i < types.size(); i++) {
		relation.fields.push_back({ColumnBinding(TableIndex(0), ProjectionIndex(i)), types[i]});
	}
	ShuffleKeys keys;
	for (auto group : hashed) {
		keys.push_back({make_uniq<BoundColumnRefExpression>(types.at(group), relation.fields.at(group).source_binding), false});
	}
	TakeNamesOffStates(relation);
	if (!keys.empty()) {
		AddHash(context, relation, keys);
	}
	auto plain = make_uniq<Fragment>(std::move(relation.query), states.Splits(), states.Exchanges());
	plain->keys = KeyColumns(relation.fields, keys);
	return plain;
}

} // namespace duckherder
