#include "arrow_source.hpp"

#include "duckdb/common/arrow/schema_metadata.hpp"
#include "duckdb/common/vector_operations/vector_operations.hpp"
#include "duckdb/main/client_context.hpp"
#include "wire_parameter.hpp"
#include "wire_type.hpp"
#include "wire_storage.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>

using namespace duckdb; // NOLINT

namespace duckherder {

//! Wakes a thread that cannot park.
class ThreadWaker : public Waker {
public:
	void Wake() override {
		std::lock_guard<std::mutex> guard(lock);
		woken = true;
		changed.notify_all();
	}
	void Wait(ClientContext &context);

private:
	std::mutex lock;
	std::condition_variable changed;
	bool woken = false;
};

//! How often a waiting thread looks whether its query was interrupted.
static constexpr std::chrono::milliseconds INTERRUPT_CHECK_INTERVAL(20);

} // namespace duckherder

extern "C" {

void dh_waker_wake(void *waker) {
	(*static_cast<duckdb::shared_ptr<duckherder::Waker> *>(waker))->Wake();
}

void dh_waker_free(void *waker) {
	delete static_cast<duckdb::shared_ptr<duckherder::Waker> *>(waker);
}

} // extern "C"

namespace duckherder {

void *ShareWaker(const shared_ptr<Waker> &waker) {
	return new shared_ptr<Waker>(waker);
}

void ThreadWaker::Wait(ClientContext &context) {
	std::unique_lock<std::mutex> guard(lock);
	while (!woken) {
		context.BlockingInterruptCheck();
		changed.wait_for(guard, INTERRUPT_CHECK_INTERVAL);
	}
}

ArrowSource::ArrowSource(const DhSourceTable &table_p, void *self_p) : table(table_p), self(self_p) {
}

ArrowSource::~ArrowSource() {
	table.release(self);
}

DhPoll ArrowSource::PollWith(idx_t partition, const shared_ptr<Waker> &waker, ArrowArray &array) const {
	DhError error {nullptr, nullptr};
	auto found = table.poll(self, partition, ShareWaker(waker), &array, &error);
	ThrowIfError(error);
	return static_cast<DhPoll>(found);
}

DhPoll ArrowSource::Poll(idx_t partition, const InterruptState &interrupt, ArrowArray &array) const {
	while (true) {
		auto waker = make_shared_ptr<TaskWaker>(interrupt);
		auto found = PollWith(partition, waker, array);
		if (found != DH_POLL_PENDING || waker->Park()) {
			return found;
		}
	}
}

bool ArrowSource::Wait(ClientContext &context, idx_t partition, ArrowArray &array) const {
	while (true) {
		auto waker = make_shared_ptr<ThreadWaker>();
		auto found = PollWith(partition, waker, array);
		if (found != DH_POLL_PENDING) {
			return found == DH_POLL_BATCH;
		}
		waker->Wait(context);
	}
}

optional_idx ArrowSource::EstimatedRows() const {
	auto rows = table.estimated_rows(self);
	return rows < 0 ? optional_idx() : optional_idx(NumericCast<idx_t>(rows));
}

ArrowSourceColumns::ArrowSourceColumns(ClientContext &context, const ArrowSchema &schema) {
	ArrowTableFunction::PopulateArrowTableSchema(context, arrow, schema);
	for (auto &name : arrow.GetNames()) {
		names.emplace_back(name);
	}
	types = arrow.GetTypes();
	for (idx_t i = 0; i < types.size(); i++) {
		given_names.emplace_back(schema.children[i]->name);
		ArrowSchemaMetadata metadata(schema.children[i]->metadata);
		auto text = metadata.GetOption("duckdb.type");
		// Parsing costs more than most queries' rows.
		if (!text.empty() && text != types[i].ToString() && !IsLiteralTypeName(text)) {
			types[i] = ParseWireType(context, text);
		}
	}
}

ArrowBatchReader::ArrowBatchReader(ClientContext &context_p, const ArrowSourceColumns &columns,
                                   const vector<column_t> &column_ids)
    : context(context_p), arrow(columns.arrow.GetColumns()), state(make_uniq<ArrowArrayWrapper>(), context_p) {
	vector<LogicalType> arrow_types;
	for (idx_t i = 0; i < column_ids.size(); i++) {
		if (IsVirtualColumn(column_ids[i])) {
			continue;
		}
		outputs.push_back(i);
		state.column_ids.push_back(column_ids[i]);
		arrow_types.push_back(arrow.at(column_ids[i])->GetDuckType(true));
	}
	if (!arrow_types.empty()) {
		raw.Initialize(context, arrow_types);
	}
}

void ArrowBatchReader::SetBatch(ArrowArray &array) {
	state.Reset();
	// DuckDB knows a cached dictionary by its address alone, which the next batch may have again.
	state.array_states.clear();
	auto batch = make_shared_ptr<ArrowArrayWrapper>();
	batch->arrow_array = array;
	array.release = nullptr;
	state.chunk = std::move(batch);
}

//! Same bytes under another name: JSON and VARCHAR, an aggregate's state and its STRUCT.
static bool SameBytes(const LogicalType &from, const LogicalType &to) {
	if (to.IsAggregateState()) {
		return from.InternalType() == to.InternalType();
	}
	return from.id() == to.id() && from.id() == LogicalTypeId::VARCHAR;
}

bool ArrowBatchReader::Read(DataChunk &output) {
	if (!state.chunk->arrow_array.release) {
		return false;
	}
	auto total = NumericCast<idx_t>(state.chunk->arrow_array.length);
	if (state.chunk_offset >= total) {
		return false;
	}
	auto count = MinValue<idx_t>(STANDARD_VECTOR_SIZE, total - state.chunk_offset);
	if (!outputs.empty()) {
		raw.Reset();
		raw.SetChildCardinality(count);
		ArrowTableFunction::ArrowToDuckDB(state, arrow, raw, false);
	}
	for (idx_t i = 0; i < outputs.size(); i++) {
		auto &from = raw.data[i];
		auto &to = output.data[outputs[i]];
		if (from.GetType() == to.GetType()) {
			to.Reference(from);
		} else if (SameBytes(from.GetType(), to.GetType())) {
			to.Reinterpret(from);
		} else {
			auto travelling = TravellingType(to.GetType());
			if (from.GetType() == travelling) {
				FromTravellingType(from, to, count);
			} else if (travelling == to.GetType()) {
				VectorOperations::Cast(context, from, to, count);
			} else {
				// A cast would take what a VARIANT travels as for a value to put into one.
				Vector cast(travelling, count);
				VectorOperations::Cast(context, from, cast, count);
				FromTravellingType(cast, to, count);
			}
		}
	}
	output.SetChildCardinality(count);
	state.chunk_offset += count;
	return true;
}

vector<pair<string, Value>> ReadSingleRow(ClientContext &context, ArrowSchema *schema, ArrowArray *array) {
	ArrowSchemaWrapper owned_schema;
	owned_schema.arrow_schema = *schema;
	schema->release = nullptr;
	vector<pair<string, Value>> row;
	context.RunFunctionInTransaction(
	    [&]() {
		    ArrowSourceColumns columns(context, owned_schema.arrow_schema);
		    vector<column_t> column_ids;
		    for (idx_t i = 0; i < columns.types.size(); i++) {
			    column_ids.push_back(i);
		    }
		    ArrowBatchReader reader(context, columns, column_ids);
		    reader.SetBatch(*array);
		    DataChunk chunk;
		    chunk.Initialize(context, columns.types);
		    if (!reader.Read(chunk) || chunk.size() != 1) {
			    throw InvalidInputException("parameters must come as one row of values");
		    }
		    for (idx_t i = 0; i < columns.types.size(); i++) {
			    row.emplace_back(columns.names[i].GetIdentifierName(), chunk.GetValue(i, 0));
		    }
	    },
	    false);
	return row;
}

} // namespace duckherder
