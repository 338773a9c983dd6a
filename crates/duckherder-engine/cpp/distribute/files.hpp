// Scans of files (read_parquet, read_csv, read_json ...) and the parts of them that tasks read.
#pragma once

#include "duckdb/common/multi_file/multi_file_states.hpp"
#include "duckdb/parser/parsed_expression.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "zones.hpp"

namespace duckdb {
class ExtensionLoader;
} // namespace duckdb

namespace duckherder {

//! The function of DuckDB's that a scan of files calls, and its arguments.
struct FileCall {
	duckdb::Identifier function;
	//! All files: those that nobody reads decide about the columns, too.
	duckdb::vector<duckdb::string> paths;
	duckdb::named_argument_map_t options;
	//! Names and types that the files give together.
	duckdb::string columns;
	//! How they came to give them, for others (sampled.hpp); NULL if these have to find out.
	duckdb::Value sample = duckdb::Value();
};

//! A scan as DuckDB bound it. What it found out about the files takes long for text: tasks of this process copy it.
struct BoundScan {
	duckdb::BoundTableFunction function;
	duckdb::unique_ptr<duckdb::FunctionData> data;
	duckdb::vector<duckdb::LogicalType> types;
	duckdb::vector<duckdb::Identifier> names;
	duckdb::virtual_column_map_t virtual_columns;

	duckdb::MultiFileBindData &Files() const {
		return data->Cast<duckdb::MultiFileBindData>();
	}
};

//! What a scan reads. Its units, which are what tasks divide, are row groups or whole files, counted through all files.
struct FileScan {
	//! Tells it from all others, also from those of other processes.
	uint64_t id;
	FileCall call;
	BoundScan bound;
	//! The files that are read, in order.
	duckdb::vector<duckdb::string> paths;
	//! Rows of each row group of each file; empty if files are not divided.
	duckdb::vector<duckdb::vector<duckdb::idx_t>> row_groups;
	//! Of the columns that have a range, by their ids: what they have where, if all files say so.
	duckdb::map<duckdb::column_t, duckdb::vector<Zone>> zones;
	//! Not Parquet.
	bool text;

	//! Whether whoever binds the call has to find out how its files are written.
	bool IsSampledAgain() const {
		return text && call.sample.IsNull();
	}
	//! Files that the query leaves out, but that whoever binds the call opens, since they decide about its columns.
	duckdb::vector<duckdb::string> OthersOpened() const;

	//! The rows of the units from `first` to `last` (-1: open): columns by their ids in the scan, named c0, c1 ...
	duckdb::unique_ptr<duckdb::QueryNode> PartQuery(const duckdb::vector<duckdb::column_t> &column_ids, int64_t first,
	                                                int64_t last) const;

private:
	//! One call of FILES_FUNCTION.
	duckdb::unique_ptr<duckdb::QueryNode> PieceQuery(const duckdb::vector<duckdb::column_t> &column_ids,
	                                                 const duckdb::vector<duckdb::string> &files,
	                                                 int64_t first_row_group, int64_t last_row_group) const;
};

//! A scan as workers could read it, or why they can't; neither for what is no scan of files.
struct FoundFiles {
	duckdb::shared_ptr<const FileScan> scan;
	duckdb::string kept;
};

//! Where a file has the column of a scan, as it is read.
duckdb::optional_idx PlaceOf(const duckdb::MultiFileBindData &scan, duckdb::column_t id,
                             const duckdb::vector<duckdb::MultiFileColumnDefinition> &physical);

//! What `get` reads. Looks into the footers of Parquet files.
FoundFiles FindFiles(duckdb::ClientContext &context, duckdb::LogicalGet &get);

//! Whether it is one of DuckDB's functions whose files workers can read.
bool ReadsFiles(const duckdb::Identifier &function);
//! Whether they say of their rows how many there are, and what is in them (Parquet).
bool HasFooters(const duckdb::Identifier &function);

//! SQL name of the function by which a task reads its part.
constexpr const char *FILES_FUNCTION = "duckherder_files";
void RegisterFiles(duckdb::ExtensionLoader &loader);

//! Lets tasks of this process find the scan for as long as it lives.
void ShareScan(const duckdb::shared_ptr<const FileScan> &scan);
//! Binds the call, whatever in the names of its files could be a pattern.
BoundScan BindCall(duckdb::Binder &binder, const FileCall &call);
//! Only these files are read from here on.
void KeepFiles(BoundScan &scan, const duckdb::vector<duckdb::string> &paths);
//! Tells DuckDB what the part's row groups say of its columns: those from the first to the last (-1: all, or up to the
//! last of all) of `files`, as they are now.
void StatePart(duckdb::ClientContext &context, BoundScan &scan, const FileCall &call,
               const duckdb::vector<duckdb::column_t> &column_ids, const duckdb::vector<duckdb::string> &files,
               int64_t first_row_group, int64_t last_row_group);
//! Names and types of all columns, as text.
duckdb::string DescribeColumns(const duckdb::MultiFileBindData &data);
//! A value as SQL.
duckdb::unique_ptr<duckdb::ParsedExpression> WriteValue(const duckdb::Value &value);

} // namespace duckherder
