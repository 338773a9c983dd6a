#include "settings.hpp"

#include "bridge.hpp"
#include "connection.hpp"

#include "duckdb/main/config.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const OF_THE_MACHINE = "TimeZone";

optional<string> GivenSetting(ClientContext &context, const string &name) {
	Identifier key(name);
	optional_ptr<const ConfigurationOption> option;
	auto index = DBConfig::GetConfig(context).TryGetSettingIndex(key, option);
	Value value;
	auto given = index.IsValid() && context.TryGetCurrentUserSetting(index.GetIndex(), value);
	if (!given && name == OF_THE_MACHINE) {
		given = context.TryGetCurrentSetting(key, value);
	}
	if (!given || value.IsNull()) {
		return {};
	}
	return value.ToString();
}

} // namespace duckherder

extern "C" {

//! Gives the value to the sink, if there is one.
bool dh_connection_given_setting(DhConnection *connection, DhText name, DhTextSink sink, void *target, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		auto value = duckherder::GivenSetting(*connection->context, duckherder::ToString(name));
		if (value) {
			sink(target, duckherder::ToText(*value));
		}
		return true;
	});
}

} // extern "C"
