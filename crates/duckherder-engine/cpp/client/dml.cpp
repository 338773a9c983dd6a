// Statements that mix a driver's table with local rows: what DuckDB plans as INSERT, CREATE TABLE AS, UPDATE or
// DELETE becomes one statement on the driver over the rows that the local part of the plan makes.
#include "catalog.hpp"
#include "sink.hpp"
#include "transaction.hpp"

#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/parallel/task_scheduler.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/comparison_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/star_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/query_node/delete_query_node.hpp"
#include "duckdb/parser/query_node/insert_query_node.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/query_node/update_query_node.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/insert_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/statement/update_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/planner/expression/bound_cast_expression.hpp"
#include "duckdb/planner/expression/bound_reference_expression.hpp"
#include "duckdb/planner/operator/logical_create_table.hpp"
#include "duckdb/planner/operator/logical_delete.hpp"
#include "duckdb/planner/operator/logical_insert.hpp"
#include "duckdb/planner/operator/logical_update.hpp"
#include "duckdb/planner/parsed_data/bound_create_table_info.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const ROWID = "rowid";
static const char *const INPUT_ROWID = "duckherder_rowid";

static unique_ptr<TableRef> InputRef() {
	auto input = make_uniq<BaseTableRef>();
	input->SetQualifiedName(QualifiedName(Identifier(INPUT_NAME)));
	return std::move(input);
}

static unique_ptr<SelectStatement> SelectInput(unique_ptr<ParsedExpression> what) {
	auto node = make_uniq<SelectNode>();
	node->select_list.push_back(std::move(what));
	node->from_table = InputRef();
	auto select = make_uniq<SelectStatement>();
	select->node = std::move(node);
	return select;
}

static unique_ptr<TableRef> TargetRef(const RemoteTable &table) {
	auto target = make_uniq<BaseTableRef>();
	target->SetQualifiedName(table.RemoteName());
	return std::move(target);
}

static vector<unique_ptr<ParsedExpression>> ReturnStoredColumns(const RemoteTable &table, bool wanted) {
	vector<unique_ptr<ParsedExpression>> result;
	if (wanted) {
		for (auto &column : table.GetColumns().Physical()) {
			result.push_back(make_uniq<ColumnRefExpression>(column.Name(), table.Description().name));
		}
	}
	return result;
}

static bool RunParallel(ClientContext &context, PhysicalOperator &plan) {
	return !PhysicalPlanGenerator::PreserveInsertionOrder(context, plan) &&
	       TaskScheduler::GetScheduler(context).NumberOfThreads() > 1;
}

static RemoteTable &CheckedTable(ClientContext &context, RemoteCatalog &catalog, TableCatalogEntry &entry) {
	auto &table = entry.Cast<RemoteTable>();
	auto &transaction = RemoteTransaction::Get(context, catalog);
	transaction.CheckCurrent(context, table);
	transaction.AddOperation(context);
	return table;
}

PhysicalOperator &RemoteCatalog::PlanInsert(ClientContext &context, PhysicalPlanGenerator &planner, LogicalInsert &op,
                                            optional_ptr<PhysicalOperator> plan) {
	auto &table = CheckedTable(context, *this, op.table);
	if (op.on_conflict_info.action_type != OnConflictAction::THROW) {
		throw NotImplementedException("INSERT ... ON CONFLICT into a driver's table cannot read from outside of the "
		                              "driver: insert into a table there first");
	}
	if (!plan || !op.column_index_map.empty()) {
		throw NotImplementedException("this INSERT into a driver's table must run on the driver alone");
	}
	InsertQueryNode insert;
	insert.qualified_name = table.RemoteName();
	insert.select_statement = SelectInput(make_uniq<StarExpression>());
	insert.returning_list = ReturnStoredColumns(table, op.return_chunk);
	insert.column_order = InsertColumnOrder::INSERT_BY_POSITION;
	vector<SinkColumn> columns;
	for (auto &column : table.GetColumns().Physical()) {
		insert.columns.push_back(column.Name());
		columns.push_back({column.Physical().index, column.Name().GetIdentifierName(), column.Type()});
	}
	auto &sink =
	    planner.Make<RemoteSink>(*this, insert.ToString(), std::move(columns), op.types, op.return_chunk, false,
	                             RunParallel(context, *plan) && !op.return_chunk, op.estimated_cardinality);
	sink.children.push_back(*plan);
	return sink;
}

PhysicalOperator &RemoteCatalog::PlanCreateTableAs(ClientContext &context, PhysicalPlanGenerator &planner,
                                                   LogicalCreateTable &op, PhysicalOperator &plan) {
	RemoteTransaction::Get(context, *this).AddOperation(context);
	auto &base = op.info->Base();
	vector<SinkColumn> columns;
	auto info =
	    make_uniq<CreateTableInfo>(NameThere(context, QualifiedName(Identifier(), op.schema.name, base.GetTableName())));
	info->on_conflict = base.on_conflict;
	info->query = SelectInput(make_uniq<StarExpression>());
	for (auto &column : base.columns.Logical()) {
		columns.push_back({columns.size(), column.Name().GetIdentifierName(), column.Type()});
	}
	CreateStatement create;
	create.info = std::move(info);
	auto &sink = planner.Make<RemoteSink>(*this, create.ToString(), std::move(columns), op.types, false, true,
	                                      RunParallel(context, plan), op.estimated_cardinality);
	sink.children.push_back(plan);
	return sink;
}

PhysicalOperator &RemoteCatalog::PlanDelete(ClientContext &context, PhysicalPlanGenerator &planner, LogicalDelete &op,
                                            PhysicalOperator &plan) {
	auto &table = CheckedTable(context, *this, op.table);
	DeleteQueryNode node;
	node.table = TargetRef(table);
	node.returning_list = ReturnStoredColumns(table, op.return_chunk);
	if (op.return_chunk) {
		// What DuckDB asks for after them, in this order.
		for (auto &column : table.GetVirtualColumns()) {
			auto row_id = column.first == COLUMN_IDENTIFIER_ROW_ID;
			node.returning_list.push_back(row_id ? make_uniq<ColumnRefExpression>(Identifier(ROWID))
			                                     : ConstantExpression::FromValue(Value(column.second.type)));
		}
	}
	auto in = make_uniq<SubqueryExpression>();
	in->GetSubqueryTypeMutable() = SubqueryType::ANY;
	in->SubqueryMutable() = SelectInput(make_uniq<ColumnRefExpression>(Identifier(INPUT_ROWID)));
	in->GetChildMutable() = make_uniq<ColumnRefExpression>(Identifier(ROWID));
	in->GetComparisonTypeMutable() = ExpressionType::COMPARE_EQUAL;
	node.condition = std::move(in);
	auto row_id = op.expressions[0]->Cast<BoundReferenceExpression>().Index();
	vector<SinkColumn> columns {{row_id, INPUT_ROWID, LogicalType::BIGINT}};
	auto &sink = planner.Make<RemoteSink>(*this, node.ToString(), std::move(columns), op.types, op.return_chunk, false,
	                                      false, op.estimated_cardinality);
	sink.children.push_back(plan);
	return sink;
}

PhysicalOperator &RemoteCatalog::PlanUpdate(ClientContext &context, PhysicalPlanGenerator &planner, LogicalUpdate &op,
                                            PhysicalOperator &plan) {
	auto &table = CheckedTable(context, *this, op.table);
	if (op.capture_old_rows) {
		throw NotImplementedException("an UPDATE of a driver's table with triggers must run on the driver alone");
	}
	UpdateQueryNode node;
	node.table = TargetRef(table);
	node.from_table = InputRef();
	node.returning_list = ReturnStoredColumns(table, op.return_chunk);
	node.set_info = make_uniq<UpdateSetInfo>();
	node.set_info->condition = make_uniq<ComparisonExpression>(
	    ExpressionType::COMPARE_EQUAL, make_uniq<ColumnRefExpression>(Identifier(ROWID), table.Description().name),
	    make_uniq<ColumnRefExpression>(Identifier(INPUT_ROWID), Identifier(INPUT_NAME)));
	vector<SinkColumn> columns;
	for (idx_t i = 0; i < op.columns.size(); i++) {
		auto &target = table.GetColumns().GetColumn(op.columns[i]);
		auto &value = *op.expressions[i];
		if (value.GetExpressionClass() != ExpressionClass::BOUND_REF) {
			throw NotImplementedException("SET %s = DEFAULT in an UPDATE that reads from outside of the driver",
			                              target.Name().GetIdentifierName());
		}
		auto name = "duckherder_value_" + to_string(i);
		columns.push_back({value.Cast<BoundReferenceExpression>().Index(), name, target.Type()});
		node.set_info->columns.push_back(target.Name());
		node.set_info->expressions.push_back(make_uniq<ColumnRefExpression>(Identifier(name), Identifier(INPUT_NAME)));
	}
	if (node.set_info->columns.empty()) {
		// INSERT OR REPLACE of nothing but the key changes no value, and counts the rows.
		for (auto &column : table.GetColumns().Physical()) {
			node.set_info->columns = {column.Name()};
		}
		auto kept = make_uniq<ColumnRefExpression>(node.set_info->columns[0], table.Description().name);
		node.set_info->expressions.push_back(std::move(kept));
	}
	// The last column of the plan says which row it is.
	columns.push_back({plan.types.size() - 1, INPUT_ROWID, LogicalType::BIGINT});
	auto &sink = planner.Make<RemoteSink>(*this, node.ToString(), std::move(columns), op.types, op.return_chunk, false,
	                                      false, op.estimated_cardinality);
	sink.children.push_back(plan);
	return sink;
}

} // namespace duckherder
