// Files that tasks write: what a COPY TO asks for, and the same asked of one task.
#pragma once

#include "duckdb/common/identifier.hpp"
#include "duckdb/parser/parsed_data/copy_info.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/planner/operator/logical_copy_to_file.hpp"

namespace duckherder {

//! What each task writes, whatever the path.
struct FileTarget {
	explicit FileTarget(const duckdb::LogicalCopyToFile &copy);

	//! The query of `rows` and everything else that COPY writes, as a query of what it has written.
	duckdb::unique_ptr<duckdb::QueryNode> WritingQuery(duckdb::unique_ptr<duckdb::QueryNode> rows,
	                                                   const duckdb::string &path) const;

	//! Of the files.
	duckdb::vector<duckdb::Identifier> names;
	//! Format and options, without a path.
	duckdb::unique_ptr<duckdb::CopyInfo> copy;
};

//! The columns of what tasks give that write: how many rows, and into which files.
duckdb::vector<duckdb::LogicalType> WrittenTypes();

//! Whether the user asks for a directory of files.
bool WritesDirectory(const duckdb::LogicalCopyToFile &copy);
//! Why the driver has to write such a directory by itself; empty if tasks can write the files.
duckdb::string WhyDriverWrites(const duckdb::LogicalCopyToFile &copy);
//! Its path as every process of this machine has it.
duckdb::string AbsolutePath(duckdb::ClientContext &context, const duckdb::string &path);

} // namespace duckherder
