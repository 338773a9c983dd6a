// The function by which a task reads its files. It has the whole scan bound, so that every task has the columns that the
// query was planned with: by this process for the query itself, or else again. Then it reads the task's part only.
#include "files.hpp"

#include "fragment.hpp"
#include "sampled.hpp"
#include "snapshot.hpp"
#include "duckdb/common/multi_file/multi_file_list.hpp"
#include "duckdb/common/multi_file/multi_file_reader.hpp"
#include "duckdb/function/table_function.hpp"
#include "duckdb/main/extension/extension_loader.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/comparison_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/expression/bound_comparison_expression.hpp"
#include "duckdb/planner/expression/bound_constant_expression.hpp"
#include "duckdb/planner/operator/logical_filter.hpp"
#include "duckdb/planner/operator/logical_projection.hpp"

#include <list>
#include <mutex>

using namespace duckdb; // NOLINT

namespace duckherder {

//! Files as they are called, whatever in their names could be a pattern.
static OpenFileInfo Exactly(const string &path) {
	OpenFileInfo file(path);
	file.extended_info = make_shared_ptr<ExtendedOpenFileInfo>();
	return file;
}

BoundScan BindCall(Binder &binder, const FileCall &call) {
	vector<unique_ptr<ParsedExpression>> arguments;
	arguments.push_back(WriteValue(ExactFiles(call.paths)));
	for (auto &option : call.options) {
		if (!option.second.IsNull()) {
			arguments.push_back(make_uniq<ComparisonExpression>(ExpressionType::COMPARE_EQUAL,
			                                                    make_uniq<ColumnRefExpression>(option.first),
			                                                    WriteValue(option.second)));
		}
	}
	auto source = make_uniq<TableFunctionRef>();
	source->function = make_uniq<FunctionExpression>(
	    QualifiedName(Identifier(SYSTEM_CATALOG), Identifier(DEFAULT_SCHEMA), call.function), std::move(arguments));
	SelectNode node;
	node.select_list.push_back(ConstantExpression::FromValue(Value::BOOLEAN(true)));
	node.from_table = std::move(source);
	auto plan = binder.Bind(static_cast<QueryNode &>(node)).plan;
	auto op = plan.get();
	while (op->type != LogicalOperatorType::LOGICAL_GET) {
		if (op->children.size() != 1) {
			throw InternalException("a scan of files is bound as %s", op->GetName());
		}
		op = op->children[0].get();
	}
	auto &get = op->Cast<LogicalGet>();
	return BoundScan {get.function, std::move(get.bind_data), get.returned_types, get.names, get.virtual_columns};
}

void KeepFiles(BoundScan &scan, const vector<string> &paths) {
	auto &data = scan.Files();
	vector<OpenFileInfo> kept;
	for (auto &path : paths) {
		kept.push_back(Exactly(path));
	}
	data.file_list = make_shared_ptr<SimpleMultiFileList>(std::move(kept));
	MultiFileReader::PruneReaders(data, *data.file_list);
	// They look at the first of all files, which need not be among these.
	scan.function.projection_expression_pushdown = nullptr;
	scan.function.get_partition_stats = nullptr;
	// Late columns don't go together with a filter on row groups (INTERNAL error in DuckDB 2.0.0).
	scan.function.late_materialization = false;
}

//! The scans of this process, by id.
struct SharedScans {
	std::mutex lock;
	unordered_map<uint64_t, weak_ptr<const FileScan>> scans;

	static SharedScans &Get() {
		static SharedScans shared;
		return shared;
	}
};

void ShareScan(const shared_ptr<const FileScan> &scan) {
	auto &shared = SharedScans::Get();
	std::lock_guard<std::mutex> guard(shared.lock);
	for (auto entry = shared.scans.begin(); entry != shared.scans.end();) {
		entry = entry->second.expired() ? shared.scans.erase(entry) : std::next(entry);
	}
	shared.scans[scan->id] = scan;
}

static shared_ptr<const FileScan> FindShared(uint64_t id) {
	auto &shared = SharedScans::Get();
	std::lock_guard<std::mutex> guard(shared.lock);
	auto found = shared.scans.find(id);
	return found == shared.scans.end() ? nullptr : found->second.lock();
}

template <class T>
static vector<T> ListOf(const Value &list) {
	vector<T> items;
	for (auto &item : ListValue::GetChildren(list)) {
		items.push_back(item.GetValue<T>());
	}
	return items;
}

static FileCall CallOf(const vector<Value> &inputs) {
	FileCall call;
	call.function = Identifier(StringValue::Get(inputs[1]));
	if (!ReadsFiles(call.function)) {
		throw InternalException("%s does not read files", call.function);
	}
	call.paths = ListOf<string>(inputs[2]);
	if (!inputs[3].IsNull()) {
		auto &fields = StructType::GetChildTypes(inputs[3].type());
		auto &values = StructValue::GetChildren(inputs[3]);
		for (idx_t i = 0; i < fields.size(); i++) {
			call.options[fields[i].first] = values[i];
		}
	}
	call.columns = StringValue::Get(inputs[4]);
	call.sample = inputs[9];
	return call;
}

//! A scan of text of another process, once a task has bound it here: it is sampled once, however many tasks it has.
struct ForeignScan {
	explicit ForeignScan(uint64_t id) : id(id) {
	}
	const uint64_t id;
	//! Held while it is bound: who comes meanwhile waits for that.
	std::mutex lock;
	unique_ptr<BoundScan> bound;
};

//! The scans of other processes whose tasks ran last.
class ForeignScans {
public:
	static ForeignScans &Get() {
		static ForeignScans known;
		return known;
	}

	shared_ptr<ForeignScan> Find(uint64_t id) {
		std::lock_guard<std::mutex> guard(lock);
		auto found = std::find_if(scans.begin(), scans.end(), [&](const auto &scan) { return scan->id == id; });
		if (found != scans.end()) {
			scans.splice(scans.begin(), scans, found);
			return scans.front();
		}
		if (scans.size() >= MOST_SCANS) {
			scans.pop_back();
		}
		scans.push_front(make_shared_ptr<ForeignScan>(id));
		return scans.front();
	}

private:
	static constexpr idx_t MOST_SCANS = 16;

	std::mutex lock;
	std::list<shared_ptr<ForeignScan>> scans;
};

static BoundScan CopyOf(const BoundScan &bound) {
	return BoundScan {bound.function, bound.data->Copy(), bound.types, bound.names, bound.virtual_columns};
}

static BoundScan BindAnew(Binder &binder, const FileCall &call) {
	auto bound = call.sample.IsNull() ? BindCall(binder, call) : BindSampled(binder, call);
	auto columns = DescribeColumns(bound.Files());
	if (columns != call.columns) {
		throw IOException("%s: the files changed while the query ran: they have the columns %s, not %s; run it again",
		                  call.function, columns, call.columns);
	}
	return bound;
}

static BoundScan BindWhole(Binder &binder, uint64_t id, const FileCall &call) {
	auto shared = FindShared(id);
	if (shared) {
		return CopyOf(shared->bound);
	}
	if (HasFooters(call.function)) {
		// Remembered by DuckDB; with the reader that has one, it knows what is in the files.
		return BindAnew(binder, call);
	}
	auto foreign = ForeignScans::Get().Find(id);
	std::lock_guard<std::mutex> guard(foreign->lock);
	if (!foreign->bound) {
		foreign->bound = make_uniq<BoundScan>(CopyOf(BindAnew(binder, call)));
	}
	return CopyOf(*foreign->bound);
}

//! `plan` with the rows of some row groups only (-1: up to the last), whose numbers its column `binding` has.
static unique_ptr<LogicalOperator> OnlyRowGroups(unique_ptr<LogicalOperator> plan, ColumnBinding binding, int64_t first,
                                                 int64_t last) {
	auto filter = make_uniq<LogicalFilter>();
	auto compare = [&](ExpressionType type, int64_t row_group) {
		filter->expressions.push_back(BoundComparisonExpression::Create(
		    type, make_uniq<BoundColumnRefExpression>(LogicalType::UBIGINT, binding),
		    make_uniq<BoundConstantExpression>(Value::UBIGINT(NumericCast<uint64_t>(row_group)))));
	};
	compare(ExpressionType::COMPARE_GREATERTHANOREQUALTO, first);
	if (last >= 0) {
		compare(ExpressionType::COMPARE_LESSTHANOREQUALTO, last);
	}
	filter->children.push_back(std::move(plan));
	return std::move(filter);
}

static column_t RowGroupColumn(const BoundScan &scan) {
	for (auto &column : scan.virtual_columns) {
		if (column.second.name == Identifier("file_row_group_number") && column.second.type == LogicalType::UBIGINT) {
			return column.first;
		}
	}
	throw InternalException("the files have no numbers of row groups");
}

static unique_ptr<LogicalOperator> BindPart(ClientContext &context, TableFunctionBindInput &input, TableIndex index,
                                            vector<Identifier> &names) {
	if (!MayBindParts(context)) {
		throw BinderException("%s is for the tasks of a query only; read the files with read_parquet, read_csv or read_json",
		                      FILES_FUNCTION);
	}
	auto binder = Binder::CreateBinder(context, input.binder);
	auto call = CallOf(input.inputs);
	auto scan = BindWhole(*binder, input.inputs[0].GetValue<uint64_t>(), call);
	auto files = ListOf<string>(input.inputs[5]);
	auto column_ids = ListOf<uint64_t>(input.inputs[6]);
	auto first_row_group = input.inputs[7].GetValue<int64_t>();
	auto last_row_group = input.inputs[8].GetValue<int64_t>();
	KeepFiles(scan, files);
	StatePart(context, scan, call, column_ids, files, first_row_group, last_row_group);
	auto get_index = binder->GenerateTableIndex();
	vector<unique_ptr<Expression>> columns;
	vector<ColumnIndex> read;
	auto column = [&](column_t id) {
		auto virtual_column = scan.virtual_columns.find(id);
		if (IsVirtualColumn(id) && virtual_column == scan.virtual_columns.end()) {
			throw InternalException("the files have no column %d", id);
		}
		auto &type = IsVirtualColumn(id) ? virtual_column->second.type : scan.types.at(id);
		columns.push_back(make_uniq<BoundColumnRefExpression>(type, ColumnBinding(get_index, ProjectionIndex(read.size()))));
		read.emplace_back(id);
	};
	for (auto id : column_ids) {
		column(id);
	}
	auto row_group_column = first_row_group >= 0 ? RowGroupColumn(scan) : COLUMN_IDENTIFIER_EMPTY;
	if (columns.empty()) {
		columns.push_back(make_uniq<BoundConstantExpression>(Value::BOOLEAN(true)));
	}
	if (first_row_group >= 0 || read.empty()) {
		read.emplace_back(row_group_column);
	}
	auto last_read = ColumnBinding(get_index, ProjectionIndex(read.size() - 1));
	unique_ptr<LogicalOperator> plan =
	    make_uniq<LogicalGet>(get_index, std::move(scan.function), std::move(scan.data), std::move(scan.types),
	                          std::move(scan.names), std::move(scan.virtual_columns));
	plan->Cast<LogicalGet>().SetColumnIds(std::move(read));
	if (first_row_group >= 0) {
		plan = OnlyRowGroups(std::move(plan), last_read, first_row_group, last_row_group);
	}
	auto projection = make_uniq<LogicalProjection>(index, std::move(columns));
	projection->children.push_back(std::move(plan));
	for (idx_t i = 0; i < projection->expressions.size(); i++) {
		names.push_back(ColumnName(i));
	}
	return std::move(projection);
}

//! It is bound as another plan and never scanned itself.
static void NeverScanned(ClientContext &, TableFunctionInput &, DataChunk &) {
	throw InternalException("%s has no rows of its own", FILES_FUNCTION);
}

void RegisterFiles(ExtensionLoader &loader) {
	auto texts = LogicalType::LIST(LogicalType::VARCHAR);
	TableFunction function(FILES_FUNCTION,
	                       {LogicalType::UBIGINT, LogicalType::VARCHAR, texts, LogicalType::ANY, LogicalType::VARCHAR, texts,
	                        LogicalType::LIST(LogicalType::UBIGINT), LogicalType::BIGINT, LogicalType::BIGINT,
	                        LogicalType::ANY},
	                       NeverScanned);
	function.bind_operator = BindPart;
	loader.RegisterFunction(function);
}

} // namespace duckherder
