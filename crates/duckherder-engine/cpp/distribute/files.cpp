#include "files.hpp"

#include "fragment.hpp"
#include "keys.hpp"
#include "sampled.hpp"
#include "settings.hpp"
#include "duckdb/common/multi_file/multi_file_list.hpp"
#include "duckdb/common/multi_file/multi_file_reader.hpp"
#include "duckdb/function/partition_stats.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/star_expression.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/query_node/set_operation_node.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/bound_expression_sql_exporter.hpp"
#include "duckdb/planner/expression/bound_constant_expression.hpp"
#include "duckdb/planner/logical_operator.hpp"

#include <atomic>
#include <random>
#include <typeinfo>

using namespace duckdb; // NOLINT

namespace duckherder {

//! The footers of so many files are read to divide them; more are enough to divide the work by files.
static constexpr idx_t MOST_FOOTERS = 64;
//! What a task is told of its files is text.
static constexpr idx_t MOST_FILES = 10000;

static const char *const PARQUET_FUNCTIONS[] = {"read_parquet", "parquet_scan"};
static const char *const OTHER_FUNCTIONS[] = {"read_csv",        "read_csv_auto",     "read_json",
                                              "read_json_auto",  "read_ndjson",       "read_ndjson_auto",
                                              "read_json_objects", "read_json_objects_auto", "read_ndjson_objects"};
//! Options whose effect is in the driver's session (tables of rejected rows, keys), or depends on how many files there
//! are and how many threads (padding, which DuckDB's parallel reader of CSV can't do with newlines in quotes).
static const char *const DRIVER_OPTIONS[] = {"store_rejects", "rejects_table",     "rejects_scan",
                                             "rejects_limit", "encryption_config", "null_padding"};

template <idx_t N>
static bool IsOneOf(const Identifier &name, const char *const (&names)[N]) {
	return std::any_of(std::begin(names), std::end(names), [&](const char *other) { return name == Identifier(other); });
}

bool HasFooters(const Identifier &function) {
	return IsOneOf(function, PARQUET_FUNCTIONS);
}

bool ReadsFiles(const Identifier &function) {
	return HasFooters(function) || IsOneOf(function, OTHER_FUNCTIONS);
}

static vector<string> PathsOf(const MultiFileList &files) {
	vector<string> paths;
	for (auto &file : files.GetAllFiles()) {
		paths.push_back(file.path);
	}
	return paths;
}

string DescribeColumns(const MultiFileBindData &data) {
	string text;
	for (idx_t i = 0; i < data.names.size(); i++) {
		text += (i == 0 ? "" : ", ") + data.names[i].GetIdentifierName() + " " + data.types[i].ToString();
	}
	return text;
}

//! Why workers can't run the scan; empty if they can.
static string WhyKept(const LogicalGet &get, const MultiFileBindData &data) {
	auto name = get.function.GetName().GetIdentifierName();
	for (auto &option : get.named_parameters) {
		if (IsOneOf(option.first, DRIVER_OPTIONS) && !option.second.IsNull()) {
			return name + " has the option " + option.first.GetIdentifierName();
		}
	}
	auto of_paths = get.parameters.size() == 1 && !get.parameters[0].IsNull() &&
	                (get.parameters[0].type().id() == LogicalTypeId::VARCHAR ||
	                 get.parameters[0].type() == LogicalType::LIST(LogicalType::VARCHAR));
	auto &reader = *data.multi_file_reader;
	if (!of_paths || typeid(reader) != typeid(MultiFileReader)) {
		return name + " reads more than files by their paths";
	}
	for (auto &index : get.GetColumnIds()) {
		auto id = index.GetPrimaryIndex();
		if (index.IsVirtualColumn() && !index.IsEmptyColumn() &&
		    (id == MultiFileReader::COLUMN_IDENTIFIER_FILE_INDEX || !get.virtual_columns.count(id))) {
			return "it reads the number of a file among all";
		}
	}
	return string();
}

//! All files before any were left out; none if they are not the same any more.
static vector<string> PathsAsBound(ClientContext &context, const LogicalGet &get, const MultiFileBindData &data,
                                   const vector<string> &paths) {
	if (get.extra_info.file_filters.empty() && !get.extra_info.total_files.IsValid()) {
		return paths;
	}
	auto &reader = *data.multi_file_reader;
	auto all = PathsOf(*reader.CreateFileList(context, get.parameters[0], reader.GetGlobInput(*data.interface)));
	idx_t next = 0;
	for (auto &path : all) {
		next += next < paths.size() && path == paths[next];
	}
	auto same = next == paths.size() && get.extra_info.total_files.IsValid() &&
	            all.size() == get.extra_info.total_files.GetIndex();
	return same ? all : vector<string>();
}

//! Rows of each row group of the one file that is scanned; none if that is not known.
static vector<idx_t> RowsOf(ClientContext &context, const BoundTableFunction &function, const FunctionData &data,
                            const vector<PartitionStatistics> &groups) {
	vector<idx_t> rows;
	for (auto &group : groups) {
		if (group.count_type != CountType::COUNT_EXACT) {
			return vector<idx_t>();
		}
		rows.push_back(group.count);
	}
	if (rows.empty() && function.cardinality) {
		auto estimate = function.cardinality(context, &data);
		if (estimate && estimate->has_estimated_cardinality && estimate->estimated_cardinality == 0) {
			rows.push_back(0);
		}
	}
	return rows;
}

//! What the row groups of one file more have where.
static void TakeZones(FileScan &scan, const MultiFileBindData &all, const MultiFileBindData &file,
                      const vector<PartitionStatistics> &groups) {
	for (auto column = scan.zones.begin(); column != scan.zones.end();) {
		auto place = file.initial_reader ? PlaceOf(all, column->first, file.initial_reader->GetColumns()) : optional_idx();
		auto told = place.IsValid() && AddZones(column->second, groups, place.GetIndex());
		column = told ? std::next(column) : scan.zones.erase(column);
	}
}

//! The row groups of one of the files; whether they are known.
static bool ReadFooter(ClientContext &context, FileScan &scan, const MultiFileBindData &all,
                       const BoundTableFunction &function, const FunctionData &data) {
	vector<PartitionStatistics> groups;
	if (function.get_partition_stats && function.cardinality) {
		GetPartitionStatsInput input(function, &data);
		groups = function.get_partition_stats(context, input);
	}
	TakeZones(scan, all, data.Cast<MultiFileBindData>(), groups);
	scan.row_groups.push_back(RowsOf(context, function, data, groups));
	return !scan.row_groups.back().empty();
}

//! Of all files; nothing if the row groups of one are not known.
static void ReadFooters(ClientContext &context, const LogicalGet &get, const MultiFileBindData &all, FileScan &scan) {
	for (auto &index : get.GetColumnIds()) {
		if (!index.IsVirtualColumn() && !index.HasChildren() && HasRange(get.returned_types.at(index.GetPrimaryIndex()))) {
			scan.zones[index.GetPrimaryIndex()];
		}
	}
	auto known = true;
	for (auto &path : scan.paths) {
		if (scan.call.paths.size() == 1) {
			known = known && ReadFooter(context, scan, all, get.function, *get.bind_data);
		} else if (known) {
			auto binder = Binder::CreateBinder(context);
			auto alone = BindCall(*binder, FileCall {scan.call.function, {path}, scan.call.options, string(), Value()});
			known = ReadFooter(context, scan, all, alone.function, *alone.data);
		}
	}
	if (!known) {
		scan.row_groups.clear();
		scan.zones.clear();
	}
}

static uint64_t NewId() {
	static std::atomic<uint64_t> count {0};
	// Of no other process, but for chance.
	static const uint64_t first = (uint64_t(std::random_device()()) << 32U) ^ std::random_device()();
	return first + count++;
}

static bool Distributes(ClientContext &context, const char *how) {
	Value distribution;
	context.TryGetCurrentSetting(DISTRIBUTION_SETTING, distribution);
	return !distribution.IsNull() && distribution.ToString() == how;
}

//! Whether anybody may want less of the files than whole ones: no table of so few rows is divided, either.
static bool MayDivideFiles(ClientContext &context, const LogicalGet &get) {
	if (Distributes(context, "always") || !get.function.cardinality) {
		return true;
	}
	Value least;
	context.TryGetCurrentSetting(MIN_SPLIT_ROWS_SETTING, least);
	auto expected = get.function.cardinality(context, get.bind_data.get());
	return least.IsNull() || !expected || !expected->has_estimated_cardinality ||
	       expected->estimated_cardinality >= least.GetValue<uint64_t>();
}

//! Whether one file alone gave the columns: then an unknown key is an error, which it is not for tasks.
static bool IsJsonOfOneFile(const FileCall &call) {
	auto sampled = call.options.find(Identifier("maximum_sample_files"));
	auto one = sampled != call.options.end() && sampled->second == Value::BIGINT(1);
	auto is_json = StringUtil::Contains(StringUtil::Lower(call.function.GetIdentifierName()), "json");
	return is_json && (one || call.paths.size() == 1);
}

static FoundFiles Look(ClientContext &context, LogicalGet &get) {
	FoundFiles found;
	auto data = dynamic_cast<MultiFileBindData *>(get.bind_data.get());
	auto parquet = HasFooters(get.function.GetName());
	if (!data || !get.children.empty() || get.GetTable() ||
	    !ReadsFiles(get.function.GetName())) {
		return found;
	}
	found.kept = WhyKept(get, *data);
	if (!found.kept.empty()) {
		return found;
	}
	FileScan scan {};
	scan.id = NewId();
	if (data->file_list->GetFileCount(MOST_FILES + 1).count > MOST_FILES) {
		found.kept = "it reads more than " + to_string(MOST_FILES) + " files";
		return found;
	}
	scan.paths = PathsOf(*data->file_list);
	scan.call = FileCall {get.function.GetName(), PathsAsBound(context, get, *data, scan.paths),
	                      get.named_parameters, DescribeColumns(*data), WriteSample(context, *data)};
	if (scan.paths.empty() || scan.call.paths.empty()) {
		found.kept = "no file is left to read";
		return found;
	}
	if (scan.call.paths.size() > MOST_FILES) {
		found.kept = "it has more than " + to_string(MOST_FILES) + " files";
		return found;
	}
	if (IsJsonOfOneFile(scan.call)) {
		found.kept = "one file of JSON gives the columns";
		return found;
	}
	if (unordered_set<string>(scan.call.paths.begin(), scan.call.paths.end()).size() < scan.call.paths.size()) {
		found.kept = "it reads a file twice";
		return found;
	}
	scan.text = !parquet;
	if (parquet && scan.paths.size() <= MOST_FOOTERS && MayDivideFiles(context, get)) {
		ReadFooters(context, get, *data, scan);
	}
	scan.bound = BoundScan {get.function, get.bind_data->Copy(), get.returned_types, get.names, get.virtual_columns};
	KeepFiles(scan.bound, scan.paths);
	found.scan = make_shared_ptr<const FileScan>(std::move(scan));
	ShareScan(found.scan);
	return found;
}

FoundFiles FindFiles(ClientContext &context, LogicalGet &get) {
	if (Distributes(context, "never")) {
		return {};
	}
	try {
		return Look(context, get);
	} catch (const InterruptException &) {
		throw;
	} catch (const std::exception &exception) {
		// DuckDB itself may never look at what is wrong.
		FoundFiles found;
		found.kept = "its files can't be looked at: " + ErrorData(exception).RawMessage();
		return found;
	}
}

unique_ptr<ParsedExpression> WriteValue(const Value &value) {
	auto exported = BoundExpressionSQLExporter::Export(BoundConstantExpression(value), {});
	if (exported.HasError()) {
		throw NotImplementedException("an option of the files can't be written as SQL");
	}
	return std::move(exported.GetValue());
}

static Value TextList(const vector<string> &texts) {
	vector<Value> values(texts.begin(), texts.end());
	return Value::LIST(LogicalType::VARCHAR, std::move(values));
}

static Value Options(const named_argument_map_t &options) {
	child_list_t<Value> fields;
	for (auto &option : options) {
		if (!option.second.IsNull()) {
			fields.emplace_back(option.first, option.second);
		}
	}
	return fields.empty() ? Value() : Value::STRUCT(std::move(fields));
}

vector<string> FileScan::OthersOpened() const {
	if (!call.sample.IsNull()) {
		return {};
	}
	// Partitions are told by the names of all files, but Parquet's columns by the first of them, unless more are asked for.
	auto &options = bound.Files().file_options;
	auto some = !text && !options.union_by_name;
	auto opened = some ? MinValue<idx_t>(options.maximum_sample_files, call.paths.size()) : call.paths.size();
	unordered_set<string> read(paths.begin(), paths.end());
	vector<string> others;
	for (idx_t i = 0; i < opened; i++) {
		if (!read.count(call.paths[i])) {
			others.push_back(call.paths[i]);
		}
	}
	return others;
}

unique_ptr<QueryNode> FileScan::PieceQuery(const vector<column_t> &column_ids, const vector<string> &files,
                                           int64_t first_row_group, int64_t last_row_group) const {
	vector<Value> ids;
	for (auto id : column_ids) {
		ids.push_back(Value::UBIGINT(id));
	}
	vector<unique_ptr<ParsedExpression>> arguments;
	arguments.push_back(WriteValue(Value::UBIGINT(id)));
	arguments.push_back(WriteValue(Value(call.function.GetIdentifierName())));
	arguments.push_back(WriteValue(TextList(call.paths)));
	arguments.push_back(WriteValue(Options(call.options)));
	arguments.push_back(WriteValue(Value(call.columns)));
	arguments.push_back(WriteValue(TextList(files)));
	arguments.push_back(WriteValue(Value::LIST(LogicalType::UBIGINT, std::move(ids))));
	arguments.push_back(WriteValue(Value::BIGINT(first_row_group)));
	arguments.push_back(WriteValue(Value::BIGINT(last_row_group)));
	arguments.push_back(WriteValue(call.sample));
	auto source = make_uniq<TableFunctionRef>();
	source->function = make_uniq<FunctionExpression>(Identifier(FILES_FUNCTION), std::move(arguments));
	auto node = make_uniq<SelectNode>();
	node->select_list.push_back(make_uniq<StarExpression>());
	node->from_table = std::move(source);
	return std::move(node);
}

unique_ptr<QueryNode> FileScan::PartQuery(const vector<column_t> &column_ids, int64_t first, int64_t last) const {
	// Files of which only some row groups are read stand alone, whole ones together.
	vector<unique_ptr<QueryNode>> pieces;
	vector<string> whole;
	auto finish_whole = [&]() {
		if (!whole.empty()) {
			pieces.push_back(PieceQuery(column_ids, whole, -1, -1));
			whole.clear();
		}
	};
	int64_t start = 0;
	for (idx_t file = 0; file < paths.size(); file++) {
		auto units = row_groups.empty() ? 1 : NumericCast<int64_t>(row_groups[file].size());
		auto from = MaxValue<int64_t>(first - start, 0);
		auto to = last < 0 ? units - 1 : MinValue<int64_t>(last - start, units - 1);
		start += units;
		if (from == 0 && to == units - 1) {
			whole.push_back(paths[file]);
		} else if (from <= to) {
			finish_whole();
			// Up to whatever is last when the task reads, so that no version of the file is read in part.
			pieces.push_back(PieceQuery(column_ids, {paths[file]}, from, to == units - 1 ? -1 : to));
		}
	}
	finish_whole();
	if (pieces.empty()) {
		return PieceQuery(column_ids, {}, -1, -1);
	}
	if (pieces.size() == 1) {
		return std::move(pieces[0]);
	}
	auto all = make_uniq<SetOperationNode>();
	all->setop_type = SetOperationType::UNION;
	all->setop_all = true;
	all->children = std::move(pieces);
	return std::move(all);
}

} // namespace duckherder
