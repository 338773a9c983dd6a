#include "names_of_client.hpp"

#include "database_renamer.hpp"
#include "parts_of.hpp"
#include "query_of.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/scalar_function_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
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
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! No schema is called so.
static const char *const NO_SCHEMA = "duckherder_no_schema";

static bool IsOfSchema(const SQLStatement &statement) {
	if (statement.type == StatementType::EXPLAIN_STATEMENT) {
		return IsOfSchema(*statement.Cast<ExplainStatement>().stmt);
	}
	return (statement.type == StatementType::CREATE_STATEMENT &&
	        statement.Cast<CreateStatement>().info->type == CatalogType::SCHEMA_ENTRY) ||
	       (statement.type == StatementType::DROP_STATEMENT &&
	        statement.Cast<DropStatement>().info->type == CatalogType::SCHEMA_ENTRY);
}

//! Puts the session's database in front of two names, where DuckDB would take the schema for a database.
class SchemaNames {
public:
	//! `elsewhere`: names alone are looked for among DuckDB's own entries first.
	SchemaNames(ClientContext &context, bool elsewhere) : context(context), elsewhere(elsewhere) {
	}

	void Understand(QualifiedName &name) {
		if (name.Path().size() == 2 && DatabaseManager::Get(context).GetDatabase(context, name.Path()[0])) {
			name = name.WithCatalog(DatabaseManager::GetDefaultDatabase(context));
		}
	}

	//! What a statement makes, changes or drops is in the session's database, whatever DuckDB has of that name.
	void UnderstandSubject(QualifiedName &name) {
		Understand(name);
		if (elsewhere && IsOfMain(name)) {
			name = InMain(name.Name());
		}
	}

	void Understand(QueryNode &node) {
		if (node.type == QueryNodeType::INSERT_QUERY_NODE) {
			auto &name = node.Cast<InsertQueryNode>().qualified_name;
			Understand(name);
			UnderstandTable(name);
		}
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Understand(*child); },
		    [&](TableRef &ref) {
			    if (ref.type == TableReferenceType::BASE_TABLE) {
				    auto &name = ref.Cast<BaseTableRef>().GetQualifiedNameMutable();
				    Understand(name);
				    // A name alone may be that of a CTE: clients name such a table with its schema.
				    if (name.Path().size() > 1) {
					    UnderstandTable(name);
				    }
			    }
		    });
	}

	//! What an entry of the catalog consists of, beside queries.
	void Understand(SQLStatement &statement) {
		ForEachPartOf(
		    statement, [&](ParsedExpression &part) { Understand(part); }, [&](QueryNode &query) { Understand(query); });
	}

private:
	static bool IsOfMain(const QualifiedName &name) {
		auto &path = name.Path();
		return path.size() == 1 || (path.size() == 2 && path[0] == Identifier::DefaultSchema());
	}

	QualifiedName InMain(const Identifier &name) {
		return QualifiedName(DatabaseManager::GetDefaultDatabase(context), Identifier::DefaultSchema(), name);
	}

	bool IsTable(const QualifiedName &name) {
		EntryLookupInfo lookup(CatalogType::TABLE_ENTRY, name);
		return static_cast<bool>(Catalog::GetEntry(context, lookup, OnEntryNotFound::RETURN_NULL));
	}

	//! A table may be called like a view of DuckDB's (duckdb_tables).
	void UnderstandTable(QualifiedName &name) {
		if (elsewhere && IsOfMain(name) &&
		    IsTable(QualifiedName(Identifier(SYSTEM_CATALOG), Identifier::DefaultSchema(), name.Name())) &&
		    IsTable(InMain(name.Name()))) {
			name = InMain(name.Name());
		}
	}

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
		if (!of_sequence || call.GetArguments().empty()) {
			return;
		}
		QualifiedName name;
		if (!NamesByText(call.GetArguments()[0].GetExpression(), name)) {
			return;
		}
		auto parts = name.Path().size();
		Understand(name);
		if (name.Path().size() != parts) {
			call.GetArgumentsMutable()[0].GetExpressionMutable() = ConstantExpression::String(name.ToString());
		}
	}

	ClientContext &context;
	const bool elsewhere;
};

void UnderstandNames(ClientContext &context, SQLStatement &statement, bool elsewhere) {
	auto query = QueryOf(statement);
	auto subject = SubjectOf(statement);
	if (!query && !subject) {
		return;
	}
	auto understand = [&]() {
		if (query) {
			// What a view consists of is looked for where the view is.
			SchemaNames(context, elsewhere && !IsOfView(statement)).Understand(*query);
		}
		SchemaNames(context, false).Understand(statement);
		if (subject) {
			SchemaNames(context, elsewhere && !IsOfSchema(statement)).UnderstandSubject(*subject);
		}
	};
	context.RunFunctionInTransaction(understand, false);
}

//! DuckDB's function, which would tell the schema of which there is none.
static void CurrentSchema(DataChunk &input, ExpressionState &state, Vector &result) {
	auto schema = ClientData::Get(state.GetContext()).catalog_search_path->GetDefault().GetSchema();
	result.Reference(Value(schema == NO_SCHEMA ? Identifier::DefaultSchema() : schema), count_t(input.size()));
}

void RegisterCurrentSchema(DatabaseInstance &instance) {
	auto transaction = CatalogTransaction::GetSystemTransaction(instance);
	auto &schema = Catalog::GetSystemCatalog(instance).GetSchema(transaction, Identifier(DEFAULT_SCHEMA));
	EntryLookupInfo lookup(CatalogType::SCALAR_FUNCTION_ENTRY, QualifiedName(Identifier("current_schema")));
	auto entry = schema.LookupEntry(transaction, lookup);
	if (!entry || entry->type != CatalogType::SCALAR_FUNCTION_ENTRY) {
		return;
	}
	// Nobody uses the instance yet.
	for (auto &known : entry->Cast<ScalarFunctionCatalogEntry>().functions.functions) {
		auto function = *known;
		function.SetFunctionCallback(CurrentSchema);
		known = make_shared_ptr<const ScalarFunction>(std::move(function));
	}
}

void SearchAsClient(ClientContext &context, bool elsewhere) {
	auto &path = ClientData::Get(context).catalog_search_path;
	auto &first = path->GetDefault();
	if ((first.GetSchema() == NO_SCHEMA) == elsewhere) {
		return;
	}
	auto database = DatabaseManager::GetDefaultDatabase(context);
	vector<CatalogSearchEntry> entries;
	if (elsewhere) {
		// The first one tells which database is the default one.
		entries.emplace_back(database, Identifier(NO_SCHEMA));
		entries.emplace_back(Identifier(SYSTEM_CATALOG), Identifier::DefaultSchema());
	}
	entries.emplace_back(std::move(database), Identifier::DefaultSchema());
	path = make_uniq<CatalogSearchPath>(context, std::move(entries));
}

} // namespace duckherder
