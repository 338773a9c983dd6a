// JSON, as a plan is described in it.
#pragma once

#include "duckdb/common/string_util.hpp"
#include "duckdb/common/vector.hpp"

namespace duckherder {

//! Writes one JSON object, field by field.
class JsonObject {
public:
	JsonObject &Raw(const char *name, const duckdb::string &value);
	JsonObject &Bool(const char *name, bool value);
	JsonObject &Number(const char *name, duckdb::idx_t value);
	JsonObject &Text(const char *name, const duckdb::string &value);
	duckdb::string End() const;

private:
	duckdb::string text;
};

//! An array of what is JSON already.
duckdb::string JsonList(const duckdb::vector<duckdb::string> &items);
duckdb::string JsonText(const duckdb::string &text);
duckdb::string JsonTexts(const duckdb::vector<duckdb::string> &texts);

} // namespace duckherder
