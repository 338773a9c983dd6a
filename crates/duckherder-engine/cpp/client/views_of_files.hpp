// Views of a driver that read files: these may have other columns than when the driver described the view, of which no
// change of its catalog tells.
#pragma once

#include "snapshot.hpp"

namespace duckherder {

//! Whether binding the view opens files, or may do so; its own, or those of a view that it reads.
bool OpensFiles(duckdb::ClientContext &context, Snapshot &snapshot, const EntryDescription &view);

} // namespace duckherder
