// What the row groups of a task say of its columns. DuckDB knows it of whole files only; with it, a join of the task
// leaves out, of a side that every task reads whole, the row groups that nothing of its part can meet.
#include "files.hpp"

#include "duckdb/common/multi_file/multi_file_list.hpp"
#include "duckdb/common/multi_file/multi_file_reader.hpp"
#include "duckdb/function/partition_stats.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/storage/statistics/numeric_stats.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

optional_idx PlaceOf(const MultiFileBindData &scan, column_t id, const vector<MultiFileColumnDefinition> &physical) {
	for (idx_t place = 0; place < physical.size(); place++) {
		if (scan.MatchesPhysicalColumn(id, physical[place].name, physical[place].type)) {
			return place;
		}
	}
	return optional_idx();
}

//! So many files of a part are looked into.
static constexpr idx_t MOST_FILES = 16;

//! The columns of a part, as far as all its row groups say something of them.
class PartStatistics {
public:
	PartStatistics(const BoundScan &scan_p, const vector<column_t> &column_ids) : scan(scan_p) {
		for (auto id : column_ids) {
			// Only with whole numbers DuckDB leaves out what does not join.
			if (!IsVirtualColumn(id) && scan.types.at(id).IsIntegral()) {
				columns[id] = nullptr;
			}
		}
	}

	bool Empty() const {
		return columns.empty();
	}

	//! The row groups from `first` to `last` (-1: the last of all) of the file that `alone` reads.
	void Add(ClientContext &context, const BoundScan &alone, int64_t first, int64_t last) {
		vector<PartitionStatistics> groups;
		if (alone.function.get_partition_stats) {
			GetPartitionStatsInput input(alone.function, alone.data.get());
			groups = alone.function.get_partition_stats(context, input);
		}
		auto &reader = alone.Files().initial_reader;
		auto end = last < 0 ? groups.size() : NumericCast<idx_t>(last) + 1;
		if (groups.empty() || end > groups.size() || !reader) {
			columns.clear();
		}
		for (auto column = columns.begin(); column != columns.end();) {
			auto place = PlaceOf(scan.Files(), column->first, reader->GetColumns());
			auto told = place.IsValid();
			for (auto group = NumericCast<idx_t>(first); told && group < end; group++) {
				told = Merge(column->second, groups[group], place.GetIndex());
			}
			column = told ? std::next(column) : columns.erase(column);
		}
	}

	//! As DuckDB's option `column_statistics` takes it; NULL if there is nothing to say.
	Value ToValue() const {
		auto of_column = LogicalType::MAP(LogicalType::VARCHAR, LogicalType::VARCHAR);
		vector<Value> names;
		vector<Value> statistics;
		for (auto &column : columns) {
			if (!column.second) {
				continue;
			}
			auto &found = *column.second;
			vector<Value> keys {"min", "max"};
			vector<Value> values {NumericStats::Min(found).ToString(), NumericStats::Max(found).ToString()};
			if (!found.CanHaveNull()) {
				keys.emplace_back("null_count");
				values.emplace_back("0");
			}
			names.emplace_back(SQLQuotedIdentifier(scan.names.at(column.first)));
			statistics.push_back(Value::MAP(LogicalType::VARCHAR, LogicalType::VARCHAR, std::move(keys), std::move(values)));
		}
		return names.empty() ? Value() : Value::MAP(LogicalType::VARCHAR, of_column, std::move(names), std::move(statistics));
	}

private:
	static string SQLQuotedIdentifier(const Identifier &name) {
		return "\"" + StringUtil::Replace(name.GetIdentifierName(), "\"", "\"\"") + "\"";
	}

	static bool Merge(unique_ptr<BaseStatistics> &known, const PartitionStatistics &group, idx_t place) {
		auto &row_group = group.partition_row_group;
		auto found = row_group ? row_group->GetColumnStatistics(StorageIndex(place)) : nullptr;
		if (!found || !found->GetType().IsIntegral() || !NumericStats::HasMinMax(*found)) {
			return false;
		}
		if (!known) {
			known = std::move(found);
		} else {
			known->Merge(*found);
		}
		return true;
	}

	const BoundScan &scan;
	//! By column of the scan.
	map<column_t, unique_ptr<BaseStatistics>> columns;
};

void StatePart(ClientContext &context, BoundScan &scan, const FileCall &call, const vector<column_t> &column_ids,
               const vector<string> &files, int64_t first_row_group, int64_t last_row_group) {
	auto &options = scan.Files().file_options;
	auto divided = first_row_group >= 0 || files.size() < call.paths.size();
	auto by_name = options.schema.empty() && options.bound_schema.empty();
	PartStatistics part(scan, column_ids);
	// To bind text again is to sample it again, and it says nothing of its rows.
	if (!HasFooters(call.function) || !divided || !by_name || files.size() > MOST_FILES || !options.column_statistics.IsNull()) {
		return;
	}
	for (auto &file : files) {
		if (part.Empty()) {
			return;
		}
		// What was bound for the whole query need not be of this version of the file, which the task has checked.
		auto binder = Binder::CreateBinder(context);
		auto alone = BindCall(*binder, FileCall {call.function, {file}, call.options, string(), Value()});
		part.Add(context, alone, MaxValue<int64_t>(first_row_group, 0), last_row_group);
	}
	options.column_statistics = part.ToValue();
}

} // namespace duckherder
