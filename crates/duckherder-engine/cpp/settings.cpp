#include "settings.hpp"

#include "bridge.hpp"
#include "connection.hpp"

#include "duckdb/main/config.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const OF_THE_MACHINE = "TimeZone";

optional<string> NamedSetting::Given(ClientContext &context) {
	if (!index.IsValid()) {
		// An extension's setting is there once the extension is.
		optional_ptr<const ConfigurationOption> option;
		index = DBConfig::GetConfig(context).TryGetSettingIndex(name, option);
	}
	Value value;
	auto given = index.IsValid() && context.TryGetCurrentUserSetting(index.GetIndex(), value);
	if (!given && name == OF_THE_MACHINE) {
		given = context.TryGetCurrentSetting(name, value);
	}
	if (!given || value.IsNull()) {
		return {};
	}
	return value.ToString();
}

static void CheckDistribution(ClientContext &, SetScope, Value &value) {
	auto text = StringUtil::Lower(value.ToString());
	if (text != "auto" && text != "always" && text != "never") {
		throw InvalidInputException("Invalid value '%s' for %s: expected 'auto', 'always' or 'never'", value.ToString(),
		                            DISTRIBUTION_SETTING);
	}
	value = Value(text);
}

void RegisterDistributionSetting(DBConfig &config) {
	config.AddExtensionOption(DISTRIBUTION_SETTING,
	                          "Which queries run on Duckherder's workers: 'auto' decides by cost, 'always' takes all "
	                          "that can, 'never' leaves them on the driver",
	                          LogicalType::VARCHAR, Value("auto"), CheckDistribution);
}

} // namespace duckherder

extern "C" {

//! Gives the value to the sink, if there is one.
bool dh_connection_given_setting(DhConnection *connection, DhText name, DhTextSink sink, void *target, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		auto value = duckherder::NamedSetting(duckherder::ToString(name)).Given(*connection->context);
		if (value) {
			sink(target, duckherder::ToText(*value));
		}
		return true;
	});
}

} // extern "C"
