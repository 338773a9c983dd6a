// Whole statements on their way to the driver: what of them only this client knows is written out.
#include "catalog.hpp"
#include "column_names.hpp"
#include "query_function.hpp"
#include "query_of.hpp"
#include "sequences.hpp"

#include "duckdb/catalog/catalog_entry/type_catalog_entry.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/parameter_expression.hpp"
#include "duckdb/parser/expression/star_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/expression/type_expression.hpp"
#include "duckdb/parser/parsed_data/alter_table_info.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/delete_query_node.hpp"
#include "duckdb/parser/query_node/insert_query_node.hpp"
#include "duckdb/parser/query_node/merge_query_node.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/query_node/update_query_node.hpp"
#include "duckdb/parser/statement/alter_statement.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/drop_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"
#include "unfold.hpp"
#include "wire_type.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const FUNCTION_PREFIX = "duckherder_";

//! Walks a syntax tree: types of the client's own are replaced by their definition, tables that the client registered
//! by the driver's names, and parameters are collected.
class StatementRewriter {
public:
	StatementRewriter(ClientContext &context, RemoteCatalog &catalog) : context(context), catalog(catalog) {
	}

	vector<Identifier> parameters;

	void Rewrite(QueryNode &node) {
		CollectCTEs(node);
		if (node.type == QueryNodeType::INSERT_QUERY_NODE) {
			RenameTable(node.Cast<InsertQueryNode>().qualified_name);
		}
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Rewrite(*child); },
		    [&](TableRef &ref) { Rewrite(ref); });
	}

	void Rewrite(SQLStatement &statement) {
		switch (statement.type) {
		case StatementType::CREATE_STATEMENT: {
			auto &info = *statement.Cast<CreateStatement>().info;
			Rewrite(info);
			info.SetQualifiedName(catalog.NameThere(context, info.GetQualifiedName()));
			break;
		}
		case StatementType::ALTER_STATEMENT: {
			auto &info = *statement.Cast<AlterStatement>().info;
			Rewrite(info);
			info.SetQualifiedName(catalog.NameThere(context, info.GetQualifiedName()));
			break;
		}
		case StatementType::DROP_STATEMENT: {
			auto &info = *statement.Cast<DropStatement>().info;
			if (info.type == CatalogType::TABLE_ENTRY) {
				RenameTable(info.GetQualifiedNameMutable());
			}
			info.SetQualifiedName(catalog.NameThere(context, info.GetQualifiedName()));
			break;
		}
		default:
			break;
		}
	}

private:
	//! A name that a CTE has is not a table's.
	void CollectCTEs(QueryNode &node) {
		for (auto &entry : node.cte_map.map) {
			ctes.insert(entry.first);
			if (entry.second->query_node) {
				CollectCTEs(*entry.second->query_node);
			}
		}
	}

	bool RenameTable(QualifiedName &name) {
		QualifiedName remote;
		auto plain = name.Schema().empty() || name.Schema() == DEFAULT_SCHEMA;
		if (!plain || !catalog.FindRegistered(name.Name(), remote)) {
			return false;
		}
		name = remote;
		return true;
	}

	void Rewrite(TableRef &ref) {
		if (ref.type != TableReferenceType::BASE_TABLE) {
			if (ref.type == TableReferenceType::SUBQUERY) {
				CollectCTEs(*ref.Cast<SubqueryRef>().subquery->node);
			}
			return;
		}
		auto &table = ref.Cast<BaseTableRef>();
		auto local = table.Table();
		if (ctes.find(local) == ctes.end() && RenameTable(table.GetQualifiedNameMutable()) && ref.alias.empty()) {
			ref.alias = local;
		}
	}

	void Rewrite(ParsedExpression &expression) {
		switch (expression.GetExpressionClass()) {
		case ExpressionClass::PARAMETER: {
			auto &name = expression.Cast<ParameterExpression>().Identifier();
			if (std::find(parameters.begin(), parameters.end(), name) == parameters.end()) {
				parameters.push_back(name);
			}
			break;
		}
		case ExpressionClass::CAST: {
			auto &cast = expression.Cast<CastExpression>();
			auto defined = Define(cast.TargetType());
			if (defined) {
				cast.SetTargetType(std::move(defined));
			}
			break;
		}
		case ExpressionClass::FUNCTION:
			NameSequenceForDriver(context, catalog, expression.Cast<FunctionExpression>());
			break;
		case ExpressionClass::SUBQUERY:
			Rewrite(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
			break;
		default:
			break;
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &child) { Rewrite(*child); });
	}

	//! The definition of a type that the client has and the driver has not, the driver's own name of a type of its;
	//! nothing for any other.
	unique_ptr<TypeExpression> Define(const TypeExpression &type) {
		auto &name = type.GetQualifiedName();
		auto in_schema = name.Catalog() == catalog.GetName();
		if (in_schema || (name.Catalog().empty() && name.Schema() == catalog.GetName())) {
			auto result = unique_ptr_cast<ParsedExpression, TypeExpression>(type.Copy());
			result->SetQualifiedName(in_schema ? name.WithCatalog(Identifier()) : QualifiedName(name.Name()));
			return result;
		}
		auto entry = Catalog::GetEntry(context, EntryLookupInfo(CatalogType::TYPE_ENTRY, type.GetQualifiedName()),
		                               OnEntryNotFound::RETURN_NULL);
		if (entry && !entry->internal && &entry->ParentCatalog() != &catalog) {
			return TypeExpression::FromLogicalType(WithoutUserTypes(entry->Cast<TypeCatalogEntry>().user_type));
		}
		// LIST, STRUCT and the like have types as their children.
		unique_ptr<TypeExpression> result;
		for (idx_t i = 0; i < type.GetChildren().size(); i++) {
			auto &child = *type.GetChildren()[i];
			if (child.GetExpressionClass() != ExpressionClass::TYPE) {
				continue;
			}
			auto defined = Define(child.Cast<TypeExpression>());
			if (!defined) {
				continue;
			}
			if (!result) {
				result = unique_ptr_cast<ParsedExpression, TypeExpression>(type.Copy());
			}
			defined->SetAlias(child.GetAlias());
			result->GetChildren()[i] = std::move(defined);
		}
		return result;
	}

	void Define(LogicalType &type) {
		if (type.id() != LogicalTypeId::UNBOUND) {
			type = WithoutUserTypes(type);
			return;
		}
		auto &expression = UnboundType::GetTypeExpression(type);
		if (expression->GetExpressionClass() != ExpressionClass::TYPE) {
			return;
		}
		auto defined = Define(expression->Cast<TypeExpression>());
		if (defined) {
			type = LogicalType::UNBOUND(std::move(defined));
		}
	}

	void Rewrite(ColumnDefinition &column) {
		auto type = column.Type();
		Define(type);
		column.SetType(type);
		if (!column.Generated() && column.HasDefaultValue()) {
			auto value = column.DefaultValue().Copy();
			Rewrite(*value);
			column.SetDefaultValue(std::move(value));
		}
	}

	void Rewrite(CreateInfo &info) {
		if (info.type == CatalogType::INDEX_ENTRY) {
			auto &index = info.Cast<CreateIndexInfo>();
			QualifiedName table(index.table);
			if (RenameTable(table)) {
				index.table = table.Name();
				info.SetQualifiedName(QualifiedName(Identifier(), table.Schema(), info.GetQualifiedName().Name()));
			}
			return;
		}
		if (info.type == CatalogType::VIEW_ENTRY) {
			auto &view = info.Cast<CreateViewInfo>();
			if (view.query) {
				Rewrite(*view.query->node);
			}
			return;
		}
		if (info.type == CatalogType::TYPE_ENTRY) {
			auto &type = info.Cast<CreateTypeInfo>();
			if (!type.query) {
				Define(type.type);
			}
			return;
		}
		if (info.type == CatalogType::MACRO_ENTRY) {
			for (auto &macro : info.Cast<CreateMacroInfo>().macros) {
				Rewrite(*macro->Cast<ScalarMacroFunction>().expression);
			}
			return;
		}
		if (info.type != CatalogType::TABLE_ENTRY) {
			return;
		}
		auto &table = info.Cast<CreateTableInfo>();
		ColumnList columns;
		for (auto &column : table.columns.Logical()) {
			auto copy = column.Copy();
			Rewrite(copy);
			columns.AddColumn(std::move(copy));
		}
		table.columns = std::move(columns);
		if (table.query) {
			Rewrite(*table.query->node);
		}
	}

	void Rewrite(AlterInfo &info) {
		if (info.type == AlterType::SET_COMMENT || info.type == AlterType::SET_COLUMN_COMMENT) {
			RenameTable(info.GetQualifiedNameMutable());
			return;
		}
		if (info.type != AlterType::ALTER_TABLE) {
			return;
		}
		RenameTable(info.GetQualifiedNameMutable());
		auto &table = info.Cast<AlterTableInfo>();
		if (table.alter_table_type == AlterTableType::ADD_COLUMN) {
			Rewrite(table.Cast<AddColumnInfo>().new_column);
		} else if (table.alter_table_type == AlterTableType::SET_DEFAULT) {
			auto &change = table.Cast<SetDefaultInfo>();
			if (change.expression) {
				Rewrite(*change.expression);
			}
		} else if (table.alter_table_type == AlterTableType::ALTER_COLUMN_TYPE) {
			auto &change = table.Cast<ChangeColumnTypeInfo>();
			Define(change.target_type);
			if (change.expression) {
				Rewrite(*change.expression);
			}
		}
	}

	ClientContext &context;
	RemoteCatalog &catalog;
	identifier_set_t ctes;
};

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

unique_ptr<TableRef> RemoteCatalog::RemoteExecute(ClientContext &context, unique_ptr<QueryNode> node) {
	UnfoldPart(context, *node);
	KeepColumnNames(context, *node);
	StatementRewriter rewriter(context, *this);
	rewriter.Rewrite(*node);
	auto info = make_shared_ptr<PushedStatement>();
	info->counts = CountsRows(*node);
	return QueryFunctionRef(GetName(), node->ToString(), rewriter.parameters, std::move(info));
}

unique_ptr<TableRef> RemoteCatalog::RemoteExecute(ClientContext &context, unique_ptr<SQLStatement> statement) {
	auto query = QueryOf(*statement);
	if (query && !IsOfView(*statement)) {
		UnfoldPart(context, *query);
		KeepColumnNames(context, *query);
	}
	StatementRewriter rewriter(context, *this);
	rewriter.Rewrite(*statement);
	auto info = make_shared_ptr<PushedStatement>();
	info->changes_catalog = true;
	return QueryFunctionRef(GetName(), statement->ToString(), rewriter.parameters, std::move(info));
}

void RemoteCatalog::RunCreate(ClientContext &context, const CreateInfo &info) {
	CreateStatement statement;
	statement.info = info.Copy();
	StatementRewriter(context, *this).Rewrite(statement);
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
	if (MayConcernOtherSequence(expression, *this)) {
		return false;
	}
	// What the extension offers runs in the client.
	return expression.GetExpressionClass() != ExpressionClass::FUNCTION ||
	       !IsOurs(expression.Cast<FunctionExpression>().FunctionName());
}

bool RemoteCatalog::SupportsPushdown(const TableRef &ref) {
	if (ref.type != TableReferenceType::TABLE_FUNCTION) {
		return true;
	}
	auto &function = *ref.Cast<TableFunctionRef>().function;
	return function.GetExpressionClass() != ExpressionClass::FUNCTION ||
	       !IsOurs(function.Cast<FunctionExpression>().FunctionName());
}

bool RemoteCatalog::SupportsPushdown(const QueryNode &) {
	return true;
}

bool RemoteCatalog::SupportsPushdown(const SQLStatement &) {
	return true;
}

} // namespace duckherder
