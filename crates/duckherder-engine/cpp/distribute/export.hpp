// Subtrees of a plan as fragments.
#pragma once

#include "fragment.hpp"
#include "keys.hpp"

#include <functional>

namespace duckherder {

//! Takes back what was done to a plan, the last change first, unless it is to stay.
class Undo {
public:
	~Undo() {
		while (!steps.empty()) {
			steps.back()();
			steps.pop_back();
		}
	}
	void Add(std::function<void()> step) {
		steps.push_back(std::move(step));
	}
	void Forget() {
		steps.clear();
	}

private:
	duckdb::vector<std::function<void()>> steps;
};

//! A scan of a plan, and its files, if it is one of files that workers can read.
struct PlanScan {
	duckdb::reference<duckdb::LogicalGet> get;
	FoundFiles files;
};
//! Whether the scan can be asked for rows by a range of the column: it is read as the table, or the files, have it.
bool HasRange(const PlanScan &scan, const duckdb::ColumnIndex &index);
//! All scans of a plan, by number: in preorder.
using Scans = duckdb::vector<PlanScan>;
Scans FindScans(duckdb::ClientContext &context, duckdb::LogicalOperator &root);

//! A fragment and what its columns are in the plan.
struct ExportedPlan {
	duckdb::unique_ptr<Fragment> fragment;
	duckdb::vector<duckdb::ColumnBinding> bindings;
};

//! What a reader needs of rows.
struct Wanted {
	const ShuffleKeys &keys;
	//! `hash(keys)` as another last column, NULL for rows that meet no other.
	bool hashed;
	//! They go to other tasks: the states of aggregates as plain values.
	bool to_tasks;
	//! Equal rows once.
	bool distinct;
};

//! `op` as SQL. Throws NotImplementedException if DuckDB can't write it. Its scans are replaced by inputs, which `undo`
//! takes back.
ExportedPlan ExportSubtree(duckdb::ClientContext &context, duckdb::unique_ptr<duckdb::LogicalOperator> &op,
                           const Scans &scans, const Wanted &wanted, Undo &undo);
//! `order` as SQL that sorts, with the key that it sorts by as another last column. The bindings are those of `order`.
ExportedPlan ExportSort(duckdb::ClientContext &context, duckdb::LogicalOrder &order, const Scans &scans, Undo &undo);
//! `aggregate` as SQL that exports states: its groups, then a state an aggregate. The bindings are those of
//! `aggregate`.
ExportedPlan ExportPartialAggregate(duckdb::ClientContext &context, duckdb::LogicalAggregate &aggregate,
                                    const Scans &scans, Undo &undo);
//! A fragment that exports states, for other tasks: the states as plain values, and the hash of these of its columns, if
//! there are any, as another last column.
duckdb::unique_ptr<Fragment> PlainStates(duckdb::ClientContext &context, const Fragment &states,
                                         const duckdb::vector<uint64_t> &hashed);

} // namespace duckherder
