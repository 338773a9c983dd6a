// Views and macros of a driver that tell of the session that reads them: what databases there are, and what is in them.
#pragma once

#include "snapshot.hpp"

#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/query_node.hpp"

namespace duckherder {

//! Whether it is a view that the driver can't bind.
bool IsUnbound(const EntryDescription &entry);

//! Those among a driver's entries that are to be bound in the client, as all that they tell of is there; by their own names. So
//! it is with views that the driver can't bind: they may read what the client has. What reads one of them is one itself.
duckdb::identifier_set_t FindClientsEntries(duckdb::ClientContext &context, const Snapshot &snapshot);

//! Whether the query reads one of them.
bool ReadsEntry(duckdb::QueryNode &node, const duckdb::identifier_set_t &entries);

} // namespace duckherder
