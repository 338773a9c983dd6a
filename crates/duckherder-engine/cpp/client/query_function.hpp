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
	//! It gives one row, the count of changed rows: the driver is asked for nothing before it runs.
	bool counts = false;
	duckdb::vector<duckdb::string> parameter_names;
};

//! A statement that was prepared on the driver, and perhaps started: forgotten there unless it is taken to be executed.
class PreparedStatement {
public:
	explicit PreparedStatement(duckdb::shared_ptr<CatalogSession> session_p) : session(std::move(session_p)) {
	}
	~PreparedStatement() {
		Forget();
	}

	void Set(uint64_t number_p) {
		number = number_p;
	}
	//! Its number in the session, given out once; nothing if it has to be prepared again.
	duckdb::optional_idx Take() {
		auto result = number;
		number = duckdb::optional_idx();
		return result;
	}
	//! Has the driver forget it, and stop it if it runs.
	void Forget() {
		auto known = Take();
		if (known.IsValid()) {
			session->session.CloseStatement(known.GetIndex());
		}
	}

	const duckdb::shared_ptr<CatalogSession> session;

private:
	duckdb::optional_idx number;
};

struct QueryData : public duckdb::TableFunctionData {
	QueryData(RemoteCatalog &catalog, RemoteStatement statement, duckdb::shared_ptr<CatalogSession> session)
	    : catalog(catalog), statement(std::move(statement)),
	      prepared(duckdb::make_shared_ptr<PreparedStatement>(std::move(session))) {
	}

	RemoteCatalog &catalog;
	RemoteStatement statement;
	duckdb::shared_ptr<PreparedStatement> prepared;
	duckdb::StatementReturnType kind = duckdb::StatementReturnType::QUERY_RESULT;
	bool read_only = true;
	bool changes_catalog = false;
	RemoteParameters parameters;
	duckdb::unique_ptr<ArrowSourceColumns> columns;
	//! Set once the statement was executed.
	mutable std::atomic<bool> started {false};

	//! A statement runs once; the next execution binds it anew.
	bool SupportStatementCache() const override {
		return false;
	}
};

//! The call of the function for a statement that concerns one driver alone.
duckdb::unique_ptr<duckdb::TableRef> QueryFunctionRef(const duckdb::Identifier &catalog, const duckdb::string &sql,
                                                      const duckdb::vector<duckdb::Identifier> &parameters,
                                                      duckdb::shared_ptr<PushedStatement> info);
duckdb::TableFunctionSet QueryFunctions();
//! The call of the function that is the whole plan, if it is.
duckdb::optional_ptr<duckdb::LogicalGet> FindWholeQuery(duckdb::LogicalOperator &plan);
bool IsQueryFunction(const duckdb::BoundTableFunction &function);
//! Prepares the statement on the driver, and starts it there if `start` says so.
duckdb::unique_ptr<QueryData> BindQuery(duckdb::ClientContext &context, RemoteCatalog &catalog, RemoteStatement statement,
                                        const RemoteParameters &parameters, bool changes_catalog, DhStart start);

//! If the statement that is being bound is a PREPARE, has the driver bind `sql`, whose parameters have no values yet: what is
//! wrong with it all the same comes out now.
void CheckPrepared(duckdb::ClientContext &context, RemoteCatalog &catalog, const duckdb::string &sql);

//! The word that the running statement begins with, "(" for a bracket; nothing if none runs, or it begins otherwise.
duckdb::string FirstWord(duckdb::ClientContext &context);

} // namespace duckherder
