#include "history.hpp"

namespace duckherder {

QueryHistory &QueryHistory::Get() {
	static QueryHistory history;
	return history;
}

void QueryHistory::Record(const std::string &query, int64_t latency_us) {
	std::lock_guard<std::mutex> guard(lock);
	auto found = by_query.find(query);
	if (found == by_query.end()) {
		entries.push_back(Entry {query, {}});
		found = by_query.emplace(query, std::prev(entries.end())).first;
		query_bytes += query.size();
		while (entries.size() > MAX_STATEMENTS || (query_bytes > MAX_QUERY_BYTES && entries.size() > 1)) {
			query_bytes -= entries.front().query.size();
			by_query.erase(entries.front().query);
			entries.pop_front();
		}
	}
	auto &latencies = found->second->latencies_us;
	latencies.push_back(latency_us);
	if (latencies.size() > MAX_LATENCIES) {
		latencies.pop_front();
	}
}

void QueryHistory::Clear() {
	std::lock_guard<std::mutex> guard(lock);
	entries.clear();
	query_bytes = 0;
	by_query.clear();
}

std::vector<QueryHistory::Entry> QueryHistory::List() {
	std::lock_guard<std::mutex> guard(lock);
	return std::vector<Entry>(entries.begin(), entries.end());
}

} // namespace duckherder
