#include "session_settings.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static void AddName(void *settings, DhText name) {
	static_cast<vector<NamedSetting> *>(settings)->emplace_back(ToString(name));
}

void SessionSettings::AddTo(ClientContext &context, vector<Setting> &settings) {
	std::lock_guard<std::mutex> guard(lock);
	if (known.empty()) {
		Rust().session_settings(AddName, &known);
	}
	for (auto &setting : known) {
		auto value = setting.Given(context);
		settings.push_back({setting.name.GetIdentifierName(), value ? *value : string(), static_cast<bool>(value)});
	}
}

} // namespace duckherder
