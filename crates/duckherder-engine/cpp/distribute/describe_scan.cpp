#include "describe_scan.hpp"

#include "describe_columns.hpp"
#include "estimates.hpp"
#include "json_object.hpp"
#include "wire_type.hpp"
#include "zones.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/main/attached_database.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/storage/data_table.hpp"
#include "duckdb/storage/table/data_table_info.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static bool HasEquality(const Expression &expression) {
	auto type = expression.GetExpressionType();
	if (type == ExpressionType::COMPARE_EQUAL || type == ExpressionType::COMPARE_IN) {
		return true;
	}
	bool found = false;
	ExpressionIterator::EnumerateChildren(expression,
	                                      [&](const Expression &child) { found |= HasEquality(child); });
	return found;
}

//! Whether the scan's one filter asks for values of an indexed column.
static bool AsksIndex(const LogicalGet &get, DuckTableEntry &table) {
	if (get.table_filters.FilterCount() != 1) {
		return false;
	}
	auto indexed = table.GetStorage().GetDataTableInfo()->GetIndexes().GetIndexedColumns();
	for (auto &entry : get.table_filters) {
		auto &index = get.GetColumnIds()[entry.GetIndex().GetIndex()];
		if (index.IsVirtualColumn()) {
			continue;
		}
		auto &column = table.GetColumn(index.ToLogical());
		BoundColumnRefExpression reference(column.Type(), ColumnBinding(get.table_index, entry.GetIndex()));
		if (indexed.count(column.Physical().index) && HasEquality(*entry.Filter().ToExpression(reference))) {
			return true;
		}
	}
	return false;
}

static string DescribeFiles(const FileScan &files) {
	vector<string> row_groups;
	for (auto &rows : files.row_groups) {
		vector<string> numbers;
		for (auto count : rows) {
			numbers.push_back(to_string(count));
		}
		row_groups.push_back(JsonList(numbers));
	}
	return JsonObject()
	    .Raw("paths", JsonTexts(files.paths))
	    .Raw("others", JsonTexts(files.OthersOpened()))
	    .Raw("row_groups", JsonList(row_groups))
	    .Bool("text", files.text)
	    .Bool("sampled_again", files.IsSampledAgain())
	    .End();
}

//! Why only the driver can read the scan, whoever else sees its table: the plan says by itself how texts are compared, and
//! a task that reads a column with a collation would collate once more; what COLLATE C asks for, too.
static string WhyKept(const PlanScan &plan_scan) {
	auto &get = plan_scan.get.get();
	for (auto &index : get.GetColumnIds()) {
		if (!index.IsVirtualColumn() && IsCollated(get.GetColumnType(index))) {
			return "its column " + get.GetColumnName(index).GetIdentifierName() + " has a collation";
		}
	}
	return plan_scan.files.kept;
}

//! More of them are described as fewer.
static constexpr idx_t MOST_ZONES = 128;

static string DescribeZones(const vector<Zone> &zones) {
	vector<string> described;
	auto together = zones.size() / MOST_ZONES + 1;
	for (idx_t i = 0; i < zones.size(); i += together) {
		auto all = zones[i];
		for (idx_t other = i + 1; other < MinValue<idx_t>(i + together, zones.size()); other++) {
			all.rows += zones[other].rows;
			all.least = MinValue(all.least, zones[other].least);
			all.greatest = MaxValue(all.greatest, zones[other].greatest);
		}
		described.push_back(JsonList({to_string(all.rows), to_string(all.least), to_string(all.greatest)}));
	}
	return JsonList(described);
}

static vector<Zone> ZonesOf(ClientContext &context, const PlanScan &scan, const ColumnIndex &index) {
	if (scan.files.scan) {
		auto found = scan.files.scan->zones.find(index.GetPrimaryIndex());
		return found == scan.files.scan->zones.end() ? vector<Zone>() : found->second;
	}
	auto table = scan.get.get().GetTable();
	if (!table || !table->IsDuckTable()) {
		return {};
	}
	return ZonesOf(context, table->Cast<DuckTableEntry>(), table->GetColumn(index.ToLogical()));
}

//! The columns of which a range can be read, with their numbers in the table, and what they have where.
static string DescribeRanges(ClientContext &context, const PlanScan &scan) {
	vector<string> columns;
	auto &get = scan.get.get();
	auto &read = get.GetColumnIds();
	for (idx_t i = 0; i < read.size(); i++) {
		if (HasRange(scan, read[i])) {
			JsonObject column;
			column.Raw("column", ColumnId(ColumnBinding(get.table_index, ProjectionIndex(i))));
			column.Number("number", read[i].GetPrimaryIndex());
			columns.push_back(column.Raw("zones", DescribeZones(ZonesOf(context, scan, read[i]))).End());
		}
	}
	return JsonList(columns);
}

string DescribeScan(ClientContext &context, const PlanScan &plan_scan) {
	auto &get = plan_scan.get.get();
	JsonObject scan;
	auto table = get.GetTable();
	scan.Text("name", table ? table->name.GetIdentifierName() : get.function.GetName().GetIdentifierName());
	auto shared = table && table->IsDuckTable() && !table->temporary && !table->internal && get.children.empty() &&
	              !get.at_clause && get.scan_partition_indices.empty() &&
	              !table->ParentCatalog().GetAttached().IsTemporary();
	idx_t rows = 0;
	bool asks_index = false;
	if (shared) {
		auto &duck_table = table->Cast<DuckTableEntry>();
		rows = duck_table.GetStorage().GetTotalRows();
		asks_index = AsksIndex(get, duck_table);
		// Its own column of that name hides the row ids that splits are made of.
		shared = !table->ColumnExists(Identifier("rowid"));
	}
	bool virtual_columns = false;
	vector<string> columns;
	for (auto &index : get.GetColumnIds()) {
		virtual_columns |= index.IsVirtualColumn() && !index.IsEmptyColumn();
		if (!index.IsVirtualColumn()) {
			columns.push_back(to_string(index.GetPrimaryIndex()));
		}
	}
	if (shared) {
		scan.Text("table", table->schema.GetQualifiedName(table->name).ToString()).Raw("columns", JsonList(columns));
	}
	if (plan_scan.files.scan) {
		scan.Raw("files", DescribeFiles(*plan_scan.files.scan));
		rows = get.EstimateSourceCardinality(context);
		virtual_columns = false;
	}
	scan.Text("kept", WhyKept(plan_scan)).Raw("ranges", DescribeRanges(context, plan_scan));
	return scan.Bool("shared_table", shared)
	    .Number("rows", rows)
	    .Number("row_bytes", ReadBytes(get))
	    .Bool("virtual_columns", virtual_columns)
	    .Bool("sampled", get.extra_info.sample_options != nullptr)
	    .Bool("index_lookup", asks_index)
	    .End();
}

} // namespace duckherder
