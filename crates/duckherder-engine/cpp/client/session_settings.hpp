// The client's settings that go along with a statement.
#pragma once

#include "driver.hpp"
#include "duckdb/common/identifier.hpp"

#include <mutex>

namespace duckherder {

//! Settings of the client's session that change what a statement means; one object an attached driver.
class SessionSettings {
public:
	//! All of them, as they are now.
	void AddTo(duckdb::ClientContext &context, duckdb::vector<Setting> &settings);

private:
	//! Where DuckDB keeps a setting: looking that up costs more than reading it.
	struct Known {
		duckdb::Identifier name;
		duckdb::optional_idx index;
		duckdb::Value default_value;
	};
	void Resolve(duckdb::ClientContext &context, Known &setting);

	std::mutex lock;
	duckdb::vector<Known> known;
};

} // namespace duckherder
