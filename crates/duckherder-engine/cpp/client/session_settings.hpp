// The client's settings that go along with a statement.
#pragma once

#include "driver.hpp"
#include "settings.hpp"

#include <mutex>

namespace duckherder {

//! Settings of the client's session that change what a statement means; one object an attached driver.
class SessionSettings {
public:
	//! All of them, as they are now.
	void AddTo(duckdb::ClientContext &context, duckdb::vector<Setting> &settings);

private:
	std::mutex lock;
	duckdb::vector<NamedSetting> known;
};

} // namespace duckherder
