#include "running_exchange.hpp"

#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/function/partition_stats.hpp"
#include "duckdb/main/client_config.hpp"
#include "duckdb/main/query_profiler.hpp"
#include "duckdb/parallel/pipeline.hpp"
#include "duckdb/parallel/thread_context.hpp"
#include "duckdb/storage/data_table.hpp"
#include "snapshot.hpp"
#include "stored_rows.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

RunningExchange::RunningExchange(shared_ptr<DistributedQuery> query_p, idx_t stage_p)
    : query(std::move(query_p)), stage(stage_p) {
}

RunningExchange::~RunningExchange() {
	Stop();
}

void RunningExchange::Stop() {
	if (exchange) {
		query->functions.release_exchange(exchange);
		exchange = nullptr;
	}
}

SourceResultType RunningExchange::Start(ClientContext &context, const InterruptState &interrupt) {
	{
		annotated_lock_guard<annotated_mutex> guard(lock);
		if (phase == Phase::STARTING) {
			return BlockSource(interrupt);
		}
		if (phase == Phase::STARTED) {
			// A run that could not start is not started again by the next thread.
			if (problem) {
				std::rethrow_exception(problem);
			}
			return SourceResultType::HAVE_MORE_OUTPUT;
		}
		phase = Phase::STARTING;
	}
	try {
		StartTasks(context);
	} catch (...) {
		problem = std::current_exception();
	}
	vector<InterruptState> parked;
	{
		annotated_lock_guard<annotated_mutex> guard(lock);
		phase = Phase::STARTED;
		parked = TakeBlockedTasks();
	}
	for (auto &one : parked) {
		one.Callback();
	}
	if (problem) {
		std::rethrow_exception(problem);
	}
	return SourceResultType::HAVE_MORE_OUTPUT;
}

//! A table's row groups, as if of scan 0; with their states, if `kept` names columns that somebody may keep.
static vector<DhRowGroup> RowGroupsOf(ClientContext &context, DataTable &table, const vector<idx_t> &kept) {
	std::map<idx_t, RowGroupState> states;
	if (!kept.empty()) {
		states = RowGroupStates(table, DuckTransaction::Get(context, table.GetAttached()), kept);
	}
	vector<DhRowGroup> result;
	for (auto &partition : table.GetPartitionStats(context)) {
		if (partition.row_start.IsValid()) {
			auto start = partition.row_start.GetIndex();
			auto &state = states[start];
			result.push_back(DhRowGroup {0, start, partition.count, state.number, state.inserted, state.visible});
		}
	}
	return result;
}

//! The row groups of all tables that a query scans, each table looked through once; the snapshot is of what it divides.
static vector<DhRowGroup> RowGroupsOfScans(ClientContext &context, const DistributedQuery &query,
                                           QuerySnapshot &snapshot) {
	auto may_be_kept = query.functions.may_be_kept(query.query);
	std::map<std::pair<const DataTable *, vector<idx_t>>, vector<DhRowGroup>> known;
	vector<DhRowGroup> result;
	for (idx_t scan = 0; scan < query.tables.size(); scan++) {
		auto table = query.tables[scan];
		if (!table || !table->IsDuckTable()) {
			continue;
		}
		auto &storage = table->Cast<DuckTableEntry>().GetStorage();
		auto split = query.FindSplit(scan);
		if (split) {
			snapshot.Add(context, storage.GetAttached());
		}
		auto kept = split && may_be_kept ? split->stored_columns : vector<idx_t>();
		auto found = known.find({&storage, kept});
		if (found == known.end()) {
			found = known.emplace(std::make_pair(&storage, kept), RowGroupsOf(context, storage, kept)).first;
		}
		for (auto row_group : found->second) {
			row_group.scan = scan;
			result.push_back(row_group);
		}
	}
	return result;
}

void RunningExchange::StartTasks(ClientContext &context) {
	if (HadWritten(context)) {
		throw TransactionException("the plan was made before the transaction wrote; run the statement again");
	}
	auto snapshot = make_uniq<QuerySnapshot>(context);
	auto row_groups = RowGroupsOfScans(context, *query, *snapshot);
	vector<unique_ptr<Fragment>> copies;
	for (auto &other : query->stages) {
		copies.push_back(other.fragment->Copy());
	}
	vector<Fragment *> fragments;
	for (auto &copy : copies) {
		fragments.push_back(copy.release());
	}
	DhError error {nullptr, nullptr};
	DhRun run {fragments.data(),
	           fragments.size(),
	           snapshot.release(),
	           row_groups.data(),
	           row_groups.size(),
	           QueryProfiler::Get(context).IsEnabled(),
	           ClientConfig::GetConfig(context).enable_progress_bar,
	           ToText(directory)};
	exchange = query->functions.start(query->query, stage, run, &error);
	ThrowIfError(error);
	partitions = query->functions.partitions(exchange);
}

const ArrowSourceColumns &RunningExchange::Columns(ClientContext &context) {
	std::lock_guard<std::mutex> guard(columns_lock);
	if (!columns) {
		ArrowSchemaWrapper schema;
		DhError error {nullptr, nullptr};
		query->functions.schema(exchange, &schema.arrow_schema, &error);
		ThrowIfError(error);
		columns = make_uniq<ArrowSourceColumns>(context, schema.arrow_schema);
		if (columns->types.size() != Types().size()) {
			throw IOException("a worker sends %d columns, not %d", columns->types.size(), Types().size());
		}
	}
	return *columns;
}

bool ExchangeReader::ReadBatch(DataChunk &output) {
	if (!arrow) {
		return false;
	}
	received.Reset();
	if (!arrow->Read(received)) {
		return false;
	}
	for (idx_t i = 0; i < output.ColumnCount(); i++) {
		if (output.data[i].GetType().IsAggregateState()) {
			output.data[i].Reinterpret(received.data[i]);
		} else {
			output.data[i].Reference(received.data[i]);
		}
	}
	output.SetChildCardinality(received.size());
	return true;
}

void ExchangeReader::SetBatch(ClientContext &context, RunningExchange &global, ArrowArray &array) {
	if (!arrow) {
		auto &columns = global.Columns(context);
		vector<LogicalType> types;
		vector<column_t> ids;
		for (idx_t i = 0; i < global.Types().size(); i++) {
			types.push_back(WithoutState(global.Types()[i]));
			ids.push_back(i);
		}
		received.Initialize(context, types);
		arrow = make_uniq<ArrowBatchReader>(context, columns, ids);
	}
	arrow->SetBatch(array);
}

SourceResultType ExchangeReader::Read(ClientContext &context, RunningExchange &global, const InterruptState &interrupt,
                                      DataChunk &output) {
	while (!ReadBatch(output)) {
		if (!partition.IsValid()) {
			return SourceResultType::FINISHED;
		}
		void *chunk = nullptr;
		ArrowArray array;
		array.release = nullptr;
		uint64_t total = 0;
		DhError error {nullptr, nullptr};
		auto waker = make_shared_ptr<TaskWaker>(interrupt);
		auto found = global.query->functions.poll(global.exchange, partition.GetIndex(), ShareWaker(waker), &chunk,
		                                          &array, &total, &error);
		ThrowIfError(error);
		switch (found) {
		case DH_EXCHANGE_CHUNK: {
			unique_ptr<DataChunk> received_chunk(static_cast<DataChunk *>(chunk));
			for (idx_t i = 0; i < output.ColumnCount(); i++) {
				output.data[i].Reference(received_chunk->data[i]);
			}
			output.SetChildCardinality(received_chunk->size());
			rows += received_chunk->size();
			return SourceResultType::HAVE_MORE_OUTPUT;
		}
		case DH_POLL_BATCH:
			rows += NumericCast<idx_t>(array.length);
			SetBatch(context, global, array);
			break;
		case DH_POLL_PENDING:
			if (waker->Park()) {
				return SourceResultType::BLOCKED;
			}
			break;
		default:
			if (total != rows) {
				throw IOException("task %d ended after %d of %d rows", partition.GetIndex(), rows, total);
			}
			partition = optional_idx();
			break;
		}
	}
	return SourceResultType::HAVE_MORE_OUTPUT;
}

PhysicalExchange::PhysicalExchange(PhysicalPlan &plan, shared_ptr<DistributedQuery> query_p, idx_t stage_p,
                                   vector<LogicalType> types, idx_t rows)
    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, std::move(types), rows), query(std::move(query_p)),
      stage(stage_p) {
}

InsertionOrderPreservingMap<string> PhysicalExchange::ParamsToString() const {
	auto result = query->Describe(stage);
	SetEstimatedCardinality(result, estimated_cardinality);
	return result;
}

OperatorPartitionData PhysicalExchange::GetPartitionData(ExecutionContext &, DataChunk &, GlobalSourceState &,
                                                         LocalSourceState &local, const OperatorPartitionInfo &) const {
	return OperatorPartitionData(local.Cast<ExchangeReader>().partition.GetIndex());
}

unique_ptr<GlobalSourceState> PhysicalExchange::GetGlobalSourceState(ClientContext &) const {
	auto running = make_uniq<RunningExchange>(query, stage);
	auto &columns = running->Types();
	auto is_state = [](const LogicalType &type) { return type.IsAggregateState(); };
	running->one_reader = std::all_of(columns.begin(), columns.end(), is_state) ||
	                      (query->stages[stage].order_shows && estimated_cardinality <= DEFAULT_ROW_GROUP_SIZE);
	return std::move(running);
}

bool PhysicalExchange::NeedsOneReader(Pipeline &pipeline) const {
	auto sink = pipeline.GetSink();
	if (!query->stages[stage].order_shows || !sink) {
		return false;
	}
	switch (sink->type) {
	case PhysicalOperatorType::UNGROUPED_AGGREGATE:
	case PhysicalOperatorType::HASH_GROUP_BY:
	case PhysicalOperatorType::PERFECT_HASH_GROUP_BY:
		return true;
	default:
		// The others ask for the numbers of the tasks, or take all rows before they look at them.
		return false;
	}
}

unique_ptr<LocalSourceState> PhysicalExchange::GetLocalSourceState(ExecutionContext &context,
                                                                   GlobalSourceState &global) const {
	auto reader = make_uniq<ExchangeReader>();
	auto one = context.pipeline && NeedsOneReader(*context.pipeline);
	reader->idle = one && global.Cast<RunningExchange>().claimed.exchange(true);
	return std::move(reader);
}

//! After so many pieces of rows, what a reader shows so far would cost more than it tells.
static constexpr idx_t MOST_SHOWN = 64;
//! How long to wait for tasks to report whose rows have all been read, and how often to look for an interrupt.
static constexpr idx_t MOST_WAITS = 200;
static constexpr uint64_t WAIT_MS = 50;

void PhysicalExchange::ShowTasks(ExecutionContext &context, RunningExchange &exchange) const {
	if (!QueryProfiler::Get(context.client).IsEnabled()) {
		return;
	}
	// A task whose rows went to other tasks may end after these.
	for (idx_t waits = 0; waits < MOST_WAITS; waits++) {
		context.client.BlockingInterruptCheck();
		if (exchange.query->functions.ended(exchange.exchange, WAIT_MS)) {
			break;
		}
	}
	ShowTasksSoFar(context);
}

void PhysicalExchange::ShowTasksSoFar(ExecutionContext &context) const {
	if (QueryProfiler::Get(context.client).IsEnabled()) {
		context.thread.profiler.GetOperatorMetrics(*this).SetExtraInfo(ParamsToString());
	}
}

void PhysicalExchange::HideTasks(ExecutionContext &context) const {
	if (QueryProfiler::Get(context.client).IsEnabled()) {
		context.thread.profiler.GetOperatorMetrics(*this).SetExtraInfo(InsertionOrderPreservingMap<string>());
	}
}

SourceResultType PhysicalExchange::GetDataInternal(ExecutionContext &context, DataChunk &output,
                                                   OperatorSourceInput &input) const {
	auto &global = input.global_state.Cast<RunningExchange>();
	auto &reader = input.local_state.Cast<ExchangeReader>();
	HideTasks(context);
	if (reader.idle) {
		return SourceResultType::FINISHED;
	}
	auto started = global.Start(context.client, input.interrupt_state);
	if (started != SourceResultType::HAVE_MORE_OUTPUT) {
		return started;
	}
	while (true) {
		auto was_open = reader.partition.IsValid();
		auto found = reader.Read(context.client, global, input.interrupt_state, output);
		if (found != SourceResultType::FINISHED) {
			// Nobody says when a LIMIT has enough.
			if (found == SourceResultType::HAVE_MORE_OUTPUT && reader.shown++ < MOST_SHOWN) {
				ShowTasksSoFar(context);
			}
			return found;
		}
		auto last = was_open && ++global.read_partitions == global.partitions;
		auto next = global.next_partition++;
		if (last || global.partitions == 0) {
			ShowTasks(context, global);
		}
		if (next >= global.partitions) {
			return SourceResultType::FINISHED;
		}
		reader.Open(next);
	}
}

} // namespace duckherder
