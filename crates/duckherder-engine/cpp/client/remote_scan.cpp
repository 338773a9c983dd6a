#include "remote_scan.hpp"

#include "duckdb/common/exception.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parallel/task_scheduler.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! More threads than this don't convert faster than one connection delivers.
static constexpr idx_t MAX_SCAN_THREADS = 4;

RemoteScanGlobal::RemoteScanGlobal(ClientContext &context, shared_ptr<ArrowSource> source_p,
                                   const ArrowSourceColumns &columns_p, vector<column_t> column_ids_p)
    : columns(columns_p), column_ids(std::move(column_ids_p)), source(std::move(source_p)),
      max_threads(MinValue<idx_t>(MAX_SCAN_THREADS,
                                  NumericCast<idx_t>(TaskScheduler::GetScheduler(context).NumberOfThreads()))) {
}

RemoteScanGlobal::~RemoteScanGlobal() {
}

void RemoteScanGlobal::ReadAll(ClientContext &context) {
	std::lock_guard<std::mutex> guard(lock);
	while (true) {
		auto batch = make_uniq<ArrowArrayWrapper>();
		if (!source->Wait(context, 0, batch->arrow_array)) {
			break;
		}
		stored.push_back(std::move(batch));
	}
	complete = true;
}

DhPoll RemoteScanGlobal::Next(ClientContext &context, TableFunctionInput &input, ArrowArray &array,
                              idx_t &batch_index) {
	auto can_park = input.interrupt_state && input.interrupt_state->CanCallback() &&
	                input.results_execution_mode == AsyncResultsExecutionMode::TASK_EXECUTOR;
	std::lock_guard<std::mutex> guard(lock);
	if (!stored.empty()) {
		array = stored.front()->arrow_array;
		stored.front()->arrow_array.release = nullptr;
		stored.pop_front();
		batch_index = next_batch++;
		return DH_POLL_BATCH;
	}
	if (complete) {
		return DH_POLL_END;
	}
	DhPoll found;
	if (can_park) {
		found = source->Poll(0, *input.interrupt_state, array);
	} else {
		found = source->Wait(context, 0, array) ? DH_POLL_BATCH : DH_POLL_END;
	}
	if (found == DH_POLL_BATCH) {
		batch_index = next_batch++;
	}
	complete = found == DH_POLL_END;
	return found;
}

double RemoteScanGlobal::Progress() const {
	// The rows are not here before they are here.
	static constexpr double MOST = 99;
	return complete ? 100 : MaxValue<double>(source->Progress(), 0) * MOST;
}

double RemoteScanProgress(ClientContext &, const FunctionData *, const GlobalTableFunctionState *global) {
	return global->Cast<RemoteScanGlobal>().Progress();
}

struct RemoteScanLocal : public LocalTableFunctionState {
	RemoteScanLocal(ClientContext &context, const RemoteScanGlobal &global)
	    : reader(context, global.columns, global.column_ids) {
	}
	ArrowBatchReader reader;
	idx_t batch_index = 0;
};

unique_ptr<LocalTableFunctionState> InitRemoteScanLocal(ExecutionContext &context, TableFunctionInitInput &,
                                                        GlobalTableFunctionState *global) {
	return make_uniq<RemoteScanLocal>(context.client, global->Cast<RemoteScanGlobal>());
}

void RemoteScanNext(ClientContext &context, TableFunctionInput &input, DataChunk &output) {
	auto &global = input.global_state->Cast<RemoteScanGlobal>();
	auto &local = input.local_state->Cast<RemoteScanLocal>();
	while (!local.reader.Read(output)) {
		ArrowArray array;
		switch (global.Next(context, input, array, local.batch_index)) {
		case DH_POLL_BATCH:
			local.reader.SetBatch(array);
			break;
		case DH_POLL_PENDING:
			input.async_result = SourceResultType::BLOCKED;
			return;
		default:
			return;
		}
	}
}

OperatorPartitionData RemoteScanPartition(ClientContext &, TableFunctionGetPartitionInput &input) {
	if (input.partition_info.RequiresPartitionColumns()) {
		throw InternalException("a driver's rows have no partition columns");
	}
	return OperatorPartitionData(input.local_state->Cast<RemoteScanLocal>().batch_index);
}

} // namespace duckherder
