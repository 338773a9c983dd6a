// Running a fragment on the driver's own instance: its rows stay DuckDB's chunks.
#include "connection.hpp"
#include "fragment.hpp"

#include "duckdb/main/prepared_statement.hpp"
#include "duckdb/main/query_result_stream.hpp"

using namespace duckdb; // NOLINT
using duckherder::Guard;

struct DhChunkStream {
	explicit DhChunkStream(unique_ptr<QueryResult> result) : stream(std::move(result)) {
	}
	QueryResultStream<ChunkFormat> stream;
};

//! As QueryResultStream::Fetch, which spins while other threads run the query's last tasks: here they would be kept
//! from it by the spinning.
static unique_ptr<DataChunk> FetchChunk(QueryResultStream<ChunkFormat> &stream) {
	unique_ptr<DataChunk> chunk;
	while (!IsTerminal(stream.TryFetch(chunk)) && !chunk) {
		auto state = stream.ExecuteTask();
		if (state == QueryResultState::BLOCKED || state == QueryResultState::NO_TASKS_AVAILABLE) {
			stream.WaitForTask();
		}
	}
	return chunk;
}

//! One task of a fragment where the tables themselves can be read; a split an input. It is written and parsed, as
//! everywhere: it is the text of a plan that DuckDB promises to mean the same, not the tree that it makes for it.
static unique_ptr<SQLStatement> TaskStatement(DhConnection &connection, const duckherder::Fragment &fragment,
                                              const DhSplit *splits, uint64_t count) {
	auto query = fragment.TaskQuery(vector<DhSplit>(splits, splits + count));
	return duckherder::ParseOne(connection, query->ToString());
}

extern "C" {

//! Starts one task of a fragment where the tables themselves can be read; a split an input.
DhChunkStream *dh_chunks_open(DhConnection *connection, const duckherder::Fragment *fragment, const DhSplit *splits,
                              uint64_t count, DhError *error) {
	return Guard<DhChunkStream *>(error, nullptr, [&]() {
		auto result = connection->Submit(TaskStatement(*connection, *fragment, splits, count));
		result->ThrowIfError();
		return new DhChunkStream(std::move(result));
	});
}

//! The same task, planned for several runs on this connection.
PreparedStatement *dh_task_plan(DhConnection *connection, const duckherder::Fragment *fragment, const DhSplit *splits,
                                uint64_t count, DhError *error) {
	return Guard<PreparedStatement *>(error, nullptr, [&]() {
		auto plan = connection->Prepare(TaskStatement(*connection, *fragment, splits, count));
		if (plan->HasError()) {
			plan->GetErrorObject().Throw();
		}
		return plan.release();
	});
}

DhChunkStream *dh_task_plan_open(PreparedStatement *plan, DhError *error) {
	return Guard<DhChunkStream *>(error, nullptr, [&]() {
		vector<Value> no_parameters;
		auto result = plan->Submit(no_parameters);
		result->ThrowIfError();
		return new DhChunkStream(std::move(result));
	});
}

void dh_task_plan_free(PreparedStatement *plan) {
	delete plan;
}

//! The next rows: 1 and `chunk` filled, 0 at the end, -1 with an error.
int dh_chunks_next(DhChunkStream *chunks, DataChunk **chunk, uint64_t *rows, uint64_t *bytes, DhError *error) {
	return Guard(error, -1, [&]() {
		auto next = FetchChunk(chunks->stream);
		if (chunks->stream.HasError()) {
			chunks->stream.GetErrorObject().Throw();
		}
		if (!next || next->size() == 0) {
			return 0;
		}
		*rows = next->size();
		*bytes = next->GetAllocationSize();
		*chunk = next.release();
		return 1;
	});
}

void dh_chunks_close(DhChunkStream *chunks) {
	delete chunks;
}

void dh_chunk_free(DataChunk *chunk) {
	delete chunk;
}

} // extern "C"
