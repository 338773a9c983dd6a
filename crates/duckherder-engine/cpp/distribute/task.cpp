// Running a fragment on the driver's own instance: its rows stay DuckDB's chunks.
#include "task.hpp"

#include "fragment.hpp"
#include "keepable.hpp"
#include "task_query.hpp"

#include "duckdb/execution/physical_operator.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/main/query_result_stream.hpp"
#include "duckdb/planner/planner.hpp"

using namespace duckdb; // NOLINT
using duckherder::Guard;

struct DhChunkStream {
	DhChunkStream(const DhConnection &connection, unique_ptr<QueryResult> result)
	    : stream(std::move(result)), participant(*connection.context, stream, connection.seat) {
	}
	QueryResultStream<ChunkFormat> stream;
	duckherder::Participant participant;
};

//! Lets go of what the operators of a plan have collected.
static void Forget(PhysicalOperator &op) {
	op.sink_state.reset();
	op.op_state.reset();
	for (auto &child : op.children) {
		Forget(child.get());
	}
}

//! As QueryResultStream::Fetch, which spins while other threads run the query's last tasks: here they would be kept
//! from it by the spinning.
static unique_ptr<DataChunk> FetchChunk(DhChunkStream &chunks) {
	unique_ptr<DataChunk> chunk;
	while (!IsTerminal(chunks.stream.TryFetch(chunk)) && !chunk) {
		chunks.participant.Step();
	}
	chunks.participant.Rest(!chunk);
	return chunk;
}

//! One task of a fragment where the tables themselves can be read; a split an input. Not parsed: the fragment was bound as
//! this tree, too, when the plan was cut. (For nine of ten tasks of TPC-DS it equals what parsing its text gives.)
static unique_ptr<SQLStatement> TaskStatement(const duckherder::Fragment &fragment, const DhSplit *splits,
                                              uint64_t count) {
	return duckherder::StatementOf(fragment.TaskQuery(vector<DhSplit>(splits, splits + count)));
}

//! Null if the plan would keep something of one run for the next.
static unique_ptr<DhTaskPlan> PlanForGood(DhConnection &connection, const SQLStatement &statement) {
	auto &context = *connection.context;
	auto result = make_uniq<DhTaskPlan>();
	result->sql = statement.query;
	result->plan = make_shared_ptr<duckherder::KeptPlan>();
	auto kept = false;
	// Not DuckDB's own PREPARE: that plans anew whatever reads tables, since their rows may have changed.
	context.RunFunctionInTransaction([&]() {
		Planner planner(context);
		auto data = duckherder::PrepareUnbound(planner, statement);
		planner.Optimize();
		if (data->properties.always_require_rebind || !duckherder::CanRunAgain(*planner.plan)) {
			return;
		}
		PhysicalPlanGenerator generator(context);
		data->physical_plan = generator.Plan(std::move(planner.plan));
		result->plan->data = std::move(data);
		kept = true;
	});
	return kept ? std::move(result) : nullptr;
}

extern "C" {

//! Starts one task of a fragment where the tables themselves can be read; a split an input.
DhChunkStream *dh_chunks_open(DhConnection *connection, const duckherder::Fragment *fragment, const DhSplit *splits,
                              uint64_t count, DhError *error) {
	return Guard<DhChunkStream *>(error, nullptr, [&]() {
		auto result = connection->Submit(TaskStatement(*fragment, splits, count));
		result->ThrowIfError();
		return new DhChunkStream(*connection, std::move(result));
	});
}

//! The same task, planned for several runs on this connection; null if its plan would keep something of one run for the
//! next.
DhTaskPlan *dh_task_plan(DhConnection *connection, const duckherder::Fragment *fragment, const DhSplit *splits,
                         uint64_t count, DhError *error) {
	return Guard<DhTaskPlan *>(error, nullptr, [&]() {
		return PlanForGood(*connection, *TaskStatement(*fragment, splits, count)).release();
	});
}

//! The same for a task whose query came from elsewhere.
DhTaskPlan *dh_task_plan_query(DhConnection *connection, DhText query, DhError *error) {
	return Guard<DhTaskPlan *>(
	    error, nullptr, [&]() { return PlanForGood(*connection, *duckherder::ReadQuery(query)).release(); });
}

DhChunkStream *dh_task_plan_open(DhConnection *connection, DhTaskPlan *plan, DhError *error) {
	return Guard<DhChunkStream *>(error, nullptr, [&]() {
		auto ready = plan->Execution();
		auto offered = connection->statements->Offer(*connection->context, ready);
		auto result = connection->Submit(std::move(ready.statement));
		result->ThrowIfError();
		return new DhChunkStream(*connection, std::move(result));
	});
}

//! To be called when a run has ended: what its operators collected is let go of.
void dh_task_plan_rest(DhTaskPlan *plan) {
	Forget(plan->plan->data->physical_plan->Root());
}

void dh_task_plan_free(DhTaskPlan *plan) {
	delete plan;
}

//! The next rows: 1 and `chunk` filled, 0 at the end, -1 with an error.
int dh_chunks_next(DhChunkStream *chunks, DataChunk **chunk, uint64_t *rows, uint64_t *bytes, DhError *error) {
	return Guard(error, -1, [&]() {
		auto next = FetchChunk(*chunks);
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
