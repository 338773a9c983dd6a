// Whole statements on their way to the driver: what of them only this client knows is written out.
#include "catalog.hpp"
#include "client_functions.hpp"
#include "clients_entries.hpp"
#include "column_names.hpp"
#include "connection_state.hpp"
#include "query_function.hpp"
#include "query_of.hpp"
#include "sequences.hpp"
#include "statement_rewriter.hpp"
#include "transaction.hpp"

#include "duckdb/common/exception/transaction_exception.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/star_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/delete_query_node.hpp"
#include "duckdb/parser/query_node/insert_query_node.hpp"
#include "duckdb/parser/query_node/merge_query_node.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/query_node/update_query_node.hpp"
#include "duckdb/parser/parsed_data/create_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/drop_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"
#include "unfold.hpp"
#include "views_of_client.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const FUNCTION_PREFIX = "duckherder_";
static const char *const CURRENT_QUERY = "current_query";

//! Whether the statement gives the count of the rows that it changed.
static bool CountsRows(const QueryNode &node) {
	switch (node.type) {
	case QueryNodeType::INSERT_QUERY_NODE:
		return node.Cast<InsertQueryNode>().returning_list.empty();
	case QueryNodeType::UPDATE_QUERY_NODE:
		return node.Cast<UpdateQueryNode>().returning_list.empty();
	case QueryNodeType::DELETE_QUERY_NODE:
		return node.Cast<DeleteQueryNode>().returning_list.empty();
	case QueryNodeType::MERGE_QUERY_NODE:
		return node.Cast<MergeQueryNode>().returning_list.empty();
	default:
		return false;
	}
}

//! What current_query() gives is the user's text, not what of it goes to the driver.
static void WriteCurrentQuery(ClientContext &context, QueryNode &node) {
	auto text = RunningQuery(context);
	if (!StringUtil::Contains(StringUtil::Lower(text), CURRENT_QUERY)) {
		return;
	}
	NameByText(node, [](const ParsedExpression &) { return true; });
	std::function<void(unique_ptr<ParsedExpression> &)> visit = [&](unique_ptr<ParsedExpression> &expression) {
		if (expression->GetExpressionClass() == ExpressionClass::SUBQUERY) {
			WriteCurrentQuery(context, *expression->Cast<SubqueryExpression>().SubqueryMutable()->node);
		}
		if (expression->GetExpressionClass() == ExpressionClass::FUNCTION &&
		    expression->Cast<FunctionExpression>().GetQualifiedName().Path().size() == 1 &&
		    expression->Cast<FunctionExpression>().FunctionName() == CURRENT_QUERY) {
			// A text alone would mean something else after ORDER BY.
			auto value = make_uniq<CastExpression>(LogicalType::VARCHAR, ConstantExpression::String(text));
			value->SetAlias(expression->GetAlias());
			expression = std::move(value);
			return;
		}
		ParsedExpressionIterator::EnumerateChildren(*expression, visit);
	};
	ParsedExpressionIterator::EnumerateQueryNodeChildren(node, visit);
}

void RemoteCatalog::CheckClientsEntries(ClientContext &context, QueryNode &node) {
	auto snapshot = RemoteTransaction::Get(context, *this).GetSnapshot(context);
	if (!ReadsEntry(node, snapshot->ClientsEntries())) {
		return;
	}
	{
		std::lock_guard<std::mutex> guard(lock);
		clients_entries.insert(snapshot->ClientsEntries().begin(), snapshot->ClientsEntries().end());
	}
	ConnectionState::Get(context)->RequestRebind();
	throw TransactionException("what the statement reads of \"%s\" was made or changed while it was being bound",
	                           GetName().GetIdentifierName());
}

unique_ptr<TableRef> RemoteCatalog::RemoteExecute(ClientContext &context, unique_ptr<QueryNode> node) {
	CheckClientsEntries(context, *node);
	UnfoldPart(context, *node, GetName());
	KeepColumnNames(context, *node);
	WriteCurrentQuery(context, *node);
	auto parameters = RewriteForDriver(context, *this, *node);
	auto sql = node->ToString();
	if (!parameters.empty()) {
		CheckPrepared(context, *this, sql);
	}
	auto info = make_shared_ptr<PushedStatement>();
	info->counts = CountsRows(*node);
	return QueryFunctionRef(GetName(), sql, parameters, std::move(info));
}

unique_ptr<TableRef> RemoteCatalog::RemoteExecute(ClientContext &context, unique_ptr<SQLStatement> statement) {
	auto query = QueryOf(*statement);
	if (query && !IsOfView(*statement)) {
		UnfoldPart(context, *query, GetName());
		KeepColumnNames(context, *query);
		WriteCurrentQuery(context, *query);
	}
	vector<Identifier> parameters;
	if (!IsOfView(*statement) || !BindHere(context, *this, statement->Cast<CreateStatement>())) {
		parameters = RewriteForDriver(context, *this, *statement);
	}
	auto info = make_shared_ptr<PushedStatement>();
	info->changes_catalog = true;
	return QueryFunctionRef(GetName(), statement->ToString(), parameters, std::move(info));
}

void RemoteCatalog::RunCreate(ClientContext &context, const CreateInfo &info) {
	CreateStatement statement;
	statement.info = info.Copy();
	RewriteForDriver(context, *this, statement);
	Run(context, statement.ToString());
}

unique_ptr<LogicalOperator> RemoteCatalog::BindCreateIndex(Binder &binder, CreateStatement &create,
                                                           TableCatalogEntry &table, unique_ptr<LogicalOperator>) {
	auto statement = unique_ptr_cast<SQLStatement, CreateStatement>(create.Copy());
	auto &name = create.info->GetQualifiedName().Name();
	statement->info->SetQualifiedName(QualifiedName(Identifier(), table.schema.name, name));
	SelectNode rows;
	rows.select_list.push_back(make_uniq<StarExpression>());
	rows.from_table = RemoteExecute(binder.context, std::move(statement));
	return Binder::CreateBinder(binder.context, binder)->Bind(rows).plan;
}

unique_ptr<TableRef> RemoteCatalog::RemoteExecute(ClientContext &, const string &sql) {
	auto info = make_shared_ptr<PushedStatement>();
	info->changes_catalog = true;
	return QueryFunctionRef(GetName(), sql, {}, std::move(info));
}

static bool IsOurs(const Identifier &function) {
	return StringUtil::StartsWith(StringUtil::Lower(function.GetIdentifierName()), FUNCTION_PREFIX);
}

bool RemoteCatalog::SupportsPushdown(const ParsedExpression &expression) {
	if (MayConcernOtherSequence(expression, *this) || CallsClientFunction(GetDatabase(), expression)) {
		return false;
	}
	// What the extension offers runs in the client.
	return expression.GetExpressionClass() != ExpressionClass::FUNCTION ||
	       (!IsOurs(expression.Cast<FunctionExpression>().FunctionName()) &&
	        !IsClientsEntry(expression.Cast<FunctionExpression>().FunctionName()));
}

bool RemoteCatalog::SupportsPushdown(const TableRef &ref) {
	if (ref.type == TableReferenceType::BASE_TABLE) {
		return !IsClientsEntry(ref.Cast<BaseTableRef>().Table());
	}
	if (ref.type != TableReferenceType::TABLE_FUNCTION) {
		return true;
	}
	auto &function = *ref.Cast<TableFunctionRef>().function;
	return function.GetExpressionClass() != ExpressionClass::FUNCTION ||
	       (!IsOurs(function.Cast<FunctionExpression>().FunctionName()) &&
	        !IsClientsEntry(function.Cast<FunctionExpression>().FunctionName()));
}

bool RemoteCatalog::SupportsPushdown(const QueryNode &) {
	return true;
}

//! Of an index's table, and of an index without a database's name, only binding tells whether they are the client's own.
bool RemoteCatalog::SupportsPushdown(const SQLStatement &statement) {
	if (statement.type == StatementType::CREATE_STATEMENT) {
		return statement.Cast<CreateStatement>().info->type != CatalogType::INDEX_ENTRY;
	}
	if (statement.type == StatementType::DROP_STATEMENT) {
		auto &info = *statement.Cast<DropStatement>().info;
		return info.type != CatalogType::INDEX_ENTRY || info.GetQualifiedName().Path().size() > 1;
	}
	return true;
}

} // namespace duckherder
