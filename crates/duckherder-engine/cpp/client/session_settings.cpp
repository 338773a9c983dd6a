#include "session_settings.hpp"

#include "duckdb/main/config.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const NAMES[] = {"TimeZone",
                                    "Calendar",
                                    "default_collation",
                                    "default_null_order",
                                    "default_order",
                                    "integer_division",
                                    "order_by_non_integer_literal",
                                    "scalar_subquery_error_on_multiple_rows",
                                    "error_on_division_by_zero",
                                    "ieee_floating_point_ops",
                                    "disable_timestamptz_casts"};

void SessionSettings::Resolve(ClientContext &context, Known &setting) {
	auto &config = DBConfig::GetConfig(context);
	optional_ptr<const ConfigurationOption> option;
	auto index = config.TryGetSettingIndex(setting.name, option);
	if (!option || !option->get_setting) {
		// An extension that is not loaded yet has no setting: it is looked for again.
		setting.index = index;
		DBConfig::TryGetDefaultValue(option, setting.default_value);
	}
}

void SessionSettings::AddTo(ClientContext &context, vector<Setting> &settings) {
	std::lock_guard<std::mutex> guard(lock);
	if (known.empty()) {
		for (auto name : NAMES) {
			known.push_back(Known {Identifier(name), optional_idx(), Value()});
		}
	}
	for (auto &setting : known) {
		if (!setting.index.IsValid()) {
			Resolve(context, setting);
		}
		Value value;
		if (!setting.index.IsValid()) {
			context.TryGetCurrentSetting(setting.name, value);
		} else if (!context.TryGetCurrentUserSetting(setting.index.GetIndex(), value)) {
			value = setting.default_value;
		}
		auto text = value.IsNull() ? string() : value.ToString();
		settings.push_back({setting.name.GetIdentifierName(), text, !text.empty()});
	}
}

} // namespace duckherder
