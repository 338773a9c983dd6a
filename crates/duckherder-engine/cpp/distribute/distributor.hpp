// What the planner in Rust is asked, and what it answers; mirrored in src/distribute/ffi.rs.
#pragma once

#include "arrow_source.hpp"
#include "bridge.hpp"

namespace duckherder {
class Fragment;
class QuerySnapshot;
} // namespace duckherder

extern "C" {

//! How the operator at a cut is divided; `Cut` in the planner.
enum DhCutKind : int {
	DH_CUT_SUBTREE = 1,
	DH_CUT_COPY = 2,
	DH_CUT_PARTIAL_AGGREGATE = 3,
	DH_CUT_SORT = 4,
	DH_CUT_DISTINCT = 5
};
//! Where the rows of a stage go; `Exchange` in the planner.
enum DhExchangeKind : int {
	DH_EXCHANGE_GATHER = 0,
	DH_EXCHANGE_HASH = 1,
	DH_EXCHANGE_BROADCAST = 2,
	DH_EXCHANGE_FORWARD = 3
};

//! A column of a plan, as its binding.
struct DhColumn {
	uint64_t table;
	uint64_t column;
};

//! One stage.
struct DhCut {
	int kind;
	int exchange;
	//! Preorder number of the operator.
	uint64_t node;
	//! For a hash shuffle: the operator whose keys decide, and which of its children this is. If the rows are forwarded:
	//! the CTE.
	uint64_t consumer;
	uint64_t side;
	//! The numbers of those of its keys that decide, in this order; all, if there are none. Alive during the call.
	const uint64_t *keys;
	uint64_t key_count;
	//! The columns of the operator that have the values of these keys, if it is not the child of whose keys decide.
	const DhColumn *columns;
	uint64_t column_count;
	//! Something on the driver shows in which order the rows come.
	bool order_shows;
	//! Each task writes its rows to a file: what the COPY TO `consumer` asks for.
	bool writes;
};
typedef void (*DhCutSink)(void *target, DhCut cut);

//! One poll of an exchange: as DhPoll, and a DuckDB chunk of a task in this process.
enum DhExchangePoll : int { DH_EXCHANGE_CHUNK = 3 };

struct DhRowGroup {
	//! The number of the scan.
	uint64_t scan;
	uint64_t start;
	uint64_t rows;
	//! See RowGroupState.
	uint64_t number;
	uint64_t inserted;
	uint64_t visible;
};

//! What one run works on; fragments and snapshot become Rust's.
struct DhRun {
	//! One a stage of the query.
	duckherder::Fragment *const *fragments;
	uint64_t fragment_count;
	duckherder::QuerySnapshot *snapshot;
	//! Of all tables, each table's in order.
	const DhRowGroup *row_groups;
	uint64_t row_group_count;
	//! For EXPLAIN ANALYZE.
	bool analyzed;
	//! Somebody asks how far it is.
	bool watched;
	//! Where tasks put the files that they write; empty if they write none.
	DhText directory;
};

//! The Rust side of distribution. All of it may be called from any thread.
struct DhDistributorTable {
	//! Decides about a plan, described as JSON: its stages, and Rust's record of the query, which ends with
	//! release_query; null if nothing is cut.
	void *(*decide)(void *self, DhText plan, void *sink_target, DhCutSink sink, DhError *error);
	//! The plan turned out not to be expressible: it stays on the driver, for this reason.
	void (*stay)(void *self, DhText reason);
	//! Why the last plan of this connection stays on the driver; nothing is sent if it does not.
	void (*reason)(void *self, void *sink_target, DhTextSink sink);
	//! Whether the last decision of this connection may be another one the next time, though nothing has changed.
	bool (*is_provisional)(void *self);
	void (*release)(void *self);

	//! Lines for EXPLAIN about the stage `top` and those that it reads, each "key=value", before and after running;
	//! a fragment for each stage of the query.
	void (*describe)(void *query, uint64_t top, const DhText *fragments, uint64_t count, void *sink_target,
	                 DhTextSink sink);
	void (*release_query)(void *query);
	//! Whether somebody may keep what is read of tables.
	bool (*may_be_kept)(void *query);
	//! Starts the tasks of the stage `top` and of those that it reads. The answer is an exchange.
	void *(*start)(void *query, uint64_t top, DhRun run, DhError *error);

	uint64_t (*partitions)(void *exchange);
	//! `waker` becomes Rust's. Fills `chunk` (a DataChunk, now the caller's) or `array`; at the end `rows`, which is
	//! how many rows there must have been.
	int (*poll)(void *exchange, uint64_t partition, void *waker, void **chunk, ArrowArray *array, uint64_t *rows,
	            DhError *error);
	//! Waits until all tasks have ended and reported, or for `most_ms`; whether they have, or have been stopped.
	bool (*ended)(void *exchange, uint64_t most_ms);
	//! The Arrow schema of the arrays.
	void (*schema)(void *exchange, ArrowSchema *schema, DhError *error);
	//! Stops what still runs.
	void (*release_exchange)(void *exchange);
};
}
