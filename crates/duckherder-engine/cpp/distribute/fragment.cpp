#include "fragment.hpp"

#include "bridge.hpp"
#include "duckdb/common/extension_type_info.hpp"
#include "duckdb/common/types/value.hpp"
#include "duckdb/parser/common_table_expression_info.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/comparison_expression.hpp"
#include "duckdb/parser/expression/conjunction_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/operator/logical_get.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const SPLIT_NAME = "split_0";
//! The column of a split of which no column is needed.
static const char *const EMPTY_COLUMN = "no_column";

Fragment::Fragment(unique_ptr<QueryNode> query_p, const LogicalGet &scan) : query(std::move(query_p)) {
	auto entry = scan.GetTable();
	table = entry->schema.GetQualifiedName(entry->name);
	set<idx_t> needed;
	for (auto &index : scan.GetColumnIds()) {
		if (!index.IsVirtualColumn()) {
			needed.insert(index.GetPrimaryIndex());
		}
	}
	for (auto index : needed) {
		columns.push_back(scan.names[index]);
	}
	idx_t renamed = 0;
	auto rename = [&](TableRef &ref) {
		if (ref.type != TableReferenceType::BASE_TABLE) {
			return;
		}
		auto &base = ref.Cast<BaseTableRef>();
		if (base.GetQualifiedName() != table) {
			return;
		}
		base.SetQualifiedName(QualifiedName(Identifier(), Identifier(), Identifier(SPLIT_NAME)));
		renamed++;
		if (base.column_name_alias.empty()) {
			return;
		}
		// The split has only the columns that are needed.
		if (base.column_name_alias.size() != scan.names.size()) {
			throw NotImplementedException("its SQL names %d of %d columns of %s", base.column_name_alias.size(),
			                              scan.names.size(), table.Name());
		}
		vector<Identifier> aliases;
		for (auto index : needed) {
			aliases.push_back(base.column_name_alias[index]);
		}
		base.column_name_alias = std::move(aliases);
	};
	ParsedExpressionIterator::EnumerateQueryNodeChildren(*query, [](unique_ptr<ParsedExpression> &) {}, rename);
	if (renamed != 1) {
		throw NotImplementedException("its SQL reads %s %d times", entry->name, renamed);
	}
}

unique_ptr<Fragment> Fragment::Copy() const {
	unique_ptr<Fragment> copy(new Fragment());
	copy->query = query->Copy();
	copy->table = table;
	copy->columns = columns;
	copy->types = types;
	return copy;
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

unique_ptr<QueryNode> Fragment::SplitQuery(const DhSplit &split) const {
	auto node = make_uniq<SelectNode>();
	for (auto &column : columns) {
		node->select_list.push_back(make_uniq<ColumnRefExpression>(column));
	}
	if (columns.empty()) {
		auto nothing = ConstantExpression::FromValue(Value::BOOLEAN(true));
		nothing->SetAlias(Identifier(EMPTY_COLUMN));
		node->select_list.push_back(std::move(nothing));
	}
	auto reference = make_uniq<BaseTableRef>();
	reference->SetQualifiedName(table);
	node->from_table = std::move(reference);
	vector<unique_ptr<ParsedExpression>> conditions;
	if (split.divisor > 0) {
		vector<unique_ptr<ParsedExpression>> arguments;
		arguments.push_back(RowId());
		arguments.push_back(ConstantExpression::FromValue(Value::BIGINT(split.divisor)));
		conditions.push_back(Compare(ExpressionType::COMPARE_EQUAL,
		                             make_uniq<FunctionExpression>(Identifier("mod"), std::move(arguments)),
		                             split.remainder));
	}
	if (split.first >= 0) {
		conditions.push_back(Compare(ExpressionType::COMPARE_GREATERTHANOREQUALTO, RowId(), split.first));
	}
	if (split.last >= 0) {
		conditions.push_back(Compare(ExpressionType::COMPARE_LESSTHANOREQUALTO, RowId(), split.last));
	}
	if (conditions.size() == 1) {
		node->where_clause = std::move(conditions[0]);
	} else if (!conditions.empty()) {
		node->where_clause = make_uniq<ConjunctionExpression>(ExpressionType::CONJUNCTION_AND, std::move(conditions));
	}
	return std::move(node);
}

unique_ptr<QueryNode> Fragment::TaskQuery(const DhSplit &split) const {
	auto task = query->Copy();
	auto definition = make_uniq<CommonTableExpressionInfo>();
	definition->query_node = SplitQuery(split);
	definition->materialized = CTEMaterialize::CTE_MATERIALIZE_NEVER;
	// The split comes first: the fragment's own CTEs read it.
	auto own = std::move(task->cte_map.map);
	task->cte_map.map = decltype(own)();
	task->cte_map.map.insert(Identifier(SPLIT_NAME), std::move(definition));
	for (auto &entry : own) {
		task->cte_map.map.insert(entry.first, std::move(entry.second));
	}
	return task;
}

LogicalType WithoutState(const LogicalType &type) {
	return type.IsAggregateState() ? type.WithExtensionInfo(nullptr).WithAlias("") : type;
}

unique_ptr<QueryNode> Fragment::RemoteQuery() const {
	auto has_state = std::any_of(types.begin(), types.end(),
	                             [](const LogicalType &type) { return type.IsAggregateState(); });
	if (!has_state) {
		return query->Copy();
	}
	auto node = make_uniq<SelectNode>();
	auto statement = make_uniq<SelectStatement>();
	statement->node = query->Copy();
	auto states = make_uniq<SubqueryRef>(std::move(statement), Identifier("states"));
	for (idx_t i = 0; i < types.size(); i++) {
		Identifier name("c" + to_string(i));
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
	SelectStatement statement;
	statement.node = TaskQuery(DhSplit {-1, -1, 0, 0});
	auto binder = Binder::CreateBinder(context);
	types = binder->Bind(statement.Cast<SQLStatement>()).types;
	return types;
}

} // namespace duckherder

using duckherder::Fragment;

extern "C" {

void dh_fragment_free(Fragment *fragment) {
	delete fragment;
}

//! The SQL of every task elsewhere, over `split_0`.
void dh_fragment_remote_sql(const Fragment *fragment, DhTextSink sink, void *target, DhError *error) {
	duckherder::Guard(error, false, [&]() {
		sink(target, duckherder::ToText(fragment->RemoteQuery()->ToString()));
		return true;
	});
}

//! The SQL of one task on the instance that has the table.
void dh_fragment_task_sql(const Fragment *fragment, DhSplit split, DhTextSink sink, void *target, DhError *error) {
	duckherder::Guard(error, false, [&]() {
		sink(target, duckherder::ToText(fragment->TaskQuery(split)->ToString()));
		return true;
	});
}

//! The SQL of the rows that `split_0` stands for in one task.
void dh_fragment_split_sql(const Fragment *fragment, DhSplit split, DhTextSink sink, void *target, DhError *error) {
	duckherder::Guard(error, false, [&]() {
		sink(target, duckherder::ToText(fragment->SplitQuery(split)->ToString()));
		return true;
	});
}

} // extern "C"
