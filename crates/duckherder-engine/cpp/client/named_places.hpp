// Where a statement's text names tables, functions and types, and how: what DuckDB hands over has their places, but not
// all of their names.
#pragma once

#include "duckdb/common/optional.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/qualified_name.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/sql_statement.hpp"

#include <functional>
#include <map>

namespace duckherder {

//! Whether a table's name can't be that of a file, which is there although no database has it.
bool IsWord(const duckdb::Identifier &name);

//! A place in a text: where it begins, and how long it is.
using Location = std::pair<uint32_t, uint32_t>;
//! What is named, in the order in which it is found.
using NamedPlaces = duckdb::vector<std::pair<Location, duckdb::QualifiedName>>;

//! Of a query, or of a statement: what it reads, and what is stored of it.
NamedPlaces PlacesIn(duckdb::QueryNode &node);
NamedPlaces PlacesIn(duckdb::SQLStatement &statement);

//! The places in the text of the statement that is being bound; nothing if it is not known.
NamedPlaces WrittenPlaces(duckdb::ClientContext &context);
//! The names of what the statement makes, changes or inserts into, as they were written.
duckdb::vector<duckdb::QualifiedName> WrittenSubjects(duckdb::ClientContext &context);

//! How far the places in a part of a statement are beyond those in the statement's text, which is `written`: in one of
//! several statements of a text they are places in all of it. Nothing if there is more than one way to lay one over the
//! other.
duckdb::optional<uint32_t> ShiftOf(const NamedPlaces &part, const NamedPlaces &written);

//! Whether what it calls functions of that name by is such: all, or none, or (nothing) some and others not.
duckdb::optional<bool> AreCalls(duckdb::ClientContext &context, const duckdb::Identifier &function,
                                const std::function<bool(const duckdb::QualifiedName &)> &such);

} // namespace duckherder
