#include "icu.hpp"

#include "duckdb/main/extension/extension_loader.hpp"
#include "duckdb_static_extension.h"

extern "C" void icu_duckdb_cpp_init(duckdb::ExtensionLoader &loader);

namespace {

//! What DuckDB's own generated loader says about json and parquet, for icu.
int32_t DescribeIcu(duckdb_extension_descriptor *descriptor) {
	if (descriptor->version < 1) {
		descriptor->set_error(descriptor, "extension icu needs descriptor layout 1");
		return 1;
	}
	descriptor->version = 1;
	descriptor->name = "icu";
	descriptor->extension_version = "v2.0.0";
	descriptor->api_version = "v2.0.0";
	descriptor->entry_cpp = reinterpret_cast<void (*)()>(icu_duckdb_cpp_init);
	return 0;
}

} // namespace

extern "C" int32_t dh_register_icu() {
	return duckdb_register_static_extension(DescribeIcu);
}
