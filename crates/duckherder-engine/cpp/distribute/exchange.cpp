#include "exchange.hpp"

#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/common/vector_operations/vector_operations.hpp"
#include "duckdb/execution/column_binding_resolver.hpp"
#include "duckdb/execution/physical_operator.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/function/partition_stats.hpp"
#include "duckdb/main/query_profiler.hpp"
#include "duckdb/parallel/thread_context.hpp"
#include "duckdb/storage/data_table.hpp"
#include "snapshot.hpp"

#include <atomic>
#include <mutex>

using namespace duckdb; // NOLINT

namespace duckherder {

//! The tasks of one execution.
class RunningExchange : public GlobalSourceState {
public:
	RunningExchange(shared_ptr<DistributedQuery> query_p, idx_t stage_p)
	    : query(std::move(query_p)), stage(stage_p) {
	}
	~RunningExchange() override {
		if (exchange) {
			query->functions.release_exchange(exchange);
		}
	}

	//! Starts the tasks, once, when the first row is asked for.
	void Start(ClientContext &context) {
		std::lock_guard<std::mutex> guard(start_lock);
		if (exchange) {
			return;
		}
		// A run that could not start is not started again by the next thread.
		if (problem.HasError()) {
			problem.Throw();
		}
		if (HadWritten(context)) {
			throw TransactionException("the plan was made before the transaction wrote; run the statement again");
		}
		unique_ptr<Snapshot> snapshot;
		vector<DhRowGroup> row_groups;
		for (idx_t scan = 0; scan < query->tables.size(); scan++) {
			auto table = query->tables[scan];
			if (!table || !table->IsDuckTable()) {
				continue;
			}
			auto &storage = table->Cast<DuckTableEntry>().GetStorage();
			if (!snapshot && query->Reads(scan)) {
				snapshot = make_uniq<Snapshot>(context, storage.GetAttached());
			}
			for (auto &partition : storage.GetPartitionStats(context)) {
				if (partition.row_start.IsValid()) {
					row_groups.push_back(DhRowGroup {scan, partition.row_start.GetIndex(), partition.count});
				}
			}
		}
		if (!snapshot) {
			throw InternalException("a query of tasks reads no table");
		}
		vector<unique_ptr<Fragment>> copies;
		for (auto &other : query->stages) {
			copies.push_back(other.fragment->Copy());
		}
		vector<Fragment *> fragments;
		for (auto &copy : copies) {
			fragments.push_back(copy.release());
		}
		DhError error {nullptr, nullptr};
		DhRun run {fragments.data(), fragments.size(), snapshot.release(), row_groups.data(), row_groups.size()};
		exchange = query->functions.start(query->query, stage, run, &error);
		try {
			ThrowIfError(error);
		} catch (const std::exception &exception) {
			problem = ErrorData(exception);
			throw;
		}
		partitions = query->functions.partitions(exchange);
	}

	idx_t MaxThreads() override {
		// One a task; how many there are is not known before they start.
		return NumericLimits<uint32_t>::Maximum();
	}

	//! The columns of Arrow batches, read once.
	const ArrowSourceColumns &Columns(ClientContext &context) {
		std::lock_guard<std::mutex> guard(start_lock);
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

	const vector<LogicalType> &Types() const {
		return query->stages[stage].types;
	}

	shared_ptr<DistributedQuery> query;
	idx_t stage;
	std::atomic<idx_t> next_partition {0};
	idx_t partitions = 0;
	void *exchange = nullptr;

private:
	//! Why the tasks did not start.
	ErrorData problem;
	std::mutex start_lock;
	unique_ptr<ArrowSourceColumns> columns;
};

//! One thread's place: the task it reads.
class ExchangeReader : public LocalSourceState {
public:
	optional_idx partition;
	//! Rows of the task read so far.
	idx_t rows = 0;

	unique_ptr<ArrowBatchReader> arrow;
	//! What `arrow` fills: states as plain structures.
	DataChunk received;

	//! The next rows of the Arrow batch at hand.
	bool ReadBatch(DataChunk &output) {
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

	void SetBatch(ClientContext &context, RunningExchange &global, ArrowArray &array) {
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
};

class PhysicalExchange : public PhysicalOperator {
public:
	PhysicalExchange(PhysicalPlan &plan, shared_ptr<DistributedQuery> query_p, idx_t stage_p,
	                 vector<LogicalType> types, idx_t rows)
	    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, std::move(types), rows), query(std::move(query_p)),
	      stage(stage_p) {
	}

	string GetName() const override {
		return "DUCKHERDER_EXCHANGE";
	}
	InsertionOrderPreservingMap<string> ParamsToString() const override;

	bool IsSource() const override {
		return true;
	}
	bool ParallelSource() const override {
		return true;
	}
	bool SupportsPartitioning(const OperatorPartitionInfo &info) const override {
		return !info.RequiresPartitionColumns();
	}
	OperatorPartitionData GetPartitionData(ExecutionContext &, DataChunk &, GlobalSourceState &,
	                                       LocalSourceState &local, const OperatorPartitionInfo &) const override {
		return OperatorPartitionData(local.Cast<ExchangeReader>().partition.GetIndex());
	}
	unique_ptr<GlobalSourceState> GetGlobalSourceState(ClientContext &) const override {
		return make_uniq<RunningExchange>(query, stage);
	}
	unique_ptr<LocalSourceState> GetLocalSourceState(ExecutionContext &, GlobalSourceState &) const override {
		return make_uniq<ExchangeReader>();
	}

	shared_ptr<DistributedQuery> query;
	idx_t stage;

protected:
	//! EXPLAIN ANALYZE took its lines before the tasks ran.
	void ShowTasks(ExecutionContext &context) const {
		if (QueryProfiler::Get(context.client).IsEnabled()) {
			context.thread.profiler.GetOperatorMetrics(*this).SetExtraInfo(ParamsToString());
		}
	}
	SourceResultType GetDataInternal(ExecutionContext &context, DataChunk &output,
	                                 OperatorSourceInput &input) const override;
};

SourceResultType PhysicalExchange::GetDataInternal(ExecutionContext &context, DataChunk &output,
                                                   OperatorSourceInput &input) const {
	auto &global = input.global_state.Cast<RunningExchange>();
	auto &reader = input.local_state.Cast<ExchangeReader>();
	global.Start(context.client);
	while (!reader.ReadBatch(output)) {
		if (!reader.partition.IsValid()) {
			auto next = global.next_partition++;
			if (next >= global.partitions) {
				ShowTasks(context);
				return SourceResultType::FINISHED;
			}
			reader.partition = next;
			reader.rows = 0;
		}
		void *chunk = nullptr;
		ArrowArray array;
		array.release = nullptr;
		uint64_t rows = 0;
		DhError error {nullptr, nullptr};
		auto waker = make_shared_ptr<TaskWaker>(input.interrupt_state);
		auto found = query->functions.poll(global.exchange, reader.partition.GetIndex(), ShareWaker(waker), &chunk,
		                                   &array, &rows, &error);
		ThrowIfError(error);
		switch (found) {
		case DH_EXCHANGE_CHUNK: {
			unique_ptr<DataChunk> received(static_cast<DataChunk *>(chunk));
			for (idx_t i = 0; i < output.ColumnCount(); i++) {
				output.data[i].Reference(received->data[i]);
			}
			output.SetChildCardinality(received->size());
			reader.rows += received->size();
			return SourceResultType::HAVE_MORE_OUTPUT;
		}
		case DH_POLL_BATCH:
			reader.rows += NumericCast<idx_t>(array.length);
			reader.SetBatch(context.client, global, array);
			break;
		case DH_POLL_PENDING:
			if (waker->Park()) {
				return SourceResultType::BLOCKED;
			}
			break;
		default:
			if (rows != reader.rows) {
				throw IOException("task %d ended after %d of %d rows", reader.partition.GetIndex(), reader.rows, rows);
			}
			reader.partition = optional_idx();
			break;
		}
	}
	return SourceResultType::HAVE_MORE_OUTPUT;
}

//! Lines "key=value" into an EXPLAIN map.
static void AddLine(void *target, DhText text) {
	auto line = ToString(text);
	auto split = line.find('=');
	auto &map = *static_cast<InsertionOrderPreservingMap<string> *>(target);
	if (split != string::npos) {
		map[line.substr(0, split)] = line.substr(split + 1);
	}
}

static InsertionOrderPreservingMap<string> Describe(const DistributedQuery &query, idx_t stage) {
	InsertionOrderPreservingMap<string> result;
	vector<string> fragments;
	vector<DhText> texts;
	for (auto &other : query.stages) {
		fragments.push_back(other.fragment->ToString());
	}
	for (auto &fragment : fragments) {
		texts.push_back(ToText(fragment));
	}
	query.functions.describe(query.query, stage, texts.data(), texts.size(), &result, AddLine);
	return result;
}

InsertionOrderPreservingMap<string> PhysicalExchange::ParamsToString() const {
	auto result = Describe(*query, stage);
	SetEstimatedCardinality(result, estimated_cardinality);
	return result;
}

idx_t DistributedQuery::AddStage(unique_ptr<Fragment> fragment, vector<LogicalType> types) {
	stages.push_back(Stage {std::move(fragment), std::move(types)});
	return LastStage();
}

bool DistributedQuery::Reads(idx_t scan) const {
	for (auto &stage : stages) {
		for (auto &split : stage.fragment->Splits()) {
			if (split.scan == scan) {
				return true;
			}
		}
	}
	return false;
}

static const string EXCHANGE_IDENTIFIER = "duckherder.exchange";

LogicalExchange::LogicalExchange(shared_ptr<DistributedQuery> query_p, idx_t stage_p,
                                 vector<ColumnBinding> bindings_p, vector<LogicalType> types_p, idx_t estimated_rows)
    : query(std::move(query_p)), stage(stage_p), bindings(std::move(bindings_p)), column_types(std::move(types_p)) {
	types = column_types;
	SetEstimatedCardinality(estimated_rows);
}

optional_ptr<const string> LogicalExchange::GetTypeBindingVerificationIdentifier() const noexcept {
	return &EXCHANGE_IDENTIFIER;
}

InsertionOrderPreservingMap<string> LogicalExchange::ParamsToString() const {
	return Describe(*query, stage);
}

PhysicalOperator &LogicalExchange::CreatePlan(ClientContext &, PhysicalPlanGenerator &generator) {
	return generator.Make<PhysicalExchange>(query, stage, column_types, estimated_cardinality);
}

} // namespace duckherder
