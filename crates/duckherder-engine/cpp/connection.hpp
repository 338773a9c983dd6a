// The objects that Rust holds by pointer.
#pragma once

#include "bridge.hpp"
#include "duckdb/common/optional.hpp"
#include "duckdb/main/connection.hpp"
#include "duckdb/main/database.hpp"
#include "duckdb/main/query_result_stream.hpp"
#include "duckdb/parser/sql_statement.hpp"
#include "exact_arrow_format.hpp"
#include "seat.hpp"
#include "statement_cache.hpp"
#include "stored_files.hpp"
#include "stored_positions.hpp"

struct DhDatabase : public duckdb::DuckDB {
	using duckdb::DuckDB::DuckDB;

	duckdb::shared_ptr<duckherder::DatabaseChanges> changes = duckdb::make_shared_ptr<duckherder::DatabaseChanges>();
	//! Where its databases are, if not on the disk.
	duckdb::shared_ptr<duckherder::StoredFiles> files;
};

struct DhConnection : public duckdb::Connection {
	explicit DhConnection(DhDatabase &database)
	    : duckdb::Connection(*database.instance),
	      statements(duckdb::make_shared_ptr<duckherder::StatementCache>(*context, database.changes)) {
		duckherder::CommitWaits::Register(*context, database.files);
		duckherder::StoredPositions::Register(*context, database.files);
	}

	duckdb::shared_ptr<duckherder::StatementCache> statements;
	//! For a client that has the connection's database attached: whether its default database is another.
	duckdb::optional<bool> elsewhere;
	//! While it runs a task: the one of its query.
	duckdb::shared_ptr<duckherder::Seat> seat;
};

//! What is known of a statement's result before its rows.
struct DhDescription {
	duckdb::vector<duckdb::LogicalType> types;
	duckdb::ArrowSchemaWrapper schema;
	duckdb::StatementProperties properties;
	//! DuckDB says of COPY TO that it only reads; run twice, it writes twice.
	bool writes_files = false;
};

//! One parsed statement, the values of its parameters, and what binding it with them has told.
struct DhStatement {
	explicit DhStatement(DhConnection &connection) : context(connection.context), cache(connection.statements) {
	}
	duckdb::shared_ptr<duckdb::ClientContext> context;
	//! Told of what the statement changes.
	duckdb::shared_ptr<duckherder::StatementCache> cache;
	duckdb::unique_ptr<duckdb::SQLStatement> statement;
	duckdb::identifier_map_t<duckdb::BoundParameterData> parameters;
	DhDescription description;
	duckdb::vector<duckdb::string> parameter_names;
};

//! A running statement whose rows come as Arrow arrays.
struct DhResult {
	DhResult(duckdb::ClientContext &context, duckdb::unique_ptr<duckdb::QueryResult> result,
	         duckdb::unique_ptr<duckherder::ChangeMark> mark_p, duckdb::shared_ptr<duckherder::Seat> seat)
	    : mark(std::move(mark_p)), stream(std::move(result)), participant(context, stream, std::move(seat)) {
	}
	//! Ends after the stream, with which the statement's own transaction ends.
	duckdb::unique_ptr<duckherder::ChangeMark> mark;
	duckdb::QueryResultStream<duckherder::ExactArrowFormat> stream;
	duckherder::Participant participant;
	DhDescription description;
	//! Where what the rows are made of may not be durable yet, and up to where it must be before the first of them is
	//! given, if not all of it.
	duckdb::shared_ptr<duckherder::StoredFiles> files;
	duckdb::optional_idx seen;
	//! That was waited for.
	bool seen_is_durable = false;
	//! Rust reads the arrays as what `description` says.
	bool types_checked = false;
	//! Of an ATTACH: the connection that has the database then.
	duckdb::shared_ptr<duckdb::ClientContext> attaches;
};
