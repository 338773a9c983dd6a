#include "stored_rows.hpp"

#include "bridge.hpp"
#include "connection.hpp"
#include "snapshot.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/qualified_name.hpp"
#include "duckdb/storage/table/column_data.hpp"
#include "duckdb/storage/table/row_group.hpp"
#include "duckdb/storage/table/row_group_collection.hpp"
#include "duckdb/storage/table/row_group_segment_tree.hpp"
#include "duckdb/transaction/duck_transaction.hpp"

#include <mutex>

using namespace duckdb; // NOLINT

extern "C" {
//! One row group that a worker asks for.
struct DhStoredGroup {
	//! Its first row id.
	uint64_t first;
	uint64_t number;
	uint64_t inserted;
	uint64_t visible;
};
}

namespace duckherder {

//! Numbers for row groups. An address alone would not do: it is used again.
class RowGroupNumbers {
public:
	static RowGroupNumbers &Get() {
		static RowGroupNumbers numbers;
		return numbers;
	}

	uint64_t Of(const shared_ptr<RowGroup> &row_group) {
		std::lock_guard<std::mutex> guard(lock);
		auto &known = numbers[row_group.get()];
		if (known.number == 0 || known.row_group.lock() != row_group) {
			known = Known {weak_ptr<RowGroup>(row_group), ++last};
			ForgetSome();
		}
		return known.number;
	}

private:
	struct Known {
		weak_ptr<RowGroup> row_group;
		uint64_t number = 0;
	};

	//! Those that are gone, once they may be many.
	void ForgetSome() {
		if (numbers.size() < forget_at) {
			return;
		}
		for (auto entry = numbers.begin(); entry != numbers.end();) {
			entry = entry->second.row_group.expired() ? numbers.erase(entry) : std::next(entry);
		}
		forget_at = MaxValue<idx_t>(LEAST, numbers.size() * 2);
	}

	static constexpr idx_t LEAST = 4096;
	std::mutex lock;
	unordered_map<const RowGroup *, Known> numbers;
	uint64_t last = 0;
	idx_t forget_at = LEAST;
};

static bool HasUpdates(const RowGroup &row_group, const vector<idx_t> &stored_columns) {
	for (auto column : stored_columns) {
		// What is updated may be updated again, which leaves no other trace.
		if (row_group.GetRawColumnData(storage_t(column)).HasUpdates()) {
			return true;
		}
	}
	return false;
}

static idx_t Inserted(RowGroup &row_group, TransactionData transaction) {
	ScanOptions options(transaction);
	options.delete_type = DeletedScanType::INCLUDE_ALL_DELETED;
	SelectionVector selection(STANDARD_VECTOR_SIZE);
	idx_t inserted = 0;
	idx_t rows = row_group.count;
	for (idx_t first = 0; first < rows; first += STANDARD_VECTOR_SIZE) {
		auto most = MinValue<idx_t>(STANDARD_VECTOR_SIZE, rows - first);
		inserted += row_group.GetSelVector(options, first / STANDARD_VECTOR_SIZE, selection, most);
	}
	return inserted;
}

std::map<idx_t, RowGroupState> RowGroupStates(DataTable &table, TransactionData transaction,
                                              const vector<idx_t> &stored_columns) {
	std::map<idx_t, RowGroupState> states;
	auto row_groups = table.GetRowGroupCollection()->GetRowGroups();
	for (auto &node : row_groups->SegmentNodes()) {
		auto &row_group = node.GetNode();
		RowGroupState state;
		if (!HasUpdates(row_group, stored_columns)) {
			state.number = RowGroupNumbers::Get().Of(node.ReferenceNode());
			state.inserted = Inserted(row_group, transaction);
			state.visible = row_group.GetVisibleRowCount(transaction);
		}
		states[node.GetRowStart()] = state;
	}
	return states;
}

//! The SQL of the rows of these row groups, in their order, with their row ids; a snapshot that keeps those.
static unique_ptr<QuerySnapshot> ReadGroups(ClientContext &context, const string &table_name,
                                            const vector<idx_t> &stored_columns, const DhStoredGroup *groups,
                                            uint64_t group_count, string &sql) {
	auto name = QualifiedName::Parse(table_name);
	auto &entry = Catalog::GetEntry<TableCatalogEntry>(context, name);
	if (!entry.IsDuckTable() || group_count == 0) {
		throw InvalidInputException("%s has no such rows", table_name);
	}
	auto &storage = entry.Cast<DuckTableEntry>().GetStorage();
	auto snapshot = make_uniq<QuerySnapshot>(context);
	snapshot->Add(context, storage.GetAttached());
	auto states = RowGroupStates(storage, DuckTransaction::Get(context, storage.GetAttached()), stored_columns);
	// From where on and up to where, together with those that follow.
	vector<pair<idx_t, idx_t>> runs;
	for (uint64_t i = 0; i < group_count; i++) {
		auto &wanted = groups[i];
		auto found = states.find(wanted.first);
		RowGroupState state {wanted.number, wanted.inserted, wanted.visible};
		if (found == states.end() || wanted.number == 0 || !(found->second == state)) {
			throw InvalidInputException("the rows of %s have changed", table_name);
		}
		auto next = std::next(found);
		auto end = next == states.end() ? wanted.first + wanted.inserted : next->first;
		if (!runs.empty() && runs.back().second == wanted.first) {
			runs.back().second = end;
		} else {
			runs.emplace_back(wanted.first, end);
		}
	}
	sql = "SELECT rowid";
	for (auto column : stored_columns) {
		auto &definition = entry.GetColumns().GetColumn(PhysicalIndex(column));
		sql += ", " + ColumnRefExpression(definition.Name()).ToString();
	}
	sql += " FROM " + entry.schema.GetQualifiedName(entry.name).ToString() + " WHERE ";
	for (idx_t i = 0; i < runs.size(); i++) {
		sql += (i > 0 ? " OR " : "") + ("rowid >= " + to_string(runs[i].first)) + " AND rowid < " +
		       to_string(runs[i].second);
	}
	return snapshot;
}

} // namespace duckherder

using duckherder::Fragment;
using duckherder::QuerySnapshot;

extern "C" {

//! The table that a split input is of, then the numbers and names of the columns that are read; nothing if their rows
//! can't be kept elsewhere.
void dh_fragment_stored(const Fragment *fragment, uint64_t input, DhTextSink sink, void *target, DhError *error) {
	duckherder::Guard(error, false, [&]() {
		auto &split = fragment->Splits().at(input);
		if (split.files || split.stored_columns.empty()) {
			return true;
		}
		sink(target, duckherder::ToText(split.table.ToString()));
		for (idx_t i = 0; i < split.names.size(); i++) {
			sink(target, duckherder::ToText(to_string(split.stored_columns[i])));
			sink(target, duckherder::ToText(split.names[i].GetIdentifierName()));
		}
		return true;
	});
}

//! The SQL of the rows of row groups, if they are as they are described, to be run in the snapshot
//! that is given back.
QuerySnapshot *dh_stored_rows(DhConnection *connection, DhText table, const uint64_t *columns, uint64_t column_count,
                              const DhStoredGroup *groups, uint64_t group_count, DhTextSink sink, void *target,
                              DhError *error) {
	return duckherder::Guard(error, static_cast<QuerySnapshot *>(nullptr), [&]() {
		vector<idx_t> stored_columns(columns, columns + column_count);
		string sql;
		unique_ptr<QuerySnapshot> snapshot;
		connection->context->RunFunctionInTransaction([&]() {
			snapshot = duckherder::ReadGroups(*connection->context, duckherder::ToString(table), stored_columns, groups,
			                                  group_count, sql);
		});
		sink(target, duckherder::ToText(sql));
		return snapshot.release();
	});
}

} // extern "C"
