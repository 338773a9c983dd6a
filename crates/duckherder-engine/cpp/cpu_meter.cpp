// The CPU time of what a connection runs, wherever it runs.
#include "connection.hpp"

#include "duckdb/main/client_context_state.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <time.h>

using namespace duckdb; // NOLINT
using duckherder::Guard;

namespace duckherder {

static const char *const METER_STATE = "duckherder_cpu_meter";
//! How long a thread of DuckDB's may take to leave the last piece of work.
static constexpr std::chrono::seconds LAST_PIECE {1};

//! CPU time that the calling thread has had, in nanoseconds.
static int64_t ThreadCpu() {
	timespec now {};
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}

//! Counts the thread that made it from beginning to end, and DuckDB's others while they run work of the connection:
//! DuckDB tells of every piece. (Its profiler measures what passes in the operators by the clock on the wall.)
class CpuMeter : public ClientContextState {
public:
	CpuMeter() : owner(std::this_thread::get_id()), owner_start(ThreadCpu()) {
	}

	void OnTaskStart(ClientContext &) override {
		auto thread = std::this_thread::get_id();
		if (thread == owner) {
			return;
		}
		std::lock_guard<std::mutex> guard(lock);
		auto &piece = pieces[thread];
		if (piece.depth++ == 0) {
			piece.start = ThreadCpu();
		}
	}

	void OnTaskStop(ClientContext &) override {
		std::lock_guard<std::mutex> guard(lock);
		auto found = pieces.find(std::this_thread::get_id());
		// A piece of work that began before the meter did is none of it.
		if (found == pieces.end() || --found->second.depth > 0) {
			return;
		}
		others += ThreadCpu() - found->second.start;
		pieces.erase(found);
		one_ended.notify_all();
	}

	//! To be asked by the thread that made it, once the statements have ended.
	int64_t Total() {
		std::unique_lock<std::mutex> guard(lock);
		one_ended.wait_for(guard, LAST_PIECE, [&]() { return pieces.empty(); });
		return others + ThreadCpu() - owner_start;
	}

private:
	struct Piece {
		//! A piece of work may do another.
		idx_t depth = 0;
		int64_t start = 0;
	};

	const std::thread::id owner;
	const int64_t owner_start;
	std::mutex lock;
	std::condition_variable one_ended;
	std::unordered_map<std::thread::id, Piece> pieces;
	int64_t others = 0;
};

} // namespace duckherder

struct DhCpuMeter {
	explicit DhCpuMeter(DhConnection &connection) : context(connection.context) {
		connection.context->registered_state->Insert(duckherder::METER_STATE, meter);
	}
	~DhCpuMeter() {
		if (auto measured = context.lock()) {
			measured->registered_state->Remove(duckherder::METER_STATE);
		}
	}
	DhCpuMeter(const DhCpuMeter &) = delete;

	shared_ptr<duckherder::CpuMeter> meter = make_shared_ptr<duckherder::CpuMeter>();
	weak_ptr<ClientContext> context;
};

extern "C" {

//! Begins to measure; one meter a connection at a time.
DhCpuMeter *dh_cpu_meter_new(DhConnection *connection, DhError *error) {
	return Guard<DhCpuMeter *>(error, nullptr, [&]() { return new DhCpuMeter(*connection); });
}

//! Nanoseconds since the beginning, to be asked by the thread that began.
int64_t dh_cpu_meter_total(DhCpuMeter *meter, DhError *error) {
	return Guard<int64_t>(error, 0, [&]() { return meter->meter->Total(); });
}

void dh_cpu_meter_free(DhCpuMeter *meter) {
	delete meter;
}

} // extern "C"
