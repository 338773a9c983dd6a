// The statements that this client has sent to drivers, as the user wrote them, with their latencies.
#pragma once

#include "duckdb/common/types.hpp"

#include <deque>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace duckherder {

//! Bounded: the oldest statement, and a statement's oldest latency, make room for new ones.
class QueryHistory {
public:
	static constexpr size_t MAX_STATEMENTS = 1000;
	//! Of all statements' texts together; the last one stays in any case.
	static constexpr size_t MAX_QUERY_BYTES = 64 << 20;
	static constexpr size_t MAX_LATENCIES = 1000;

	struct Entry {
		std::string query;
		std::deque<int64_t> latencies_us;
	};

	static QueryHistory &Get();

	void Record(const std::string &query, int64_t latency_us);
	void Clear();
	//! In the order in which the statements were first run.
	std::vector<Entry> List();

private:
	std::mutex lock;
	std::list<Entry> entries;
	size_t query_bytes = 0;
	std::unordered_map<std::string, std::list<Entry>::iterator> by_query;
};

} // namespace duckherder
