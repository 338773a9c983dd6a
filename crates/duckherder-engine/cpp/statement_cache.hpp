// Statements that a connection runs again and again, without parsing and planning them each time.
#pragma once

#include "changes.hpp"

#include "duckdb/main/client_context.hpp"
#include "duckdb/main/connection.hpp"
#include "duckdb/main/prepared_statement_data.hpp"

#include <list>

struct DhConnection;

namespace duckdb {
class Planner;
}

namespace duckherder {

using Parameters = duckdb::identifier_map_t<duckdb::BoundParameterData>;

//! A plan that is run several times.
struct KeptPlan {
	duckdb::shared_ptr<duckdb::PreparedStatementData> data;
	bool reads_rows = false;
	//! Its next run is to be planned anew.
	bool once = false;
	//! `writers_begun` before it was made.
	uint64_t version = 0;
};

//! A statement on its way to DuckDB.
struct ReadyStatement {
	duckdb::unique_ptr<duckdb::SQLStatement> statement;
	//! What the text is, also if `statement` executes a plan of it.
	duckdb::StatementType type;
	Reach reach;
	//! For the statement as it was written; a plan has its own.
	Parameters parameters;
	duckdb::shared_ptr<KeptPlan> plan;
};

//! A statement that no plan is kept of.
ReadyStatement AsWritten(duckdb::unique_ptr<duckdb::SQLStatement> statement, Parameters parameters);

//! A run of a plan that `sql` has.
ReadyStatement ExecutionOf(const duckdb::shared_ptr<KeptPlan> &plan, const duckdb::string &sql);
//! What DuckDB knows of a statement that it prepares, without the plan, which `planner` has.
duckdb::shared_ptr<duckdb::PreparedStatementData> PrepareUnbound(duckdb::Planner &planner,
                                                                 const duckdb::SQLStatement &statement);

class PlanGuard;

//! A plan under a name that DuckDB knows while this lives: during a submission, so that nobody else meets it.
class OfferedPlan {
public:
	OfferedPlan(duckdb::ClientContext &context, PlanGuard &guard, const duckdb::shared_ptr<KeptPlan> &plan);
	~OfferedPlan();
	OfferedPlan(const OfferedPlan &) = delete;

private:
	duckdb::ClientContext &context;
	PlanGuard &guard;
};

//! The last few texts of one connection. What came once is remembered by its text; what comes again is parsed for good
//! and, if its plan can be used again, planned for good:
//!
//! - an INSERT of VALUES, or a query without tables: its plan depends on names and settings only;
//! - a query of tables without parameters: DuckDB may have put the rows' statistics, even their number,
//!   into the plan, so it holds as long as nobody may have changed a row.
class StatementCache {
public:
	StatementCache(duckdb::ClientContext &context, duckdb::shared_ptr<DatabaseChanges> changes);
	~StatementCache();

	//! The statement of `sql`, to be run in `context` right away.
	ReadyStatement Take(DhConnection &connection, const duckdb::string &sql, Parameters parameters);
	//! Makes the statement's plan, if it has one, known to DuckDB.
	duckdb::unique_ptr<OfferedPlan> Offer(duckdb::ClientContext &context, const ReadyStatement &ready);
	//! To be called before a statement starts, and kept until its commit is over.
	duckdb::unique_ptr<ChangeMark> Mark(duckdb::ClientContext &context, Reach reach);

private:
	struct Known;

	Known &Remember(const duckdb::string &sql);
	void Plan(duckdb::ClientContext &context, Known &known);
	bool Execute(duckdb::ClientContext &context, const Known &known, const Parameters &parameters,
	             ReadyStatement &ready);

	duckdb::shared_ptr<DatabaseChanges> changes;
	duckdb::shared_ptr<PlanGuard> guard;
	uint64_t generation = 0;
	//! Whether the open transaction has changed more than rows.
	bool changed_anything = false;
	//! The last one used comes first.
	std::list<Known> statements;
};

//! The one statement of a text, as the connection's session understands it.
duckdb::unique_ptr<duckdb::SQLStatement> ParseOne(DhConnection &connection, const duckdb::string &sql);

} // namespace duckherder
