#include "seat.hpp"

#include "connection.hpp"
#include "duckdb/execution/executor.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parallel/task_scheduler.hpp"

#include <chrono>

using namespace duckdb; // NOLINT

namespace duckherder {

//! After so long whoever waits looks whether DuckDB's own threads have made rows for it.
static constexpr std::chrono::milliseconds LOOK {5};
//! Whoever has the seat and has not moved for so many looks waits for something itself, a file or another task: who has
//! seen that goes on without it, up to the end of its statement.
static constexpr idx_t MOST_LOOKS = 3;

bool Seat::TryTake() {
	std::lock_guard<std::mutex> guard(lock);
	if (taken) {
		return false;
	}
	taken = true;
	moves++;
	return true;
}

void Seat::Leave(bool tells) {
	{
		std::lock_guard<std::mutex> guard(lock);
		taken = false;
	}
	if (tells) {
		left.notify_one();
	}
}

void Seat::Move() {
	std::lock_guard<std::mutex> guard(lock);
	moves++;
}

uint64_t Seat::Wait() {
	std::unique_lock<std::mutex> guard(lock);
	if (taken) {
		left.wait_for(guard, LOOK);
	}
	return moves;
}

bool Participant::Sit() {
	if (!seat || sits || looks == MOST_LOOKS) {
		return true;
	}
	if (!HasWork()) {
		stream.WaitForTask();
		return false;
	}
	sits = seat->TryTake();
	if (!sits) {
		auto moves = seat->Wait();
		looks = moves == seen ? looks + 1 : 0;
		seen = moves;
	}
	return sits;
}

bool Participant::HasWork() {
	if (!stream.IsOpen()) {
		return true;
	}
	auto &executor = Executor::Get(context);
	return executor.HasTaskInProgress() || TaskScheduler::GetScheduler(context).GetTaskCountForProducer(executor.GetToken()) > 0;
}

void Participant::Step() {
	if (!Sit()) {
		return;
	}
	auto state = stream.ExecuteTask();
	if (sits) {
		seat->Move();
	}
	if (state == QueryResultState::BLOCKED || state == QueryResultState::NO_TASKS_AVAILABLE) {
		Rest(true);
		stream.WaitForTask();
	}
}

void Participant::Rest(bool tells) {
	if (sits) {
		sits = false;
		seat->Leave(tells);
	}
}

} // namespace duckherder

using duckherder::Seat;

extern "C" {

//! Of the tasks of one query; ends with dh_seat_free.
shared_ptr<Seat> *dh_seat_new() {
	return new shared_ptr<Seat>(make_shared_ptr<Seat>());
}

void dh_seat_free(shared_ptr<Seat> *seat) {
	delete seat;
}

//! What the connection runs from now on is a task of the seat's query.
void dh_connection_sit(DhConnection *connection, const shared_ptr<Seat> *seat) {
	connection->seat = *seat;
}

} // extern "C"
