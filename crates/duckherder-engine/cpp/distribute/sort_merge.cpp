// Sorted tasks as one sorted relation. DuckDB made the keys (`create_sort_key`): here bytes are compared, no values.
#include "running_exchange.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! The rows of one task at hand: the next one is the least that it still has.
class SortedTask {
public:
	explicit SortedTask(idx_t number) {
		reader.Open(number);
	}

	//! Whether a row is at hand.
	bool HasRow() const {
		return row < chunk.size();
	}
	bool HasEnded() const {
		return !HasRow() && !reader.partition.IsValid();
	}

	//! Once its rows are used up: more of them.
	SourceResultType Refill(ClientContext &context, RunningExchange &global, const InterruptState &interrupt) {
		if (chunk.ColumnCount() == 0) {
			chunk.Initialize(context, global.Types());
		}
		KeepLastKey();
		do {
			chunk.Reset();
			row = 0;
			first = 0;
			auto found = reader.Read(context, global, interrupt, chunk);
			if (found != SourceResultType::HAVE_MORE_OUTPUT) {
				return found;
			}
		} while (chunk.size() == 0);
		auto &key = chunk.data.back();
		is_number = key.GetType().InternalType() == PhysicalType::INT64;
		key.ToUnifiedFormat(keys);
		if (has_last && KeyIsLess(0, last_number, last_text)) {
			throw InternalException("a task gives rows that are not sorted");
		}
		return SourceResultType::HAVE_MORE_OUTPUT;
	}

	bool IsLess(const SortedTask &other) const {
		return is_number ? Number(row) < other.Number(other.row) : Text(row) < other.Text(other.row);
	}

	//! Takes a row.
	void Advance() {
		row++;
		if (HasRow() && (is_number ? Number(row) < Number(row - 1) : Text(row) < Text(row - 1))) {
			throw InternalException("a task gives rows that are not sorted");
		}
	}

	//! Moves the columns of the rows that were taken, without their keys, to the end of `target`.
	void MoveTaken(DataChunk &target) {
		if (row == first) {
			return;
		}
		SelectionVector taken(first, row - first);
		DataChunk columns;
		columns.InitializeEmpty(target.GetTypes());
		for (idx_t i = 0; i < columns.ColumnCount(); i++) {
			columns.data[i].Reference(chunk.data[i]);
		}
		columns.SetChildCardinality(chunk.size());
		target.Append(columns, taken, row - first);
		first = row;
	}
	idx_t Taken() const {
		return row - first;
	}

private:
	int64_t Number(idx_t at) const {
		return UnifiedVectorFormat::GetData<int64_t>(keys)[keys.sel->get_index(at)];
	}
	string_t Text(idx_t at) const {
		return UnifiedVectorFormat::GetData<string_t>(keys)[keys.sel->get_index(at)];
	}
	bool KeyIsLess(idx_t at, int64_t number, const string &text) const {
		return is_number ? Number(at) < number : Text(at) < string_t(text);
	}
	void KeepLastKey() {
		if (chunk.size() == 0) {
			return;
		}
		has_last = true;
		if (is_number) {
			last_number = Number(chunk.size() - 1);
		} else {
			last_text = Text(chunk.size() - 1).GetString();
		}
	}

	ExchangeReader reader;
	DataChunk chunk;
	UnifiedVectorFormat keys;
	bool is_number = false;
	//! The next row, and the first that was taken and not moved.
	idx_t row = 0;
	idx_t first = 0;
	//! The last key of the chunk before.
	bool has_last = false;
	int64_t last_number = 0;
	string last_text;
};

//! All tasks, and those that have rows as a heap: the least on top, of equal ones the first.
class SortMergeState : public LocalSourceState {
public:
	vector<unique_ptr<SortedTask>> tasks;
	vector<idx_t> heap;
	//! The task whose rows were used up; at first, the tasks from here on have not been asked.
	idx_t asked = 0;
	bool refill = false;
	//! Rows in the order of their tasks.
	DataChunk grouped;
	//! By row of the output: its task, and then its place in `grouped`.
	vector<idx_t> origins;

	bool Before(idx_t a, idx_t b) const {
		auto &left = *tasks[a];
		auto &right = *tasks[b];
		return left.IsLess(right) || (a < b && !right.IsLess(left));
	}
	void SiftDown(idx_t at) {
		while (true) {
			auto least = at;
			for (auto child = 2 * at + 1; child <= 2 * at + 2 && child < heap.size(); child++) {
				if (Before(heap[child], heap[least])) {
					least = child;
				}
			}
			if (least == at) {
				return;
			}
			std::swap(heap[at], heap[least]);
			at = least;
		}
	}
	//! After the task on top has ended or got other rows.
	void Restore() {
		if (tasks[heap[0]]->HasEnded()) {
			heap[0] = heap.back();
			heap.pop_back();
		}
		if (!heap.empty()) {
			SiftDown(0);
		}
	}

	//! Makes sure that each task has a row at hand or has ended.
	SourceResultType Fill(ClientContext &context, RunningExchange &global, const InterruptState &interrupt) {
		if (tasks.empty()) {
			for (idx_t i = 0; i < global.partitions; i++) {
				tasks.push_back(make_uniq<SortedTask>(i));
			}
		}
		if (refill) {
			if (tasks[heap[0]]->Refill(context, global, interrupt) == SourceResultType::BLOCKED) {
				return SourceResultType::BLOCKED;
			}
			refill = false;
			Restore();
		}
		if (asked == tasks.size()) {
			return SourceResultType::HAVE_MORE_OUTPUT;
		}
		for (; asked < tasks.size(); asked++) {
			if (tasks[asked]->Refill(context, global, interrupt) == SourceResultType::BLOCKED) {
				return SourceResultType::BLOCKED;
			}
			if (!tasks[asked]->HasEnded()) {
				heap.push_back(asked);
			}
		}
		for (idx_t at = heap.size() / 2; at-- > 0;) {
			SiftDown(at);
		}
		return SourceResultType::HAVE_MORE_OUTPUT;
	}

	//! Rows in order, until a task has none at hand or there are enough.
	void Merge(ClientContext &context, DataChunk &output) {
		if (grouped.ColumnCount() == 0) {
			grouped.Initialize(context, output.GetTypes());
		}
		origins.clear();
		while (!heap.empty() && origins.size() < STANDARD_VECTOR_SIZE && !refill) {
			auto &least = *tasks[heap[0]];
			origins.push_back(heap[0]);
			least.Advance();
			if (least.HasRow()) {
				SiftDown(0);
			} else {
				refill = true;
			}
		}
		grouped.Reset();
		vector<idx_t> place(tasks.size());
		idx_t sources = 0;
		for (idx_t i = 0; i < tasks.size(); i++) {
			place[i] = grouped.size();
			sources += tasks[i]->Taken() > 0 ? 1 : 0;
			tasks[i]->MoveTaken(grouped);
		}
		if (sources <= 1) {
			output.Reference(grouped);
			return;
		}
		SelectionVector order(origins.size());
		for (idx_t i = 0; i < origins.size(); i++) {
			order.set_index(i, place[origins[i]]++);
		}
		output.Slice(grouped, order, origins.size());
	}
};

unique_ptr<LocalSourceState> PhysicalSortMerge::GetLocalSourceState(ExecutionContext &, GlobalSourceState &) const {
	return make_uniq<SortMergeState>();
}

SourceResultType PhysicalSortMerge::GetDataInternal(ExecutionContext &context, DataChunk &output,
                                                    OperatorSourceInput &input) const {
	auto &global = input.global_state.Cast<RunningExchange>();
	auto &state = input.local_state.Cast<SortMergeState>();
	auto started = global.Start(context.client, input.interrupt_state);
	if (started != SourceResultType::HAVE_MORE_OUTPUT) {
		return started;
	}
	if (state.Fill(context.client, global, input.interrupt_state) == SourceResultType::BLOCKED) {
		return SourceResultType::BLOCKED;
	}
	if (state.heap.empty()) {
		ShowTasks(context, global);
		return SourceResultType::FINISHED;
	}
	state.Merge(context.client, output);
	return SourceResultType::HAVE_MORE_OUTPUT;
}

} // namespace duckherder
