#include "json_object.hpp"

#include "duckdb/common/to_string.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

JsonObject &JsonObject::Raw(const char *name, const string &value) {
	text += (text.empty() ? "{\"" : ",\"") + string(name) + "\":" + value;
	return *this;
}

JsonObject &JsonObject::Bool(const char *name, bool value) {
	return Raw(name, value ? "true" : "false");
}

JsonObject &JsonObject::Number(const char *name, idx_t value) {
	return Raw(name, to_string(value));
}

JsonObject &JsonObject::Text(const char *name, const string &value) {
	string quoted = "\"";
	for (auto c : value) {
		if (c == '"' || c == '\\') {
			quoted += '\\';
			quoted += c;
		} else if (static_cast<unsigned char>(c) < 0x20) {
			quoted += StringUtil::Format("\\u%04x", static_cast<int>(c));
		} else {
			quoted += c;
		}
	}
	return Raw(name, quoted + "\"");
}

string JsonObject::End() const {
	return text.empty() ? "{}" : text + "}";
}

string JsonList(const vector<string> &items) {
	return "[" + StringUtil::Join(items, ",") + "]";
}

string JsonText(const string &text) {
	JsonObject object;
	auto written = object.Text("", text).End();
	return written.substr(4, written.size() - 5);
}

string JsonTexts(const vector<string> &texts) {
	vector<string> quoted;
	for (auto &text : texts) {
		quoted.push_back(JsonText(text));
	}
	return JsonList(quoted);
}

} // namespace duckherder
