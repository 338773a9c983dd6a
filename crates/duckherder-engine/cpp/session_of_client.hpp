// What of a client's session is no setting, and holds where its statements run: its variables.
#pragma once

#include "duckdb/common/optional.hpp"
#include "duckdb/main/client_context.hpp"

namespace duckherder {

//! The variables of a session (SET VARIABLE), types included, as text; nothing if there are none, or more than may travel
//! with every statement.
duckdb::optional<duckdb::string> WriteVariables(duckdb::ClientContext &context);
//! Whether a driver has the session's variables.
bool AreVariablesSent(duckdb::ClientContext &context);
//! Makes these, and no others, the variables of a session; nothing: it has none.
void ReadVariables(duckdb::ClientContext &context, const duckdb::optional<duckdb::string> &text);

} // namespace duckherder
