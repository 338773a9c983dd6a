// What the client's C++ asks of Rust: drivers, sessions, statements, rows in, catalog, cluster.
// Mirrored in src/client/ffi.rs; a change here is a change there.
#pragma once

#include "arrow_source.hpp"
#include "bridge.hpp"

extern "C" {

//! How a blocking call learns that its query was interrupted; `interrupted` may be null.
struct DhPatience {
	bool (*interrupted)(void *context);
	void *context;
};

//! A text that may be missing.
struct DhOptionalText {
	DhText text;
	bool present;
};

//! A session setting that must hold on the driver; a missing value resets it.
struct DhSetting {
	DhText name;
	DhOptionalText value;
};

//! One statement on its way to the driver.
struct DhStatementText {
	//! What the driver runs.
	DhText sql;
	//! What the user wrote.
	DhText user_sql;
	const DhSetting *settings;
	size_t setting_count;
	bool in_transaction;
	//! Somebody asks how far it is, once it runs.
	bool watched;
};

//! Columns that leave the client: an Arrow schema, and each column's DuckDB type as text.
struct DhColumnTypes {
	//! Taken over.
	ArrowSchema *schema;
	const DhText *type_names;
	size_t count;
};

//! Whether preparing a statement also starts it: never; if it changes nothing; always, as it is certain to be executed.
enum DhStart : int { DH_START_NEVER = 0, DH_START_IF_READING = 1, DH_START_ALWAYS = 2 };

//! What the driver knows of a prepared statement.
struct DhPrepared {
	//! Its number in the session.
	uint64_t statement;
	//! As duckdb::StatementReturnType: 0 rows, 1 changed rows, 2 nothing.
	int kind;
	bool read_only;
};

struct DhColumn {
	DhText name;
	DhText type_name;
	bool not_null;
	bool generated;
	DhOptionalText default_sql;
	DhOptionalText comment;
};

//! As in the protocol's `SequenceState`; no `uses` if the entry is no sequence, or one that was not used.
struct DhSequenceState {
	uint64_t uses;
	int64_t next_value;
	int64_t last_value;
	bool has_last_value;
};

//! As in the protocol's `CatalogEntry`; `kind` is its `EntryKind`.
struct DhCatalogEntry {
	int kind;
	DhText schema;
	DhText name;
	DhText sql;
	DhText table;
	uint64_t estimated_rows;
	DhOptionalText comment;
	const DhColumn *columns;
	size_t column_count;
	DhSequenceState sequence;
};

struct DhCatalogState {
	uint64_t version;
	//! Whether the copy that the caller has is current; no entry was listed then.
	bool unchanged;
};

//! One row of duckherder_get_query_execution_stats().
struct DhStatistic {
	DhText sql;
	DhText execution_mode;
	DhText merge_strategy;
	int64_t duration_ms;
	int64_t workers_used;
	int64_t tasks;
	int64_t started_us;
};

//! One row of duckherder_databases().
struct DhDatabaseEntry {
	DhText name;
	bool is_default;
	uint64_t sessions;
	//! Below 0: not known.
	int64_t bytes;
};

//! One row of duckherder_workers().
struct DhWorkerEntry {
	DhText id;
	//! Missing: it is in the driver's process.
	DhOptionalText location;
	DhText state;
	DhText version;
	uint64_t threads;
	uint64_t memory_bytes;
	uint64_t memory_limit_bytes;
	uint64_t cached_bytes;
	uint64_t running_tasks;
	//! The locations of other workers that it can't reach.
	const DhText *unreachable;
	size_t unreachable_count;
	int64_t last_seen_us;
};

typedef void (*DhWorkerSink)(void *target, const DhWorkerEntry *worker);
typedef void (*DhDatabaseSink)(void *target, const DhDatabaseEntry *database);
typedef void (*DhCatalogSink)(void *target, const DhCatalogEntry *entry);
typedef void (*DhTableNameSink)(void *target, DhText name, DhText table);
typedef void (*DhStatisticSink)(void *target, const DhStatistic *statistic);

//! The table of functions that Rust gives to C++ once, at load. Every function reports failure through `error`;
//! `driver`, `session` and `ingest` are owned by C++ and given back with the matching `_free`.
struct DhClientTable {
	//! For sessions in `database`, or in the default one. `host` may be several `host:port`, separated by commas: whichever
	//! is active.
	void *(*driver_connect)(DhText host, uint16_t port, DhOptionalText database, bool create_if_missing,
	                        DhPatience patience, DhError *error);
	void (*driver_free)(void *driver);
	bool (*driver_register_worker)(void *driver, DhText worker_id, DhText location, DhPatience patience,
	                               DhError *error);
	//! Moves the driver's handle to another place; the workers registered through it go along.
	bool (*driver_replace)(void *driver, DhText driver_id, DhText location, DhPatience patience, DhError *error);
	bool (*driver_worker_count)(void *driver, uint64_t *count, DhPatience patience, DhError *error);
	bool (*driver_workers)(void *driver, DhWorkerSink sink, void *target, DhPatience patience, DhError *error);
	bool (*driver_load_extension)(void *driver, DhText name, DhPatience patience, DhError *error);
	bool (*driver_databases)(void *driver, DhDatabaseSink sink, void *target, DhPatience patience, DhError *error);
	bool (*driver_drop_database)(void *driver, DhText name, DhPatience patience, DhError *error);
	//! Gives a table another name, for every client that attaches the database; without `table`, takes it back.
	bool (*driver_name_table)(void *driver, DhText name, DhOptionalText table, DhPatience patience, DhError *error);
	bool (*driver_table_names)(void *driver, DhTableNameSink sink, void *target, DhPatience patience, DhError *error);
	bool (*driver_statistics)(void *driver, bool clear, DhStatisticSink sink, void *target, DhPatience patience,
	                          DhError *error);

	//! The names of the settings that go with every statement.
	void (*session_settings)(DhTextSink sink, void *target);
	void *(*session_open)(void *driver, DhError *error);
	//! Ends the session on the driver, without waiting for it.
	void (*session_free)(void *session);
	//! `columns`/`values`: one row with the values of the parameters, or both null; `values` is taken over.
	bool (*session_prepare)(void *session, const DhStatementText *statement, const DhColumnTypes *columns,
	                        ArrowArray *values, DhStart start, DhPatience patience, DhPrepared *prepared,
	                        ArrowSchema *schema, DhError *error);
	//! Forgets a statement that was not executed, and stops it if it runs, without waiting.
	void (*session_close_statement)(void *session, uint64_t statement);
	//! Starts a prepared statement, if it does not run yet, and forgets it.
	bool (*session_execute)(void *session, uint64_t statement, bool in_transaction, DhText user_sql,
	                        DhPatience patience, DhSourceTable *table, void **source, DhError *error);
	bool (*session_end_transaction)(void *session, bool commit, DhPatience patience, DhError *error);
	//! The name of the driver's database goes to `database`, with the same target.
	bool (*session_describe)(void *session, bool known, uint64_t known_version, bool in_transaction,
	                         DhCatalogSink sink, DhTextSink database, void *target, DhCatalogState *state,
	                         DhPatience patience, DhError *error);

	//! How a statement would be run, as a Mermaid flowchart; `explain` is the EXPLAIN of it.
	bool (*session_draw)(void *session, const DhStatementText *explain, DhTextSink sink, void *target,
	                     DhPatience patience, DhError *error);

	//! Starts sending rows to the relation `duckherder_input` of a statement.
	void *(*ingest_begin)(void *session, const DhStatementText *statement, const DhColumnTypes *columns,
	                      DhPatience patience, DhError *error);
	//! Sends a batch, waiting while the driver is behind. Takes over `array`.
	bool (*ingest_write)(void *ingest, ArrowArray *array, DhPatience patience, DhError *error);
	//! The last word: rows changed and, if the statement returns rows, those (`*source` is null otherwise).
	bool (*ingest_finish)(void *ingest, DhPatience patience, int64_t *changed_rows, DhSourceTable *table,
	                      void **source, DhError *error);
	//! An ingest that has not finished is cancelled.
	void (*ingest_free)(void *ingest);

	bool (*start_local_server)(uint16_t port, uint32_t workers, DhError *error);
	bool (*stop_local_server)(DhError *error);
	bool (*start_standalone_worker)(uint16_t port, DhError *error);
};
}
