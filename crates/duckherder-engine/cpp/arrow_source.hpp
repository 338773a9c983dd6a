// Rows that Rust brings, as a relation: Arrow batches in, DataChunks out, parked while there is nothing.
#pragma once

#include "bridge.hpp"
#include "duckdb/common/arrow/arrow.hpp"
#include "duckdb/function/table/arrow.hpp"
#include "duckdb/function/table_function.hpp"
#include "duckdb/parallel/interrupt.hpp"

#include <atomic>

extern "C" {

//! What one poll of a source has found.
enum DhPoll : int { DH_POLL_END = 0, DH_POLL_BATCH = 1, DH_POLL_PENDING = 2, DH_POLL_ERROR = -1 };

//! A Rust `BatchSource`. `self` is released exactly once.
struct DhSourceTable {
	uint64_t (*partitions)(void *self);
	void (*schema)(void *self, ArrowSchema *schema);
	//! `waker` becomes Rust's, whatever the answer; it ends with dh_waker_free.
	int (*poll)(void *self, uint64_t partition, void *waker, ArrowArray *array, DhError *error);
	//! From 0 to 1; below 0 if it is not known. Waits for nothing.
	double (*progress)(void *self);
	//! Below 0 if it is not known.
	int64_t (*estimated_rows)(void *self);
	void (*release)(void *self);
};
}

namespace duckherder {

//! Told by Rust, from any thread and at any time, that polling again is worth it.
class Waker {
public:
	virtual ~Waker() = default;
	virtual void Wake() = 0;
};

//! Rust's share of a waker; ends with dh_waker_free.
void *ShareWaker(const duckdb::shared_ptr<Waker> &waker);

//! Unparks a task of DuckDB's. Rust may wake it while the poll that it was made for still runs, on that very thread;
//! DuckDB's callback would then wait forever for the task to park.
class TaskWaker : public Waker {
public:
	explicit TaskWaker(const duckdb::InterruptState &interrupt_p) : interrupt(interrupt_p) {
	}
	void Wake() override {
		if (state.exchange(State::WOKEN) == State::PARKED) {
			interrupt.Callback();
		}
	}
	//! After a poll that found nothing: true if the task is to park now, false if it is to poll again.
	bool Park() {
		auto expected = State::POLLING;
		return state.compare_exchange_strong(expected, State::PARKED);
	}

private:
	enum class State { POLLING, PARKED, WOKEN };
	duckdb::InterruptState interrupt;
	std::atomic<State> state {State::POLLING};
};

//! Owner of a Rust batch source.
class ArrowSource {
public:
	ArrowSource(const DhSourceTable &table, void *self);
	~ArrowSource();
	ArrowSource(const ArrowSource &) = delete;

	//! May become fewer while they are read.
	duckdb::idx_t Partitions() const {
		return table.partitions(self);
	}
	//! Whether nobody has read it before.
	bool Claim() {
		return !claimed.exchange(true);
	}
	void Schema(ArrowSchema &schema) const {
		table.schema(self, &schema);
	}
	//! How much of what makes the rows is done, from 0 to 1; below 0 if it is not known.
	double Progress() const {
		return table.progress(self);
	}
	//! How many rows will come, about.
	duckdb::optional_idx EstimatedRows() const;
	//! Parks `interrupt` if there is nothing yet. Throws what the source reports.
	DhPoll Poll(duckdb::idx_t partition, const duckdb::InterruptState &interrupt, ArrowArray &array) const;
	//! Waits for the next batch; for callers that cannot park. Reacts to an interrupt of `context`.
	bool Wait(duckdb::ClientContext &context, duckdb::idx_t partition, ArrowArray &array) const;

private:
	DhPoll PollWith(duckdb::idx_t partition, const duckdb::shared_ptr<Waker> &waker, ArrowArray &array) const;

	DhSourceTable table;
	void *self;
	std::atomic<bool> claimed {false};
};

//! The columns of a source: how they arrive, and what they are to become.
struct ArrowSourceColumns {
	//! Reads the schema; a column with metadata `duckdb.type` becomes that type, any other what Arrow says.
	ArrowSourceColumns(duckdb::ClientContext &context, const ArrowSchema &schema);

	//! Each name once, as a relation needs it.
	duckdb::vector<duckdb::Identifier> names;
	//! As they arrive; a result may have a name twice.
	duckdb::vector<duckdb::Identifier> given_names;
	duckdb::vector<duckdb::LogicalType> types;
	duckdb::ArrowTableSchema arrow;
};

//! Turns the batches of one partition after the other into chunks; one reader a thread.
class ArrowBatchReader {
public:
	//! `column_ids`: which columns of the source go to which column of the output.
	//! Virtual columns are left to the caller. `columns` must outlive the reader.
	ArrowBatchReader(duckdb::ClientContext &context, const ArrowSourceColumns &columns,
	                 const duckdb::vector<duckdb::column_t> &column_ids);

	//! Takes over the next batch.
	void SetBatch(ArrowArray &array);
	//! The next rows of the batch; false once it is used up.
	bool Read(duckdb::DataChunk &output);

private:
	duckdb::ClientContext &context;
	const duckdb::arrow_column_map_t &arrow;
	//! The output column of each column read.
	duckdb::vector<duckdb::idx_t> outputs;
	duckdb::ArrowScanLocalState state;
	duckdb::DataChunk raw;
};

//! Lets the names given to dh_connection_register_input be used as relations.
void RegisterExchangeScan(duckdb::DatabaseInstance &instance);

//! The one row of an Arrow batch, by column name. Takes over `schema` and `array`.
duckdb::vector<duckdb::pair<duckdb::string, duckdb::Value>> ReadSingleRow(duckdb::ClientContext &context,
                                                                         ArrowSchema *schema, ArrowArray *array);

//! SQL name of the scan of an ArrowSource that a connection was given, by the name that it was given.
constexpr const char *EXCHANGE_FUNCTION = "duckherder_exchange";

} // namespace duckherder
