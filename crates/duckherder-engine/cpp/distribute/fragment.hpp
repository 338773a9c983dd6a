// The part of a plan that tasks run: SQL over the name `split_0`, kept as a syntax tree.
#pragma once

#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/qualified_name.hpp"
#include "duckdb/planner/logical_operator.hpp"

namespace duckdb {
class LogicalGet;
class LogicalAggregate;
class TableCatalogEntry;
class ExtensionLoader;
} // namespace duckdb

extern "C" {
//! Which rows a task reads; `Split` in the planner.
struct DhSplit {
	//! -1: open.
	int64_t first;
	int64_t last;
	//! 0: a range; otherwise `rowid % divisor = remainder`.
	int64_t divisor;
	int64_t remainder;
};
}

namespace duckherder {

class Fragment {
public:
	//! `query` reads the table of `scan` under its own name; from here on it is called split_0.
	Fragment(duckdb::unique_ptr<duckdb::QueryNode> query, const duckdb::LogicalGet &scan);

	//! The SQL that every task runs, over `split_0`.
	duckdb::string ToString() const;
	//! The same for a task elsewhere: states, which Arrow doesn't know, travel as the plain values that they are.
	duckdb::unique_ptr<duckdb::QueryNode> RemoteQuery() const;
	//! The rows of one split, as a query of the driver's database.
	duckdb::unique_ptr<duckdb::QueryNode> SplitQuery(const DhSplit &split) const;
	//! The SQL of one task where the table itself can be read.
	duckdb::unique_ptr<duckdb::QueryNode> TaskQuery(const DhSplit &split) const;
	//! The types that the fragment's columns have. Binds it.
	const duckdb::vector<duckdb::LogicalType> &BindTypes(duckdb::ClientContext &context);

	duckdb::unique_ptr<Fragment> Copy() const;

private:
	Fragment() = default;

	duckdb::unique_ptr<duckdb::QueryNode> query;
	duckdb::QualifiedName table;
	duckdb::vector<duckdb::Identifier> columns;
	//! Known once bound.
	duckdb::vector<duckdb::LogicalType> types;
};

//! The type that carries an aggregate's state; any other type is its own.
duckdb::LogicalType WithoutState(const duckdb::LogicalType &type);

//! SQL name of the function that takes the name off a state.
constexpr const char *STATE_VALUE_FUNCTION = "duckherder_state_value";
void RegisterStateValue(duckdb::ExtensionLoader &loader);

//! A fragment and what its columns are in the plan.
struct ExportedPlan {
	duckdb::unique_ptr<duckdb::QueryNode> query;
	duckdb::vector<duckdb::ColumnBinding> bindings;
	duckdb::vector<duckdb::LogicalType> types;
};

//! `op` as SQL. Throws NotImplementedException if DuckDB can't write it.
ExportedPlan ExportSubtree(duckdb::ClientContext &context, duckdb::LogicalOperator &op);
//! `aggregate` as SQL that exports states: its groups, then a state an aggregate. The bindings are those of `aggregate`.
ExportedPlan ExportPartialAggregate(duckdb::ClientContext &context, duckdb::LogicalAggregate &aggregate);

} // namespace duckherder
