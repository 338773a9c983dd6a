// duckherder_explain: how a driver would run a statement, as a picture.
#pragma once

#include "catalog.hpp"

namespace duckherder {

//! A Mermaid flowchart of the stages of one statement, which is bound as if it came now and does not run. Names without a
//! catalog are looked up in `names`, if it is given, and as everywhere else otherwise.
duckdb::string DrawStatement(duckdb::ClientContext &context, const duckdb::string &sql,
                             duckdb::optional_ptr<RemoteCatalog> names);

} // namespace duckherder
