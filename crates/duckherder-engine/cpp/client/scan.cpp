#include "scan.hpp"

#include "connection_state.hpp"
#include "transaction.hpp"
#include "unfold.hpp"
#include "wire_type.hpp"

#include "duckdb/catalog/catalog_entry/scalar_function_catalog_entry.hpp"
#include "duckdb/common/vector/constant_vector.hpp"
#include "duckdb/common/type_visitor.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/settings.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/conjunction_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/planner/bound_expression_sql_exporter.hpp"
#include "duckdb/planner/expression/bound_function_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/storage/statistics/node_statistics.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

ScanData::ScanData(RemoteTable &table_p) : table(table_p), snapshot(table_p.GetSnapshot().shared_from_this()) {
}

unique_ptr<FunctionData> ScanData::Copy() const {
	auto copy = make_uniq<ScanData>(table);
	for (auto &filter : filters) {
		copy->filters.push_back(filter->Copy());
	}
	return std::move(copy);
}

bool ScanData::Equals(const FunctionData &other_p) const {
	auto &other = other_p.Cast<ScanData>();
	if (&other.table != &table || other.filters.size() != filters.size()) {
		return false;
	}
	for (idx_t i = 0; i < filters.size(); i++) {
		if (!filters[i]->Equals(*other.filters[i])) {
			return false;
		}
	}
	return true;
}

//! Whether all functions in the condition came with DuckDB.
static bool HasKnownFunctions(ClientContext &context, const Expression &expression) {
	auto known = true;
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_FUNCTION) {
		Identifier name(expression.Cast<BoundFunctionExpression>().Function().GetName());
		auto entry = Catalog::GetSystemCatalog(context).GetEntry(context, CatalogType::SCALAR_FUNCTION_ENTRY,
		                                                         Identifier::DefaultSchema(), name,
		                                                         OnEntryNotFound::RETURN_NULL);
		known = entry && IsDuckDBs(*entry);
	}
	ExpressionIterator::EnumerateChildren(
	    expression, [&](const Expression &child) { known = known && HasKnownFunctions(context, child); });
	return known;
}

//! Whether the driver is sure to know everything that the condition uses: nothing volatile, nothing of the client's.
static bool IsPortable(ClientContext &context, const Expression &expression) {
	return !expression.IsVolatile() && !expression.HasSubquery() && !expression.HasParameter() &&
	       HasKnownFunctions(context, expression);
}

//! Whether the driver, reading the condition, might compare texts by a collation once more: the condition says already
//! how they are compared.
static bool IsCollatedAgain(const Expression &expression, bool by_default) {
	auto found = by_default ? TypeVisitor::Contains(expression.GetReturnType(), LogicalTypeId::VARCHAR)
	                        : IsCollated(expression.GetReturnType());
	ExpressionIterator::EnumerateChildren(
	    expression, [&](const Expression &child) { found = found || IsCollatedAgain(child, by_default); });
	return found;
}

//! Takes over the conditions that can be written as SQL; the others stay with the client.
static void PushFilters(ClientContext &context, LogicalGet &get, FunctionData *bind_data,
                        vector<unique_ptr<Expression>> &filters) {
	auto &data = bind_data->Cast<ScanData>();
	auto &columns = data.table.GetColumns();
	BoundExpressionSQLExportContext export_context;
	export_context.client_context = context;
	export_context.resolve_binding = [&](const ColumnBinding &binding) -> optional<ResolvedSQLColumnReference> {
		if (binding.table_index != get.table_index) {
			return {};
		}
		auto &column = get.GetColumnIds()[binding.column_index.GetIndex()];
		if (column.IsVirtualColumn() || column.HasChildren()) {
			return {};
		}
		auto &definition = columns.GetColumn(LogicalIndex(column.GetPrimaryIndex()));
		return ResolvedSQLColumnReference {{definition.Name()}, definition.Type(), {}};
	};
	auto collated_by_default = !Settings::Get<DefaultCollationSetting>(context).empty();
	vector<unique_ptr<Expression>> kept;
	for (auto &filter : filters) {
		if (IsPortable(context, *filter) && !IsCollatedAgain(*filter, collated_by_default)) {
			auto exported = BoundExpressionSQLExporter::Export(*filter, export_context);
			if (exported.IsSuccess()) {
				data.filters.push_back(std::move(exported.GetValue()));
				continue;
			}
		}
		kept.push_back(std::move(filter));
	}
	filters = std::move(kept);
}

static unique_ptr<ParsedExpression> Column(const Identifier &name) {
	return make_uniq<ColumnRefExpression>(name);
}

//! SELECT columns FROM table WHERE filters; without columns, the number of rows.
static unique_ptr<SelectNode> MakeSelect(const ScanData &data, const vector<column_t> &column_ids) {
	auto select = make_uniq<SelectNode>();
	for (auto column_id : column_ids) {
		if (column_id == COLUMN_IDENTIFIER_ROW_ID) {
			select->select_list.push_back(Column(Identifier("rowid")));
		} else if (!IsVirtualColumn(column_id)) {
			select->select_list.push_back(Column(data.table.GetColumns().GetColumn(LogicalIndex(column_id)).Name()));
		}
	}
	if (select->select_list.empty()) {
		select->select_list.push_back(
		    make_uniq<FunctionExpression>(Identifier("count_star"), vector<unique_ptr<ParsedExpression>>()));
	}
	auto table = make_uniq<BaseTableRef>();
	table->SetQualifiedName(data.table.RemoteName());
	select->from_table = std::move(table);
	vector<unique_ptr<ParsedExpression>> conditions;
	for (auto &filter : data.filters) {
		conditions.push_back(filter->Copy());
	}
	if (conditions.size() == 1) {
		select->where_clause = std::move(conditions[0]);
	} else if (!conditions.empty()) {
		select->where_clause =
		    make_uniq<ConjunctionExpression>(ExpressionType::CONJUNCTION_AND, std::move(conditions));
	}
	return select;
}

class TableScanGlobal : public RemoteScanGlobal {
public:
	TableScanGlobal(ClientContext &context, shared_ptr<ArrowSource> source, unique_ptr<ArrowSourceColumns> columns,
	                vector<column_t> column_ids)
	    : RemoteScanGlobal(context, std::move(source), *columns, std::move(column_ids)),
	      owned_columns(std::move(columns)) {
	}
	unique_ptr<ArrowSourceColumns> owned_columns;
	//! Set for a scan without columns: how many rows are still to come.
	optional_idx remaining_rows;
	std::mutex lock;

	idx_t MaxThreads() const override {
		return remaining_rows.IsValid() ? 1 : RemoteScanGlobal::MaxThreads();
	}
};

//! The one number that a scan without columns asks for.
static idx_t ReadCount(ClientContext &context, TableScanGlobal &state) {
	state.ReadAll(context);
	ArrowArray array;
	idx_t batch_index;
	TableFunctionInput nothing(nullptr, nullptr, nullptr);
	if (state.Next(context, nothing, array, batch_index) != DH_POLL_BATCH) {
		throw IOException("the driver did not answer how many rows a table has");
	}
	ArrowBatchReader reader(context, state.columns, {0});
	reader.SetBatch(array);
	DataChunk chunk;
	chunk.Initialize(context, {LogicalType::BIGINT});
	if (!reader.Read(chunk) || chunk.size() != 1) {
		throw IOException("the driver did not answer how many rows a table has");
	}
	return NumericCast<idx_t>(chunk.GetValue(0, 0).GetValue<int64_t>());
}

static unique_ptr<GlobalTableFunctionState> InitGlobal(ClientContext &context, TableFunctionInitInput &input) {
	auto &data = input.bind_data->Cast<ScanData>();
	auto &catalog = data.table.GetRemoteCatalog();
	ConnectionState::Get(context)->NoteRemote(context);
	auto &transaction = RemoteTransaction::Get(context, catalog);
	auto in_transaction = transaction.StartInTransaction(context);
	auto session = transaction.GetSession();
	auto statement = catalog.MakeStatement(context, MakeSelect(data, input.column_ids)->ToString());
	PreparedRemote prepared;
	auto source = session->session.Run(context, statement, in_transaction, {}, prepared, true);
	auto columns = make_uniq<ArrowSourceColumns>(context, prepared.schema.arrow_schema);
	// The source has the wanted columns and no others, in order.
	vector<column_t> source_columns;
	idx_t next = 0;
	for (auto column_id : input.column_ids) {
		auto absent = IsVirtualColumn(column_id) && column_id != COLUMN_IDENTIFIER_ROW_ID;
		source_columns.push_back(absent ? COLUMN_IDENTIFIER_EMPTY : next++);
	}
	auto state = make_uniq<TableScanGlobal>(context, std::move(source), std::move(columns), std::move(source_columns));
	if (next == 0) {
		state->remaining_rows = ReadCount(context, *state);
	}
	return std::move(state);
}

static void ScanTable(ClientContext &context, TableFunctionInput &input, DataChunk &output) {
	auto &global = input.global_state->Cast<TableScanGlobal>();
	if (!global.remaining_rows.IsValid()) {
		RemoteScanNext(context, input, output);
		return;
	}
	std::lock_guard<std::mutex> guard(global.lock);
	auto count = MinValue<idx_t>(STANDARD_VECTOR_SIZE, global.remaining_rows.GetIndex());
	global.remaining_rows = global.remaining_rows.GetIndex() - count;
	for (auto &column : output.data) {
		ConstantVector::SetNull(column, count_t(count));
	}
	output.SetChildCardinality(count);
}

static unique_ptr<NodeStatistics> Cardinality(ClientContext &, const FunctionData *bind_data) {
	auto &description = bind_data->Cast<ScanData>().table.Description();
	return description.kind == EntryKind::TABLE ? make_uniq<NodeStatistics>(description.estimated_rows) : nullptr;
}

static InsertionOrderPreservingMap<string> Describe(TableFunctionToStringInput &input) {
	auto &data = input.bind_data->Cast<ScanData>();
	InsertionOrderPreservingMap<string> result;
	result["Driver"] = data.table.GetRemoteCatalog().GetDBPath();
	result["Table"] = data.table.RemoteName().ToString();
	string filters;
	for (auto &filter : data.filters) {
		filters += (filters.empty() ? "" : " AND ") + filter->ToString();
	}
	if (!filters.empty()) {
		result["Filters"] = filters;
	}
	return result;
}

static virtual_column_map_t VirtualColumns(ClientContext &, optional_ptr<FunctionData> bind_data) {
	return bind_data->Cast<ScanData>().table.GetVirtualColumns();
}

static vector<column_t> RowIdColumns(ClientContext &, optional_ptr<FunctionData> bind_data) {
	return bind_data->Cast<ScanData>().table.GetRowIdColumns();
}

static optional_ptr<TableCatalogEntry> TableOf(optional_ptr<const FunctionData> bind_data) {
	return bind_data->Cast<ScanData>().table.Shown();
}

//! Has DuckDB keep a common table expression that it would copy otherwise: a scan is one table's, at one time.
static void RefuseCopy(Serializer &, const optional_ptr<FunctionData>, const BoundTableFunction &) {
	throw NotImplementedException("a scan of a driver's table can't be copied");
}

static unique_ptr<FunctionData> RefuseCopied(Deserializer &, BoundTableFunction &) {
	throw NotImplementedException("a scan of a driver's table can't be copied");
}

TableFunction ScanFunction() {
	TableFunction function(Identifier("duckherder_scan"), vector<LogicalType>(), ScanTable, nullptr, InitGlobal,
	                       InitRemoteScanLocal);
	function.projection_pushdown = true;
	function.pushdown_complex_filter = PushFilters;
	function.get_partition_data = RemoteScanPartition;
	function.table_scan_progress = RemoteScanProgress;
	function.cardinality = Cardinality;
	function.to_string = Describe;
	function.get_virtual_columns = VirtualColumns;
	function.get_row_id_columns = RowIdColumns;
	function.get_table_entry = TableOf;
	function.SetSerializeCallback(RefuseCopy);
	function.SetDeserializeCallback(RefuseCopied);
	return function;
}

} // namespace duckherder
