// Carrying out what the planner decided about a plan.
#pragma once

#include "distributor.hpp"
#include "exchange.hpp"
#include "export.hpp"

#include "duckdb/optimizer/optimizer.hpp"

namespace duckherder {

//! A cut as C++ keeps it.
struct PlannedCut {
	explicit PlannedCut(const DhCut &cut_p)
	    : cut(cut_p), keys(cut_p.keys, cut_p.keys + cut_p.key_count),
	      columns(cut_p.columns, cut_p.columns + cut_p.column_count) {
	}
	DhCut cut;
	duckdb::vector<uint64_t> keys;
	duckdb::vector<DhColumn> columns;
};

//! A plan that is being cut: where its operators are, and how to take everything back.
class PlanCutter {
public:
	PlanCutter(duckdb::Optimizer &optimizer, duckdb::unique_ptr<duckdb::LogicalOperator> &root, const Scans &scans);

	//! Makes the stages of `query`, those first whose rows others read. Throws NotImplementedException if DuckDB can't
	//! write one of them as SQL; the plan is then as it was, and `failed` the operator at which that stage was cut.
	void Cut(duckdb::shared_ptr<DistributedQuery> query, const duckdb::vector<PlannedCut> &cuts, uint64_t &failed);

private:
	using Place = duckdb::unique_ptr<duckdb::LogicalOperator>;

	void CutSubtree(duckdb::shared_ptr<DistributedQuery> query, const PlannedCut &planned, Undo &undo);
	//! The same, where each task writes its rows to a file.
	void CutWrite(duckdb::shared_ptr<DistributedQuery> query, const PlannedCut &planned, Undo &undo);
	//! The operator as SQL whose rows the reader of the cut can take.
	ExportedPlan ExportForReader(const PlannedCut &planned, Place &place, const ShuffleKeys &keys, Undo &undo);
	//! Every reader of the CTE reads the stage's rows.
	void Share(duckdb::shared_ptr<DistributedQuery> query, Place &cte_place, Undo &undo);
	void CutCopy(duckdb::shared_ptr<DistributedQuery> query, const PlannedCut &planned, Undo &undo);
	void CutAggregate(duckdb::shared_ptr<DistributedQuery> query, const PlannedCut &planned, Undo &undo);
	void CutSort(duckdb::shared_ptr<DistributedQuery> query, const DhCut &cut, Undo &undo);
	//! What a stage gives beside the columns of the operator that it is cut at, as its last column.
	enum class LastColumn { NONE, HASH, SORT_KEY };
	//! Puts the rows of the stage that is made of `exported` in the place of the operator.
	void Replace(duckdb::shared_ptr<DistributedQuery> query, Place &place, ExportedPlan exported, LastColumn last,
	             Undo &undo);
	//! Binds the SQL of the operator and checks that it gives the operator's columns; returns their types.
	duckdb::vector<duckdb::LogicalType> CheckedTypes(Place &place, ExportedPlan &exported, LastColumn last);
	ShuffleKeys KeysOfCut(const PlannedCut &planned);
	//! The operator, as the place that owns it.
	Place &Find(uint64_t number);

	duckdb::Optimizer &optimizer;
	Place &root;
	duckdb::vector<duckdb::reference<Place>> places;
	const Scans &scans;
};

//! Puts `made` in the place of what is there, until undone.
void ReplaceUntilUndone(duckdb::unique_ptr<duckdb::LogicalOperator> &place,
                        duckdb::unique_ptr<duckdb::LogicalOperator> made, Undo &undo);

//! What the driver does with the states of a partial aggregate: combine, finalize. `place` holds the aggregate,
//! somewhere below `root`.
void MergeStates(duckdb::Optimizer &optimizer, duckdb::unique_ptr<duckdb::LogicalOperator> &root,
                 duckdb::unique_ptr<duckdb::LogicalOperator> &place, duckdb::shared_ptr<DistributedQuery> query,
                 const duckdb::vector<duckdb::LogicalType> &types, Undo &undo);

} // namespace duckherder
