// The objects that Rust holds by pointer.
#pragma once

#include "bridge.hpp"
#include "duckdb/common/arrow/arrow_format.hpp"
#include "duckdb/main/connection.hpp"
#include "duckdb/main/database.hpp"
#include "duckdb/main/query_result_stream.hpp"
#include "duckdb/parser/sql_statement.hpp"

struct DhDatabase : public duckdb::DuckDB {
	using duckdb::DuckDB::DuckDB;
};

struct DhConnection : public duckdb::Connection {
	using duckdb::Connection::Connection;
};

//! What is known of a statement's result before its rows.
struct DhDescription {
	duckdb::vector<duckdb::LogicalType> types;
	duckdb::ArrowSchemaWrapper schema;
	duckdb::StatementProperties properties;
};

//! One parsed statement, the values of its parameters, and what binding it with them has told.
struct DhStatement {
	duckdb::shared_ptr<duckdb::ClientContext> context;
	duckdb::unique_ptr<duckdb::SQLStatement> statement;
	duckdb::identifier_map_t<duckdb::BoundParameterData> parameters;
	DhDescription description;
	duckdb::vector<duckdb::string> parameter_names;
};

//! A running statement whose rows come as Arrow arrays.
struct DhResult {
	explicit DhResult(duckdb::unique_ptr<duckdb::QueryResult> result) : stream(std::move(result)) {
	}
	duckdb::QueryResultStream<duckdb::ArrowFormat> stream;
	DhDescription description;
	//! Rust reads the arrays as what `description` says.
	bool types_checked = false;
};
