// The tasks of a stage while they run, and whoever reads their rows.
#pragma once

#include "exchange.hpp"

#include "duckdb/execution/physical_operator.hpp"

#include <atomic>
#include <mutex>

namespace duckherder {

//! The tasks of one execution.
class RunningExchange : public duckdb::GlobalSourceState {
public:
	RunningExchange(duckdb::shared_ptr<DistributedQuery> query, duckdb::idx_t stage);
	~RunningExchange() override;

	//! Starts the tasks, once, when the first row is asked for: HAVE_MORE_OUTPUT once they have started. BLOCKED while
	//! another thread starts them: `interrupt` is parked. (A thread of DuckDB's that waited for it could run none of the
	//! tasks that have begun.) FINISHED if nobody wants rows any more.
	duckdb::SourceResultType Start(duckdb::ClientContext &context, const duckdb::InterruptState &interrupt);

	duckdb::idx_t MaxThreads() override {
		// One a task; how many there are is not known before they start.
		return one_reader ? 1 : duckdb::NumericLimits<uint32_t>::Maximum();
	}

	//! The columns of Arrow batches, read once.
	const ArrowSourceColumns &Columns(duckdb::ClientContext &context);
	//! The columns that tasks send.
	const duckdb::vector<duckdb::LogicalType> &Types() const {
		return query->stages[stage].types;
	}

	duckdb::shared_ptr<DistributedQuery> query;
	duckdb::idx_t stage;
	//! Where tasks put the files that they write, if they do.
	duckdb::string directory;
	std::atomic<duckdb::idx_t> next_partition {0};
	//! Tasks whose rows have been read to their end.
	std::atomic<duckdb::idx_t> read_partitions {0};
	//! Each task has one row, the states of aggregates without groups; or no more rows than one thread of DuckDB's reads
	//! of a table come in an order that shows somewhere above.
	bool one_reader = false;
	//! One reader is to have all rows: it has come.
	std::atomic<bool> claimed {false};
	duckdb::idx_t partitions = 0;
	void *exchange = nullptr;

protected:
	//! Lets go of the tasks, those that still run, too.
	void Stop();

private:
	enum class Phase { NOT_STARTED, STARTING, STARTED };

	void StartTasks(duckdb::ClientContext &context);

	//! Under `lock`.
	Phase phase = Phase::NOT_STARTED;
	//! Why the tasks did not start.
	std::exception_ptr problem;
	std::mutex columns_lock;
	duckdb::unique_ptr<ArrowSourceColumns> columns;
};

//! Reads tasks, one after the other.
class ExchangeReader : public duckdb::LocalSourceState {
public:
	//! Begins to read a task.
	void Open(duckdb::idx_t partition_p) {
		partition = partition_p;
		rows = 0;
	}
	//! The next rows of the task; FINISHED once it has no more, and is no longer open. BLOCKED: `interrupt` is parked.
	duckdb::SourceResultType Read(duckdb::ClientContext &context, RunningExchange &global,
	                              const duckdb::InterruptState &interrupt, duckdb::DataChunk &output);

	duckdb::optional_idx partition;
	//! Another reader has all rows.
	bool idle = false;
	//! How often EXPLAIN ANALYZE was shown the tasks before their end.
	duckdb::idx_t shown = 0;

private:
	//! The next rows of the Arrow batch at hand.
	bool ReadBatch(duckdb::DataChunk &output);
	void SetBatch(duckdb::ClientContext &context, RunningExchange &global, ArrowArray &array);

	//! Rows of the task read so far.
	duckdb::idx_t rows = 0;
	duckdb::unique_ptr<ArrowBatchReader> arrow;
	//! What `arrow` fills: states as plain structures.
	duckdb::DataChunk received;
};

//! The rows of a stage's tasks, in the order of the tasks or, if they have none, as they come.
class PhysicalExchange : public duckdb::PhysicalOperator {
public:
	PhysicalExchange(duckdb::PhysicalPlan &plan, duckdb::shared_ptr<DistributedQuery> query, duckdb::idx_t stage,
	                 duckdb::vector<duckdb::LogicalType> types, duckdb::idx_t rows);

	duckdb::string GetName() const override {
		return "DUCKHERDER_EXCHANGE";
	}
	duckdb::InsertionOrderPreservingMap<duckdb::string> ParamsToString() const override;

	bool IsSource() const override {
		return true;
	}
	bool ParallelSource() const override {
		return true;
	}
	bool SupportsPartitioning(const duckdb::OperatorPartitionInfo &info) const override {
		return !info.RequiresPartitionColumns();
	}
	duckdb::OperatorPartitionData GetPartitionData(duckdb::ExecutionContext &, duckdb::DataChunk &,
	                                               duckdb::GlobalSourceState &, duckdb::LocalSourceState &local,
	                                               const duckdb::OperatorPartitionInfo &) const override;
	duckdb::unique_ptr<duckdb::GlobalSourceState> GetGlobalSourceState(duckdb::ClientContext &) const override;
	duckdb::unique_ptr<duckdb::LocalSourceState> GetLocalSourceState(duckdb::ExecutionContext &,
	                                                                 duckdb::GlobalSourceState &) const override;

	duckdb::shared_ptr<DistributedQuery> query;
	duckdb::idx_t stage;

protected:
	//! Whether what one thread makes of its rows would be put together with another's in any order.
	bool NeedsOneReader(duckdb::Pipeline &pipeline) const;
	//! EXPLAIN ANALYZE took its lines before the tasks ran. To be called by the one who has read the last row; what other
	//! readers took goes with `HideTasks`.
	void ShowTasks(duckdb::ExecutionContext &context, RunningExchange &exchange) const;
	//! What the tasks have done so far: whoever wants no more rows does not say so.
	void ShowTasksSoFar(duckdb::ExecutionContext &context) const;
	//! The lines of a reader that is done before others would otherwise take the place of what the last one shows.
	void HideTasks(duckdb::ExecutionContext &context) const;
	duckdb::SourceResultType GetDataInternal(duckdb::ExecutionContext &context, duckdb::DataChunk &output,
	                                         duckdb::OperatorSourceInput &input) const override;
};

//! The rows of tasks that are sorted each by their last column, which goes no further, in that order.
class PhysicalSortMerge : public PhysicalExchange {
public:
	using PhysicalExchange::PhysicalExchange;

	bool ParallelSource() const override {
		return false;
	}
	duckdb::OrderPreservationType SourceOrder() const override {
		return duckdb::OrderPreservationType::FIXED_ORDER;
	}
	//! One batch of all rows would be collected before any is written.
	bool SupportsPartitioning(const duckdb::OperatorPartitionInfo &) const override {
		return false;
	}
	duckdb::unique_ptr<duckdb::LocalSourceState> GetLocalSourceState(duckdb::ExecutionContext &,
	                                                                 duckdb::GlobalSourceState &) const override;

protected:
	duckdb::SourceResultType GetDataInternal(duckdb::ExecutionContext &context, duckdb::DataChunk &output,
	                                         duckdb::OperatorSourceInput &input) const override;
};

} // namespace duckherder
