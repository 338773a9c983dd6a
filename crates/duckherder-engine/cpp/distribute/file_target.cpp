#include "file_target.hpp"

#include "duckdb/common/file_system.hpp"
#include "duckdb/parser/common_table_expression_info.hpp"
#include "duckdb/parser/expression/star_expression.hpp"
#include "duckdb/parser/query_node/copy_query_node.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const FORMAT = "parquet";
//! Options that say the same of each file as of all of them. (Keys of an encryption are the session's.)
static const char *const TASK_OPTIONS[] = {"bloom_filter_false_positive_ratio",
                                           "codec",
                                           "compression",
                                           "compression_level",
                                           "data_page_size_limit",
                                           "dictionary_size_limit",
                                           "parquet_version",
                                           "string_dictionary_page_size_limit",
                                           "write_bloom_filter",
                                           "write_timestamp_as_int96"};

static void Set(CopyInfo &info, const char *option, Value value) {
	info.options[Identifier(option)] = {std::move(value)};
}

static void SetSize(CopyInfo &info, const char *option, const optional_idx &size) {
	if (size.IsValid()) {
		Set(info, option, Value::UBIGINT(size.GetIndex()));
	}
}

FileTarget::FileTarget(const LogicalCopyToFile &op) : names(op.names), copy(make_uniq<CopyInfo>()) {
	copy->format = FORMAT;
	copy->is_format_auto_detected = false;
	for (auto &option : op.copy_info->options) {
		copy->options[option.first] = option.second;
	}
	SetSize(*copy, "row_group_size", op.batch_size);
	SetSize(*copy, "row_group_size_bytes", op.batch_size_bytes);
	SetSize(*copy, "row_groups_per_file", op.batches_per_file);
	SetSize(*copy, "file_size_bytes", op.file_size_bytes);
	// Where there are several files, DuckDB keeps no order; a task's one file is one of several.
	Set(*copy, "preserve_order", Value::BOOLEAN(false));
	Set(*copy, "return_files", Value::BOOLEAN(true));
	if (!op.partition_columns.empty()) {
		vector<Value> columns;
		for (auto column : op.partition_columns) {
			columns.emplace_back(names[column].GetIdentifierName());
		}
		copy->options[Identifier("partition_by")] = std::move(columns);
		Set(*copy, "write_partition_columns", Value::BOOLEAN(op.write_partition_columns));
		Set(*copy, "hive_file_pattern", Value::BOOLEAN(op.hive_file_pattern));
	}
}

//! `query` with other names of its columns.
static unique_ptr<QueryNode> Renamed(unique_ptr<QueryNode> query, const vector<Identifier> &names) {
	auto statement = make_uniq<SelectStatement>();
	statement->node = std::move(query);
	auto rows = make_uniq<SubqueryRef>(std::move(statement), Identifier("task_rows"));
	rows->column_name_alias = names;
	auto node = make_uniq<SelectNode>();
	node->select_list.push_back(make_uniq<StarExpression>());
	node->from_table = std::move(rows);
	return std::move(node);
}

unique_ptr<QueryNode> FileTarget::WritingQuery(unique_ptr<QueryNode> rows, const string &path) const {
	auto info = copy->Copy();
	info->file_path = path;
	info->select_statement = Renamed(std::move(rows), names);
	auto definition = make_uniq<CommonTableExpressionInfo>();
	definition->query_node = make_uniq<CopyQueryNode>(std::move(info));
	auto written = make_uniq<BaseTableRef>();
	written->SetQualifiedName(QualifiedName(Identifier("written")));
	auto node = make_uniq<SelectNode>();
	node->select_list.push_back(make_uniq<StarExpression>());
	node->from_table = std::move(written);
	node->cte_map.map.insert(Identifier("written"), std::move(definition));
	return std::move(node);
}

vector<LogicalType> WrittenTypes() {
	return GetCopyFunctionReturnLogicalTypes(CopyFunctionReturnType::CHANGED_ROWS_AND_FILE_LIST);
}

bool WritesDirectory(const LogicalCopyToFile &copy) {
	return copy.per_thread_output || copy.rotate || copy.partition_output;
}

string WhyDriverWrites(const LogicalCopyToFile &copy) {
	if (copy.function.name != Identifier(FORMAT)) {
		return "files of the format " + copy.function.name.GetIdentifierName() + " are the driver's to write";
	}
	if (FileSystem::IsRemoteFile(copy.file_path) || StringUtil::Contains(copy.file_path, "://")) {
		return "\"" + copy.file_path + "\" is not a directory that workers could be asked about";
	}
	if (copy.return_type == CopyFunctionReturnType::WRITTEN_FILE_STATISTICS) {
		return "COPY has the option return_stats";
	}
	if (!copy.order_columns.empty() || (copy.partition_output && copy.partition_columns.empty())) {
		return "COPY has the option order_by";
	}
	if (copy.partition_path_expression) {
		return "COPY has the option partition_path";
	}
	if (copy.preserve_order == PreserveOrderType::PRESERVE_ORDER) {
		return "COPY has the option preserve_order";
	}
	if (!copy.write_empty_file) {
		return "COPY has the option write_empty_file";
	}
	for (auto &option : copy.copy_info->options) {
		auto known = std::any_of(std::begin(TASK_OPTIONS), std::end(TASK_OPTIONS),
		                         [&](const char *name) { return option.first == Identifier(name); });
		if (!known) {
			return "COPY has the option " + option.first.GetIdentifierName();
		}
	}
	return string();
}

string AbsolutePath(ClientContext &context, const string &path) {
	auto &fs = FileSystem::GetFileSystem(context);
	auto expanded = fs.ExpandPath(path);
	return fs.IsPathAbsolute(expanded) ? expanded : fs.JoinPath(FileSystem::GetWorkingDirectory(), expanded);
}

} // namespace duckherder
