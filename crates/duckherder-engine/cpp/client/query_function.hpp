// duckherder_query(alias, sql, parameters...): runs a statement on a driver and is its rows.
#pragma once

#include "remote_scan.hpp"
#include "duckdb/function/function_set.hpp"
#include "duckdb/parser/tableref.hpp"

namespace duckherder {

extern const char *const QUERY_FUNCTION;

//! What a pushed-down statement tells its function beside the text.
struct PushedStatement : public duckdb::TableFunctionInfo {
	bool changes_catalog = false;
	duckdb::vector<duckdb::string> parameter_names;
};

struct QueryData : public duckdb::TableFunctionData {
	QueryData(RemoteCatalog &catalog, RemoteStatement statement) : catalog(catalog), statement(std::move(statement)) {
	}
	~QueryData() override;

	RemoteCatalog &catalog;
	RemoteStatement statement;
	duckdb::shared_ptr<CatalogSession> session;
	uint64_t statement_id = 0;
	duckdb::StatementReturnType kind = duckdb::StatementReturnType::QUERY_RESULT;
	bool read_only = true;
	bool changes_catalog = false;
	duckdb::vector<duckdb::pair<duckdb::string, duckdb::Value>> parameters;
	duckdb::unique_ptr<ArrowSourceColumns> columns;
	//! Set once the statement was executed: the driver forgets it then by itself.
	mutable std::atomic<bool> started {false};

	//! A statement runs once; the next execution binds it anew.
	bool SupportStatementCache() const override {
		return false;
	}
};

//! The call of the function for a statement that concerns one driver alone.
duckdb::unique_ptr<duckdb::TableRef> QueryFunctionRef(const duckdb::Identifier &catalog, const duckdb::string &sql,
                                                      const duckdb::vector<duckdb::Identifier> &parameters,
                                                      bool changes_catalog);
duckdb::TableFunctionSet QueryFunctions();
bool IsQueryFunction(const duckdb::BoundTableFunction &function);
//! Prepares the statement on the driver.
duckdb::unique_ptr<QueryData> BindQuery(duckdb::ClientContext &context, RemoteCatalog &catalog, RemoteStatement statement,
                                        const duckdb::vector<duckdb::pair<duckdb::string, duckdb::Value>> &parameters,
                                        bool changes_catalog);

} // namespace duckherder
