// What sampling text files has told about them. The driver's DuckDB samples a query's files when it binds the query; tasks
// in other processes get what came of it, and read each file exactly as the driver would.
#pragma once

#include "files.hpp"

namespace duckherder {

//! What sampling the files of `data` has told, as a STRUCT; NULL where nothing was sampled, or not only for all files
//! together: then whoever binds the scan samples, too.
duckdb::Value WriteSample(duckdb::ClientContext &context, const duckdb::MultiFileBindData &data);

//! Binds the call by its sample, without looking into a file.
BoundScan BindSampled(duckdb::Binder &binder, const FileCall &call);

//! Files as they are called, whatever in their names could be a pattern, as an argument.
duckdb::Value ExactFiles(const duckdb::vector<duckdb::string> &paths);

} // namespace duckherder
