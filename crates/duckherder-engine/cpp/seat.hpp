// Who of a query's tasks takes part in running them.
#pragma once

#include "duckdb/common/shared_ptr.hpp"
#include "duckdb/main/query_result_stream.hpp"

#include <condition_variable>
#include <mutex>

namespace duckherder {

//! One place beside DuckDB's own threads, for the threads of one query's tasks in this process: as many threads run a
//! query as DuckDB was given, however many tasks it has. (With one more of them than processors, a processor may idle
//! while a thread of the query waits: for some milliseconds the operating system moves none.)
class Seat {
public:
	//! Whether it was free.
	bool TryTake();
	//! `tells`: whoever waits has it now, and not when it looks again.
	void Leave(bool tells);
	//! Whoever has it has run something.
	void Move();
	//! Until it is left, for a moment at most; how often whoever had it has moved.
	uint64_t Wait();

private:
	std::mutex lock;
	std::condition_variable left;
	bool taken = false;
	uint64_t moves = 0;
};

//! How the thread that reads a running statement's rows takes part in making them.
class Participant {
public:
	//! `seat`: none for a statement that is no task.
	Participant(duckdb::ClientContext &context, duckdb::ResultStreamBase &stream, duckdb::shared_ptr<Seat> seat)
	    : context(context), stream(stream), seat(std::move(seat)) {
	}
	~Participant() {
		Rest(true);
	}
	Participant(const Participant &) = delete;
	Participant &operator=(const Participant &) = delete;

	//! Runs something of the statement, or waits for what can be run, or for the seat: rows may be there then.
	void Step();
	//! The thread does something else now; `tells` as for Seat::Leave.
	void Rest(bool tells);

private:
	//! Whether the thread may run something; if not, it has waited for the seat.
	bool Sit();
	//! Whether something of the statement waits for a thread.
	bool HasWork();

	duckdb::ClientContext &context;
	duckdb::ResultStreamBase &stream;
	duckdb::shared_ptr<Seat> seat;
	bool sits = false;
	//! How often it has looked since whoever has the seat has moved, and what it saw.
	duckdb::idx_t looks = 0;
	uint64_t seen = 0;
};

} // namespace duckherder
