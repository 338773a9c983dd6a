// A task that was planned for several runs on one connection.
#pragma once

#include "connection.hpp"

struct DhTaskPlan {
	//! What runs it once.
	duckherder::ReadyStatement Execution() const {
		return duckherder::ExecutionOf(plan, sql);
	}

	duckdb::string sql;
	duckdb::shared_ptr<duckherder::KeptPlan> plan;
};
