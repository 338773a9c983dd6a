// What happens to a database that a plan made earlier may not know of.
#pragma once

#include "duckdb/common/enums/statement_type.hpp"
#include "duckdb/common/shared_ptr.hpp"
#include "duckdb/parser/sql_statement.hpp"

#include <atomic>

namespace duckherder {

//! Counts what the connections of one database do; shared by them.
struct DatabaseChanges {
	//! Statements that may change rows, or end a transaction that did: those that have begun, those that are over.
	std::atomic<uint64_t> writers_begun {0};
	std::atomic<uint64_t> writers_ended {0};
	//! Rises with all else that plans depend on: names, settings, extensions, workers.
	std::atomic<uint64_t> generation {0};
};

//! How much a statement may change.
enum class Reach { NOTHING, ROWS, SESSION, ANYTHING };

Reach ReachOf(const duckdb::SQLStatement &statement);

//! From before a statement starts until its commit is over.
class ChangeMark {
public:
	ChangeMark(duckdb::shared_ptr<DatabaseChanges> changes, Reach reach);
	~ChangeMark();
	ChangeMark(const ChangeMark &) = delete;

private:
	duckdb::shared_ptr<DatabaseChanges> changes;
	Reach reach;
};

} // namespace duckherder
