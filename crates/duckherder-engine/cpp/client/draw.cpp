// duckherder_explain: how a driver would run a statement, as a picture.
#include "draw.hpp"

#include "connection_state.hpp"
#include "query_function.hpp"
#include "transaction.hpp"

#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/planner/planner.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const CLIENT_GRAPH =
    "flowchart BT\n    client([\"Client<br/>LOCAL<br/>it does not concern one driver alone: the client runs it, and "
    "scans what tables of drivers it reads\"])\n";

//! Names without a catalog are those of `catalog`, for as long as this lives.
class NamesOf {
public:
	NamesOf(ClientContext &context, RemoteCatalog &catalog)
	    : path(*ClientData::Get(context).catalog_search_path), before(path.GetSetPaths()) {
		path.Set(CatalogSearchEntry(catalog.GetName(), Identifier::DefaultSchema()), CatalogSetPathType::SET_DIRECTLY);
	}
	~NamesOf() {
		path.Set(before, CatalogSetPathType::SET_DIRECTLY);
	}
	NamesOf(const NamesOf &) = delete;

private:
	CatalogSearchPath &path;
	const vector<CatalogSearchEntry> before;
};

static unique_ptr<SQLStatement> ParseOne(ClientContext &context, const string &sql) {
	Parser parser(context);
	parser.ParseQuery(sql);
	if (parser.statements.size() != 1) {
		throw InvalidInputException("duckherder_explain takes one statement, not %d", parser.statements.size());
	}
	auto statement = std::move(parser.statements[0]);
	if (statement->type == StatementType::EXPLAIN_STATEMENT) {
		return std::move(statement->Cast<ExplainStatement>().stmt);
	}
	return statement;
}

//! Other statements do more than plan when they are bound: they make folders, or look for extensions.
static bool IsDrawn(const SQLStatement &statement) {
	switch (statement.type) {
	case StatementType::SELECT_STATEMENT:
	case StatementType::INSERT_STATEMENT:
	case StatementType::UPDATE_STATEMENT:
	case StatementType::DELETE_STATEMENT:
	case StatementType::MERGE_INTO_STATEMENT:
		return true;
	case StatementType::CREATE_STATEMENT: {
		auto &info = *statement.Cast<CreateStatement>().info;
		return info.type == CatalogType::TABLE_ENTRY && info.Cast<CreateTableInfo>().query;
	}
	default:
		return false;
	}
}

//! Binding has DuckDB evaluate what a table function is called with, and that may change something (nextval).
static void AllowChanges(ClientContext &context, const StatementProperties &properties) {
	for (auto &entry : properties.modified_databases) {
		auto database = DatabaseManager::Get(context).GetDatabase(context, entry.first);
		if (database) {
			MetaTransaction::Get(context).ModifyDatabase(*database, entry.second.modifications);
		}
	}
}

static string Explanation(unique_ptr<SQLStatement> statement) {
	return ExplainStatement(std::move(statement)).ToString();
}

//! Binds the statement, perhaps a second time, without macros that keep parts of it here.
static unique_ptr<LogicalOperator> Bind(ClientContext &context, ConnectionState &state, SQLStatement &statement) {
	for (auto again = false;; again = true) {
		try {
			Planner planner(context);
			planner.CreatePlan(statement.Copy());
			AllowChanges(context, planner.binder->GetStatementProperties());
			if (!planner.plan) {
				throw InvalidInputException("duckherder_explain takes a statement without parameters");
			}
			return std::move(planner.plan);
		} catch (const std::exception &exception) {
			ErrorData error(exception);
			auto info = state.OnPlanningError(context, statement, error);
			if (again || info != RebindQueryInfo::ATTEMPT_TO_REBIND) {
				throw;
			}
		}
	}
}

static string Draw(ClientContext &context, const string &sql, optional_ptr<RemoteCatalog> names) {
	auto statement = ParseOne(context, sql);
	if (!IsDrawn(*statement)) {
		throw InvalidInputException("duckherder_explain takes a query, INSERT, UPDATE, DELETE, MERGE or CREATE TABLE AS, "
		                            "not %s",
		                            StatementTypeToString(statement->type));
	}
	auto state = ConnectionState::Get(context);
	ConnectionState::Explaining explaining(*state, Explanation(statement->Copy()));
	unique_ptr<NamesOf> names_of;
	if (names) {
		names_of = make_uniq<NamesOf>(context, *names);
	}
	auto plan = Bind(context, *state, *statement);
	auto get = FindWholeQuery(*plan);
	if (!get) {
		return CLIENT_GRAPH;
	}
	auto &data = get->bind_data->Cast<QueryData>();
	data.prepared->Forget();
	auto explain = data.catalog.MakeStatement(context, Explanation(ParseOne(context, data.statement.sql)));
	auto in_transaction = RemoteTransaction::Get(context, data.catalog).InUserTransaction(context);
	return data.prepared->session->session.Draw(context, explain, in_transaction);
}

string DrawStatement(ClientContext &context, const string &sql, optional_ptr<RemoteCatalog> names) {
	try {
		return Draw(context, sql, names);
	} catch (const std::exception &exception) {
		// DuckDB would point at a place in the statement that runs.
		ErrorData error(exception);
		error.AddErrorLocation(sql);
		error.Throw();
	}
}

} // namespace duckherder
