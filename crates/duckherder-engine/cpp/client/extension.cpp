// What happens when a DuckDB loads the extension.
#include "api.hpp"
#include "catalog.hpp"
#include "functions.hpp"

#include "duckdb/main/config.hpp"
#include "duckdb/main/extension/extension_loader.hpp"

using namespace duckdb; // NOLINT

extern "C" {

//! Registers everything with the DuckDB that loads; `loader` is its `ExtensionLoader`. An exception travels on into
//! that DuckDB, which reports it.
void dh_client_load(ExtensionLoader *loader, const DhClientTable *rust) {
	duckherder::SetRust(rust);
	loader->SetDescription("Runs SQL on a herd of machines: attach a Duckherder driver");
	auto &config = DBConfig::GetConfig(loader->GetDatabaseInstance());
	duckherder::RegisterAttach(config);
	duckherder::RegisterExplain(config);
	duckherder::RegisterScalarFunctions(*loader);
	duckherder::RegisterTableFunctions(*loader);
	duckherder::RegisterPragmas(*loader);
}

} // extern "C"
