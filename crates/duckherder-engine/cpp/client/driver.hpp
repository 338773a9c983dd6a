// The owners, in C++, of what Rust keeps: one driver, one session of it, one stream of rows towards it.
#pragma once

#include "api.hpp"
#include "duckdb/common/optional_idx.hpp"
#include "duckdb/common/shared_ptr.hpp"
#include "duckdb/common/types/value.hpp"
#include "duckdb/common/vector.hpp"
#include "duckdb/common/arrow/arrow_wrapper.hpp"
#include "duckdb/common/enums/statement_type.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_properties.hpp"
#include "duckdb/planner/expression/bound_parameter_data.hpp"

namespace duckherder {

//! Rust's functions; set once, before anything else of the client is used.
const DhClientTable &Rust();
void SetRust(const DhClientTable *table);

//! Lets a blocking call look at the context's interrupt flag.
DhPatience PatienceOf(duckdb::ClientContext &context);

//! Where an attachment is.
struct DriverPlace {
	//! Or several `host:port`, separated by commas: a driver and those that may take its place.
	duckdb::string host;
	uint16_t port;
	//! The driver's default one, if it is none.
	duckdb::optional<duckdb::string> database;
	bool create_if_missing = false;

	duckdb::string ToString() const;
};

//! One driver, as attached.
class Driver {
public:
	Driver(duckdb::ClientContext &context, const DriverPlace &place);
	~Driver();
	Driver(const Driver &) = delete;

	void *Handle() const {
		return handle;
	}

private:
	void *handle;
};

struct Setting {
	duckdb::string name;
	duckdb::string value;
	bool present;
};

//! What goes to the driver with a statement.
struct RemoteStatement {
	duckdb::string sql;
	duckdb::string user_sql;
	duckdb::vector<Setting> settings;
};

//! Values of parameters, by name. A literal of EXECUTE has a type of its own, which fits what is beside it.
using RemoteParameters = duckdb::vector<duckdb::pair<duckdb::string, duckdb::BoundParameterData>>;

//! A prepared statement and the columns that its rows will have.
struct PreparedRemote {
	//! Its number in the session.
	uint64_t statement;
	duckdb::StatementReturnType kind;
	bool read_only;
	duckdb::ArrowSchemaWrapper schema;
};

//! One session on a driver: one DuckDB connection there.
class Session {
public:
	explicit Session(const Driver &driver);
	~Session();
	Session(const Session &) = delete;

	//! Parses and binds on the driver, and starts there if `start` says so. `parameters` by name.
	void Prepare(duckdb::ClientContext &context, const RemoteStatement &statement, bool in_transaction,
	             const RemoteParameters &parameters, DhStart start, PreparedRemote &result);
	//! Forgets a statement that was not executed; it stops if it runs.
	void CloseStatement(uint64_t statement);
	//! Starts a prepared statement, if it does not run yet, which the driver forgets once it has run.
	duckdb::shared_ptr<ArrowSource> Execute(duckdb::ClientContext &context, uint64_t statement, bool in_transaction,
	                                        const duckdb::string &user_sql);
	//! Prepares and starts in one go, for a statement that is certain to be executed; if it `reads` only, once more where
	//! a driver or a worker is lost.
	duckdb::shared_ptr<ArrowSource> Run(duckdb::ClientContext &context, const RemoteStatement &statement,
	                                    bool in_transaction, const RemoteParameters &parameters,
	                                    PreparedRemote &result, bool reads = false);
	void EndTransaction(DhPatience patience, bool commit);
	//! How a statement would be run, as a Mermaid flowchart; `explain` is the EXPLAIN of it.
	duckdb::string Draw(duckdb::ClientContext &context, const RemoteStatement &explain, bool in_transaction);
	DhCatalogState Describe(duckdb::ClientContext &context, duckdb::optional_idx known_version, bool in_transaction,
	                        DhCatalogSink sink, DhTextSink database, void *target);

	void *Handle() const {
		return handle;
	}

private:
	void *handle;
};

//! Rows on their way to a statement on the driver.
class Ingest {
public:
	Ingest(duckdb::ClientContext &context, Session &session, const RemoteStatement &statement, bool in_transaction,
	       const duckdb::vector<duckdb::LogicalType> &types, const duckdb::vector<duckdb::string> &names);
	~Ingest();
	Ingest(const Ingest &) = delete;

	void Write(duckdb::ClientContext &context, ArrowArray &array);
	//! The rows changed; what the statement returns, if it does, in `returned`.
	int64_t Finish(duckdb::ClientContext &context, duckdb::shared_ptr<ArrowSource> &returned);

private:
	void *handle;
};

//! The Arrow options in which rows and parameters of these TravellingTypes leave the client: exact for every type.
duckdb::ClientProperties ExactArrow(duckdb::ClientContext &context, const duckdb::vector<duckdb::LogicalType> &types);
//! Columns that leave the client, as Rust takes them over.
class LeavingColumns {
public:
	LeavingColumns(duckdb::ClientContext &context, const duckdb::vector<duckdb::LogicalType> &types,
	               const duckdb::vector<duckdb::string> &names);
	LeavingColumns(duckdb::ClientContext &context, const RemoteParameters &parameters);

	const DhColumnTypes *Get() const {
		return &columns;
	}

private:
	void NameTypes();

	duckdb::ArrowSchemaWrapper schema;
	duckdb::vector<duckdb::string> type_names;
	duckdb::vector<DhText> type_texts;
	DhColumnTypes columns;
};

} // namespace duckherder
