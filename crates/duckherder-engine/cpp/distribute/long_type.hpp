// Types of many values in fragments, such as an ENUM of 70,000.
#pragma once

#include "duckdb/parser/query_node.hpp"

namespace duckdb {
class ExtensionLoader;
}

namespace duckherder {

//! Writes them as one text: DuckDB binds each value of a type that is written out by itself, which takes some milliseconds a
//! thousand, for every task. A text that came before takes none (wire_type.cpp).
void ShortenTypes(duckdb::QueryNode &node);
void RegisterLongType(duckdb::ExtensionLoader &loader);

} // namespace duckherder
