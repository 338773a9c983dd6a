// The end of a local plan whose rows go to a statement on the driver, as Arrow, with back-pressure.
#pragma once

#include "catalog.hpp"
#include "duckdb/execution/physical_operator.hpp"

namespace duckherder {

//! The relation that the rows are in the driver's statement.
extern const char *const INPUT_NAME;

//! One column that travels: where it stands in the input, and its name in `duckherder_input`.
struct SinkColumn {
	duckdb::idx_t input_index;
	duckdb::string name;
	duckdb::LogicalType type;
};

struct SinkGlobal;

class RemoteSink : public duckdb::PhysicalOperator {
public:
	static constexpr const duckdb::PhysicalOperatorType TYPE = duckdb::PhysicalOperatorType::EXTENSION;

	//! `returns_rows`: whether the statement has a RETURNING clause with the columns `types`; otherwise the operator
	//! gives the number of changed rows.
	RemoteSink(duckdb::PhysicalPlan &plan, RemoteCatalog &catalog, duckdb::string sql,
	           duckdb::vector<SinkColumn> columns, duckdb::vector<duckdb::LogicalType> types, bool returns_rows,
	           bool changes_catalog, bool parallel, duckdb::idx_t estimated_cardinality);

	duckdb::string GetName() const override {
		return "DUCKHERDER_INGEST";
	}
	duckdb::InsertionOrderPreservingMap<duckdb::string> ParamsToString() const override;

	bool IsSink() const override {
		return true;
	}
	bool ParallelSink() const override {
		return parallel;
	}
	bool SinkOrderDependent() const override {
		return !parallel;
	}
	duckdb::unique_ptr<duckdb::GlobalSinkState> GetGlobalSinkState(duckdb::ClientContext &context) const override;
	duckdb::unique_ptr<duckdb::LocalSinkState> GetLocalSinkState(duckdb::ExecutionContext &context) const override;
	duckdb::SinkResultType Sink(duckdb::ExecutionContext &context, duckdb::DataChunk &chunk,
	                            duckdb::OperatorSinkInput &input) const override;
	duckdb::SinkCombineResultType Combine(duckdb::ExecutionContext &context,
	                                      duckdb::OperatorSinkCombineInput &input) const override;
	duckdb::SinkFinalizeType Finalize(duckdb::Pipeline &pipeline, duckdb::Event &event, duckdb::ClientContext &context,
	                                  duckdb::OperatorSinkFinalizeInput &input) const override;

	bool IsSource() const override {
		return true;
	}
	duckdb::unique_ptr<duckdb::GlobalSourceState> GetGlobalSourceState(duckdb::ClientContext &context) const override;

protected:
	duckdb::SourceResultType GetDataInternal(duckdb::ExecutionContext &context, duckdb::DataChunk &chunk,
	                                         duckdb::OperatorSourceInput &input) const override;

private:
	duckdb::vector<duckdb::LogicalType> ColumnTypes() const;
	void Begin(duckdb::ClientContext &context, SinkGlobal &global) const;
	duckdb::unique_ptr<Ingest> BeginIngest(duckdb::ClientContext &context, CatalogSession &session) const;

	RemoteCatalog &catalog;
	const duckdb::string sql;
	const duckdb::vector<SinkColumn> columns;
	const bool returns_rows;
	const bool changes_catalog;
	const bool parallel;
};

} // namespace duckherder
