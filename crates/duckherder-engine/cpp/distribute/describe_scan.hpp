// A scan of a plan, as JSON: what it reads, and how that can be divided.
#pragma once

#include "export.hpp"

#include "duckdb/main/client_context.hpp"

namespace duckherder {

duckdb::string DescribeScan(duckdb::ClientContext &context, const PlanScan &plan_scan);

} // namespace duckherder
