// Statements of the user that DuckDB runs as several: ALTER TABLE ... ADD COLUMN ... NOT NULL, PIVOT, IMPORT DATABASE.
#pragma once

#include "duckdb/main/active_query_context.hpp"
#include "duckdb/main/client_context.hpp"

namespace duckherder {

//! Lends a private member; C++ lets an explicit instantiation name it.
template <class TAG, typename TAG::Member MEMBER>
struct Lend {
	friend typename TAG::Member Lent(TAG) {
		return MEMBER;
	}
};

struct ActiveQueryOfContext {
	using Member = duckdb::unique_ptr<duckdb::ActiveQueryContext> duckdb::ClientContext::*;
	friend Member Lent(ActiveQueryOfContext);
};
template struct Lend<ActiveQueryOfContext, &duckdb::ClientContext::active_query>;

//! Whether the running statement is one of several that the user's own was expanded into. DuckDB runs them in one
//! transaction, and tells no one: the hooks for a query's beginning and end are called once for all of them.
inline bool IsOneOfSeveralStatements(duckdb::ClientContext &context) {
	auto &active = context.*Lent(ActiveQueryOfContext());
	return active && active->ExpandsIntoSeveral();
}

} // namespace duckherder
