// Connections that run fragments, and how these are planned.
#pragma once

#include "connection.hpp"

namespace duckherder {

//! Lets connections of this database plan fragments as such.
void RegisterTaskPlanning(duckdb::DBConfig &config);
//! All that `context` runs from now on are fragments.
void RunTasks(duckdb::ClientContext &context);
//! Whether they are.
bool RunsTasks(duckdb::ClientContext &context);

} // namespace duckherder
