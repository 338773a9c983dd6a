// What the planner in Rust is asked, and what it answers; mirrored in src/distribute/ffi.rs.
#pragma once

#include "arrow_source.hpp"
#include "bridge.hpp"

namespace duckherder {
class Fragment;
class Snapshot;
} // namespace duckherder

extern "C" {

//! How the operator at the cut is divided; `Cut` in the planner.
enum DhCut : int { DH_CUT_NOTHING = 0, DH_CUT_SUBTREE = 1, DH_CUT_COPY = 2, DH_CUT_PARTIAL_AGGREGATE = 3 };

struct DhDecision {
	int cut;
	//! Preorder number of the operator.
	uint64_t node;
	//! Rust's record of the query; ends with release_query. Null if nothing is cut.
	void *query;
};

//! One poll of an exchange: as DhPoll, and a DuckDB chunk of a task in this process.
enum DhExchangePoll : int { DH_EXCHANGE_CHUNK = 3 };

struct DhRowGroup {
	uint64_t start;
	uint64_t rows;
};

//! The Rust side of distribution. All of it may be called from any thread.
struct DhDistributorTable {
	//! Decides about a plan, described as JSON.
	void (*decide)(void *self, DhText plan, DhDecision *decision, DhError *error);
	//! The plan turned out not to be expressible: it stays on the driver, for this reason.
	void (*stay)(void *self, DhText reason);
	//! Why the last plan of this connection stays on the driver; nothing is sent if it does not.
	void (*reason)(void *self, void *sink_target, DhTextSink sink);
	void (*release)(void *self);

	//! Lines for EXPLAIN, each "key=value", before and after running.
	void (*describe)(void *query, DhText fragment, void *sink_target, DhTextSink sink);
	void (*release_query)(void *query);
	//! Starts the tasks; fragment and snapshot become Rust's. The answer is an exchange.
	void *(*start)(void *query, duckherder::Fragment *fragment, duckherder::Snapshot *snapshot,
	               const DhRowGroup *row_groups, uint64_t count, DhError *error);

	uint64_t (*partitions)(void *exchange);
	//! `waker` becomes Rust's. Fills `chunk` (a DataChunk, now the caller's) or `array`; at the end `rows`, which is
	//! how many rows there must have been.
	int (*poll)(void *exchange, uint64_t partition, void *waker, void **chunk, ArrowArray *array, uint64_t *rows,
	            DhError *error);
	//! The Arrow schema of the arrays.
	void (*schema)(void *exchange, ArrowSchema *schema, DhError *error);
	//! Stops what still runs.
	void (*release_exchange)(void *exchange);
};
}
