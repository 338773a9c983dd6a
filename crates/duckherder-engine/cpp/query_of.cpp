#include "query_of.hpp"

#include "duckdb/parser/parsed_data/alter_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/delete_query_node.hpp"
#include "duckdb/parser/query_node/insert_query_node.hpp"
#include "duckdb/parser/query_node/merge_query_node.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/query_node/set_operation_node.hpp"
#include "duckdb/parser/query_node/update_query_node.hpp"
#include "duckdb/parser/statement/alter_statement.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/delete_statement.hpp"
#include "duckdb/parser/statement/drop_statement.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/parser/statement/insert_statement.hpp"
#include "duckdb/parser/statement/merge_into_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/statement/update_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

optional_ptr<QueryNode> QueryOf(SQLStatement &statement) {
	switch (statement.type) {
	case StatementType::SELECT_STATEMENT:
		return statement.Cast<SelectStatement>().node.get();
	case StatementType::INSERT_STATEMENT:
		return statement.Cast<InsertStatement>().node.get();
	case StatementType::DELETE_STATEMENT:
		return statement.Cast<DeleteStatement>().node.get();
	case StatementType::UPDATE_STATEMENT:
		return statement.Cast<UpdateStatement>().node.get();
	case StatementType::MERGE_INTO_STATEMENT:
		return statement.Cast<MergeIntoStatement>().node.get();
	case StatementType::EXPLAIN_STATEMENT:
		return QueryOf(*statement.Cast<ExplainStatement>().stmt);
	case StatementType::CREATE_STATEMENT: {
		auto &info = *statement.Cast<CreateStatement>().info;
		if (info.type == CatalogType::VIEW_ENTRY && info.Cast<CreateViewInfo>().query) {
			return info.Cast<CreateViewInfo>().query->node.get();
		}
		if (info.type != CatalogType::TABLE_ENTRY || !info.Cast<CreateTableInfo>().query) {
			return nullptr;
		}
		return info.Cast<CreateTableInfo>().query->node.get();
	}
	default:
		return nullptr;
	}
}

static optional_ptr<QualifiedName> NameOf(optional_ptr<TableRef> table) {
	auto is_table = table && table->type == TableReferenceType::BASE_TABLE;
	return is_table ? &table->Cast<BaseTableRef>().GetQualifiedNameMutable() : nullptr;
}

optional_ptr<QualifiedName> TargetOf(QueryNode &node) {
	switch (node.type) {
	case QueryNodeType::INSERT_QUERY_NODE:
		return node.Cast<InsertQueryNode>().qualified_name;
	case QueryNodeType::UPDATE_QUERY_NODE:
		return NameOf(node.Cast<UpdateQueryNode>().table.get());
	case QueryNodeType::DELETE_QUERY_NODE:
		return NameOf(node.Cast<DeleteQueryNode>().table.get());
	case QueryNodeType::MERGE_QUERY_NODE:
		return NameOf(node.Cast<MergeQueryNode>().target.get());
	default:
		return nullptr;
	}
}

bool FillsColumn(const QueryNode &node) {
	return node.type == QueryNodeType::UPDATE_QUERY_NODE && node.Cast<UpdateQueryNode>().prioritize_table_when_binding;
}

optional_ptr<QualifiedName> SubjectOf(SQLStatement &statement) {
	switch (statement.type) {
	case StatementType::EXPLAIN_STATEMENT:
		return SubjectOf(*statement.Cast<ExplainStatement>().stmt);
	case StatementType::CREATE_STATEMENT:
		return statement.Cast<CreateStatement>().info->GetQualifiedNameMutable();
	case StatementType::ALTER_STATEMENT:
		return statement.Cast<AlterStatement>().info->GetQualifiedNameMutable();
	case StatementType::DROP_STATEMENT:
		return statement.Cast<DropStatement>().info->GetQualifiedNameMutable();
	default:
		return nullptr;
	}
}

bool IsOfView(const SQLStatement &statement) {
	return statement.type == StatementType::CREATE_STATEMENT &&
	       statement.Cast<CreateStatement>().info->type == CatalogType::VIEW_ENTRY;
}

bool IsNamedByText(const ParsedExpression &expression) {
	if (!expression.GetAlias().empty()) {
		return false;
	}
	switch (expression.GetExpressionClass()) {
	case ExpressionClass::COLUMN_REF:
	case ExpressionClass::POSITIONAL_REFERENCE:
	case ExpressionClass::STAR:
		return false;
	default:
		break;
	}
	bool has_star = false;
	ParsedExpressionIterator::VisitExpressionClass(expression, ExpressionClass::STAR,
	                                               [&](const ParsedExpression &) { has_star = true; });
	return !has_star;
}

static void NameOwnByText(QueryNode &node, const std::function<bool(const ParsedExpression &)> &which) {
	for (auto &entry : node.cte_map.map) {
		if (entry.second->query_node) {
			NameOwnByText(*entry.second->query_node, which);
		}
	}
	if (node.type == QueryNodeType::SET_OPERATION_NODE) {
		for (auto &child : node.Cast<SetOperationNode>().children) {
			NameOwnByText(*child, which);
		}
	}
	if (node.type != QueryNodeType::SELECT_NODE) {
		return;
	}
	for (auto &column : node.Cast<SelectNode>().select_list) {
		if (IsNamedByText(*column) && which(*column)) {
			column->SetAlias(column->GetName());
		}
	}
}

void NameByText(QueryNode &node, const std::function<bool(const ParsedExpression &)> &which) {
	NameOwnByText(node, which);
	auto look = [&](TableRef &ref) {
		if (ref.type == TableReferenceType::SUBQUERY) {
			NameOwnByText(*ref.Cast<SubqueryRef>().subquery->node, which);
		}
	};
	ParsedExpressionIterator::EnumerateQueryNodeChildren(node, [](unique_ptr<ParsedExpression> &) {}, look);
}

} // namespace duckherder
