// Reading a driver's rows in a table function: several threads take batches in turn, parked while none has come.
#pragma once

#include "catalog.hpp"
#include "duckdb/function/table_function.hpp"

#include <atomic>
#include <deque>

namespace duckherder {

class RemoteScanGlobal : public duckdb::GlobalTableFunctionState {
public:
	//! `column_ids`: the column of the source for each column of the output.
	RemoteScanGlobal(duckdb::ClientContext &context, duckdb::shared_ptr<ArrowSource> source,
	                 const ArrowSourceColumns &columns, duckdb::vector<duckdb::column_t> column_ids);
	~RemoteScanGlobal() override;

	//! Reads everything at once: a statement that changes something must not depend on how many rows are fetched.
	void ReadAll(duckdb::ClientContext &context);
	//! The next batch and its number; as ArrowSource::Poll.
	DhPoll Next(duckdb::ClientContext &context, duckdb::TableFunctionInput &input, ArrowArray &array,
	            duckdb::idx_t &batch_index);

	//! Percent, for DuckDB's progress bar: all of it once the last row has come.
	double Progress() const;

	duckdb::idx_t MaxThreads() const override {
		return max_threads;
	}

	const ArrowSourceColumns &columns;
	const duckdb::vector<duckdb::column_t> column_ids;

private:
	duckdb::shared_ptr<ArrowSource> source;
	const duckdb::idx_t max_threads;
	std::mutex lock;
	duckdb::idx_t next_batch = 0;
	std::atomic<bool> complete {false};
	std::deque<duckdb::unique_ptr<duckdb::ArrowArrayWrapper>> stored;
};

//! The parts that the table functions of a client have in common.
duckdb::unique_ptr<duckdb::LocalTableFunctionState> InitRemoteScanLocal(duckdb::ExecutionContext &context,
                                                                        duckdb::TableFunctionInitInput &input,
                                                                        duckdb::GlobalTableFunctionState *global);
double RemoteScanProgress(duckdb::ClientContext &context, const duckdb::FunctionData *bind_data,
                          const duckdb::GlobalTableFunctionState *global);
void RemoteScanNext(duckdb::ClientContext &context, duckdb::TableFunctionInput &input, duckdb::DataChunk &output);
duckdb::OperatorPartitionData RemoteScanPartition(duckdb::ClientContext &context,
                                                  duckdb::TableFunctionGetPartitionInput &input);

} // namespace duckherder
