#include "names_of_client.hpp"

#include "macro_unfolder.hpp"
#include "parts_of.hpp"
#include "query_of.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/scalar_macro_catalog_entry.hpp"
#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/expression/type_expression.hpp"
#include "duckdb/parser/expression/window_expression.hpp"
#include "duckdb/parser/parsed_data/alter_info.hpp"
#include "duckdb/parser/parsed_data/create_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/insert_query_node.hpp"
#include "duckdb/parser/statement/alter_statement.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/drop_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"

#include <map>

using namespace duckdb; // NOLINT

namespace duckherder {

//! Macros that call macros are looked into, and written out, so deep.
static constexpr idx_t MOST_MACROS = 64;

//! What a DDL statement is about; null for any other.
static optional_ptr<QualifiedName> Subject(SQLStatement &statement) {
	switch (statement.type) {
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

//! Puts the session's database in front of two names, where DuckDB would take the schema for a database.
class SchemaNames {
public:
	explicit SchemaNames(ClientContext &context) : context(context) {
	}

	void Understand(QualifiedName &name) {
		if (name.Path().size() == 2 && DatabaseManager::Get(context).GetDatabase(context, name.Path()[0])) {
			name = name.WithCatalog(DatabaseManager::GetDefaultDatabase(context));
		}
	}

	void Understand(QueryNode &node) {
		if (node.type == QueryNodeType::INSERT_QUERY_NODE) {
			Understand(node.Cast<InsertQueryNode>().qualified_name);
		}
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Understand(*child); },
		    [&](TableRef &ref) {
			    if (ref.type == TableReferenceType::BASE_TABLE) {
				    Understand(ref.Cast<BaseTableRef>().GetQualifiedNameMutable());
			    }
		    });
	}

	//! What an entry of the catalog consists of, beside queries.
	void Understand(SQLStatement &statement) {
		ForEachPartOf(
		    statement, [&](ParsedExpression &part) { Understand(part); }, [&](QueryNode &query) { Understand(query); });
	}

private:
	void Understand(ParsedExpression &expression) {
		switch (expression.GetExpressionClass()) {
		case ExpressionClass::FUNCTION: {
			auto &call = expression.Cast<FunctionExpression>();
			Understand(call.GetQualifiedNameMutable());
			UnderstandSequence(call);
			break;
		}
		case ExpressionClass::WINDOW:
			Understand(expression.Cast<WindowExpression>().GetQualifiedNameMutable());
			break;
		case ExpressionClass::CAST:
			Understand(expression.Cast<CastExpression>().TargetTypeMutable());
			break;
		case ExpressionClass::TYPE: {
			auto &type = expression.Cast<TypeExpression>();
			auto name = type.GetQualifiedName();
			Understand(name);
			type.SetQualifiedName(std::move(name));
			break;
		}
		case ExpressionClass::SUBQUERY:
			Understand(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
			break;
		default:
			break;
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &child) { Understand(*child); });
	}

	//! nextval('schema.sequence') and its like.
	void UnderstandSequence(FunctionExpression &call) {
		auto &function = call.FunctionName();
		auto of_sequence = function == Identifier("nextval") || function == Identifier("currval") ||
		                   function == Identifier("setval");
		if (!of_sequence || call.GetArguments().empty() ||
		    call.GetArguments()[0].GetExpression().GetExpressionClass() != ExpressionClass::CONSTANT) {
			return;
		}
		auto value = call.GetArguments()[0].GetExpression().Cast<ConstantExpression>().GetLiteral().ToValue();
		QualifiedName name;
		string error;
		if (value.IsNull() || value.type().id() != LogicalTypeId::VARCHAR ||
		    !QualifiedName::TryParse(StringValue::Get(value), name, error)) {
			return;
		}
		auto parts = name.Path().size();
		Understand(name);
		if (name.Path().size() != parts) {
			call.GetArgumentsMutable()[0].GetExpressionMutable() = ConstantExpression::String(name.ToString());
		}
	}

	ClientContext &context;
};

//! Has functions of DuckDB's come before macros of the session's database.
class FunctionNames {
public:
	explicit FunctionNames(ClientContext &context) : context(context) {
	}

	void Prefer(QueryNode &node) {
		if (!MayCallMacro(node)) {
			return;
		}
		NameByText(node, [](const ParsedExpression &) { return true; });
		PreferIn(node);
	}

private:
	optional_ptr<CatalogEntry> Find(CatalogType type, const QualifiedName &name) {
		return Catalog::GetEntry(context, EntryLookupInfo(type, name), OnEntryNotFound::RETURN_NULL);
	}

	static QualifiedName OfSystem(const Identifier &function) {
		return QualifiedName(Identifier(SYSTEM_CATALOG), Identifier::DefaultSchema(), function);
	}

	//! Whether DuckDB and the session's database have something of that name.
	bool IsAmbiguous(CatalogType type, const Identifier &function) {
		auto found = Find(type, QualifiedName(function));
		return found && !found->internal && Find(type, OfSystem(function));
	}

	//! Whether `[name]` is that of the value that a method is called of, not of a schema.
	bool IsMethod(const QualifiedName &name) {
		auto parts = name.Path().size();
		return (parts == 2 || parts == 3) && !Find(CatalogType::SCALAR_FUNCTION_ENTRY, name) &&
		       !DatabaseManager::Get(context).GetDatabase(context, name.Path()[0]);
	}

	optional_ptr<ScalarMacroCatalogEntry> OwnMacro(const QualifiedName &name) {
		auto found = Find(CatalogType::SCALAR_FUNCTION_ENTRY, name);
		auto is_own = found && !found->internal && found->type == CatalogType::MACRO_ENTRY;
		return is_own ? &found->Cast<ScalarMacroCatalogEntry>() : nullptr;
	}

	//! Mostly there is none, and nothing more to do.
	bool MayCallMacro(QueryNode &node) {
		auto found = false;
		std::map<CatalogType, identifier_set_t> seen;
		auto look_at = [&](CatalogType type, const QualifiedName &name) {
			if (name.Path().size() > 1 || seen[type].insert(name.Name()).second) {
				auto entry = Find(type, QualifiedName(name.Name()));
				found = found || (entry && !entry->internal) || (name.Path().size() > 1 && OwnMacro(name));
			}
		};
		auto in_place_of_tables = InPlaceOfTables(node);
		std::function<void(unique_ptr<ParsedExpression> &)> visit = [&](unique_ptr<ParsedExpression> &expression) {
			if (expression->GetExpressionClass() == ExpressionClass::FUNCTION) {
				auto is_table = in_place_of_tables.count(expression.get()) > 0;
				look_at(is_table ? CatalogType::TABLE_FUNCTION_ENTRY : CatalogType::SCALAR_FUNCTION_ENTRY,
				        expression->Cast<FunctionExpression>().GetQualifiedName());
			} else if (expression->GetExpressionClass() == ExpressionClass::WINDOW) {
				look_at(CatalogType::SCALAR_FUNCTION_ENTRY, expression->Cast<WindowExpression>().GetQualifiedName());
			} else if (expression->GetExpressionClass() == ExpressionClass::SUBQUERY) {
				found = found || MayCallMacro(*expression->Cast<SubqueryExpression>().SubqueryMutable()->node);
			}
			ParsedExpressionIterator::EnumerateChildren(*expression, visit);
		};
		ParsedExpressionIterator::EnumerateQueryNodeChildren(node, visit);
		return found;
	}

	//! The calls of table functions.
	static unordered_set<const ParsedExpression *> InPlaceOfTables(QueryNode &node) {
		unordered_set<const ParsedExpression *> result;
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [](unique_ptr<ParsedExpression> &) {},
		    [&](TableRef &ref) {
			    if (ref.type == TableReferenceType::TABLE_FUNCTION) {
				    result.insert(ref.Cast<TableFunctionRef>().function.get());
			    }
		    });
		return result;
	}

	void PreferIn(QueryNode &node) {
		auto in_place_of_tables = InPlaceOfTables(node);
		ParsedExpressionIterator::EnumerateQueryNodeChildren(node, [&](unique_ptr<ParsedExpression> &expression) {
			if (in_place_of_tables.count(expression.get()) == 0) {
				PreferIn(expression, 0);
				return;
			}
			Prefer(CatalogType::TABLE_FUNCTION_ENTRY, expression->Cast<FunctionExpression>().GetQualifiedNameMutable());
			PreferInParts(*expression, 0);
		});
	}

	void Prefer(CatalogType type, QualifiedName &name) {
		if (name.Path().size() == 1 && IsAmbiguous(type, name.Name())) {
			name = OfSystem(name.Name());
		}
	}

	void PreferInParts(ParsedExpression &expression, idx_t depth) {
		ParsedExpressionIterator::EnumerateChildren(
		    expression, [&](unique_ptr<ParsedExpression> &child) { PreferIn(child, depth); });
	}

	void PreferIn(unique_ptr<ParsedExpression> &expression, idx_t depth) {
		switch (expression->GetExpressionClass()) {
		case ExpressionClass::FUNCTION: {
			auto &call = expression->Cast<FunctionExpression>();
			Prefer(CatalogType::SCALAR_FUNCTION_ENTRY, call.GetQualifiedNameMutable());
			CallOfSystem(call);
			if (depth < MOST_MACROS && Expand(expression)) {
				PreferIn(expression, depth + 1);
				return;
			}
			break;
		}
		case ExpressionClass::WINDOW:
			Prefer(CatalogType::SCALAR_FUNCTION_ENTRY, expression->Cast<WindowExpression>().GetQualifiedNameMutable());
			break;
		case ExpressionClass::SUBQUERY:
			PreferIn(*expression->Cast<SubqueryExpression>().SubqueryMutable()->node);
			break;
		default:
			break;
		}
		PreferInParts(*expression, depth);
	}

	//! `v.upper()`, as DuckDB's binder takes it, of the function that is DuckDB's own.
	void CallOfSystem(FunctionExpression &call) {
		auto path = call.GetQualifiedName().Path();
		if (!IsMethod(call.GetQualifiedName()) || !IsAmbiguous(CatalogType::SCALAR_FUNCTION_ENTRY, path.back())) {
			return;
		}
		auto function = path.back();
		path.pop_back();
		auto &arguments = call.GetArgumentsMutable();
		arguments.insert(arguments.begin(), FunctionArgument(make_uniq<ColumnRefExpression>(std::move(path))));
		call.SetQualifiedName(OfSystem(function));
	}

	//! Writes a macro out that calls what is ambiguous: DuckDB would understand that as the session's.
	bool Expand(unique_ptr<ParsedExpression> &expression) {
		auto &call = expression->Cast<FunctionExpression>();
		if (call.Filter() || call.Distinct() || (call.OrderBy() && !call.OrderBy()->orders.empty())) {
			return false;
		}
		auto macro = OwnMacro(call.GetQualifiedName());
		if (!macro || !CallsAmbiguous(*macro, 0)) {
			return false;
		}
		return UnfoldMacro(context, *macro, expression);
	}

	bool CallsAmbiguous(const ScalarMacroCatalogEntry &macro, idx_t depth) {
		auto found = false;
		for (auto &overload : macro.macros) {
			auto body = overload->Cast<ScalarMacroFunction>().expression->Copy();
			CallsAmbiguous(*body, depth, found);
		}
		return found;
	}

	void CallsAmbiguous(ParsedExpression &expression, idx_t depth, bool &found) {
		if (found) {
			return;
		}
		if (expression.GetExpressionClass() == ExpressionClass::FUNCTION) {
			auto &name = expression.Cast<FunctionExpression>().GetQualifiedName();
			auto by_itself = name.Path().size() == 1 || IsMethod(name);
			found = by_itself && IsAmbiguous(CatalogType::SCALAR_FUNCTION_ENTRY, name.Name());
			auto other = found || depth >= MOST_MACROS ? nullptr : OwnMacro(name);
			found = found || (other && CallsAmbiguous(*other, depth + 1));
		} else if (expression.GetExpressionClass() == ExpressionClass::WINDOW) {
			auto &name = expression.Cast<WindowExpression>().GetQualifiedName();
			found = name.Path().size() == 1 && IsAmbiguous(CatalogType::SCALAR_FUNCTION_ENTRY, name.Name());
		} else if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
			auto visit = [&](unique_ptr<ParsedExpression> &child) { CallsAmbiguous(*child, depth, found); };
			auto &query = *expression.Cast<SubqueryExpression>().SubqueryMutable()->node;
			ParsedExpressionIterator::EnumerateQueryNodeChildren(query, visit);
		}
		ParsedExpressionIterator::EnumerateChildren(
		    expression, [&](unique_ptr<ParsedExpression> &child) { CallsAmbiguous(*child, depth, found); });
	}

	ClientContext &context;
};

void UnderstandNames(ClientContext &context, SQLStatement &statement, bool elsewhere) {
	auto query = QueryOf(statement);
	auto subject = Subject(statement);
	if (!query && !subject) {
		return;
	}
	auto understand = [&]() {
		SchemaNames schemas(context);
		if (query) {
			schemas.Understand(*query);
		}
		schemas.Understand(statement);
		// What a view consists of is looked for where the view is.
		if (elsewhere && query && !IsOfView(statement)) {
			FunctionNames(context).Prefer(*query);
		}
		if (subject) {
			schemas.Understand(*subject);
		}
	};
	context.RunFunctionInTransaction(understand, false);
}

} // namespace duckherder
