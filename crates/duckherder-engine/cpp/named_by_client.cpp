#include "named_by_client.hpp"

#include "bridge.hpp"
#include "connection.hpp"
#include "database_renamer.hpp"
#include "query_of.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/table_function_catalog_entry.hpp"
#include "duckdb/main/client_context_state.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const NAME_STATE = "duckherder_clients_name";

//! What the client of a connection calls its database.
struct ClientsName : public ClientContextState {
	Identifier name;
};

//! DuckDB's own way of binding a function.
struct OwnBind : public TableFunctionInfo {
	explicit OwnBind(table_function_bind_replace_t bind) : bind(bind) {
	}
	const table_function_bind_replace_t bind;
};

static unique_ptr<TableRef> BindNamed(ClientContext &context, TableFunctionBindInput &input) {
	auto bound = input.info->Cast<OwnBind>().bind(context, input);
	auto client = context.registered_state->Get<ClientsName>(NAME_STATE);
	if (client && !client->name.empty() && bound && bound->type == TableReferenceType::SUBQUERY) {
		auto &query = *bound->Cast<SubqueryRef>().subquery->node;
		NameByText(query, [](const ParsedExpression &) { return true; });
		DatabaseRenamer renamer(client->name, DatabaseManager::GetDefaultDatabase(context), 2);
		renamer.Rename(query);
	}
	return bound;
}

void RegisterNamedByClient(DatabaseInstance &instance) {
	auto transaction = CatalogTransaction::GetSystemTransaction(instance);
	auto &schema = Catalog::GetSystemCatalog(instance).GetSchema(transaction, Identifier(DEFAULT_SCHEMA));
	for (auto name : {"query", "query_table"}) {
		EntryLookupInfo lookup(CatalogType::TABLE_FUNCTION_ENTRY, QualifiedName(Identifier(name)));
		auto entry = schema.LookupEntry(transaction, lookup);
		if (!entry || entry->type != CatalogType::TABLE_FUNCTION_ENTRY) {
			continue;
		}
		// Nobody uses the instance yet. (A table function can't be registered a second time.)
		for (auto &known : entry->Cast<TableFunctionCatalogEntry>().functions.functions) {
			TableFunction function(*known);
			function.function_info = make_shared_ptr<OwnBind>(known->bind_replace);
			function.bind_replace = BindNamed;
			known = make_shared_ptr<const TableFunction>(std::move(function));
		}
	}
}

} // namespace duckherder

using namespace duckherder; // NOLINT

extern "C" {

//! The client calls the connection's database so; see RegisterNamedByClient.
bool dh_connection_call_database(DhConnection *connection, DhText name, DhError *error) {
	return Guard(error, false, [&]() {
		auto mark = connection->statements->Mark(*connection->context, Reach::SESSION);
		auto state = connection->context->registered_state->GetOrCreate<ClientsName>(NAME_STATE);
		state->name = Identifier(ToString(name));
		return true;
	});
}

} // extern "C"
