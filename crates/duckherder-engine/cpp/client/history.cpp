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
		if (entries.size() > MAX_STATEMENTS) {
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
	by_query.clear();
}

std::vector<QueryHistory::Entry> QueryHistory::List() {
	std::lock_guard<std::mutex> guard(lock);
	return std::vector<Entry>(entries.begin(), entries.end());
}

} // namespace duckherder
