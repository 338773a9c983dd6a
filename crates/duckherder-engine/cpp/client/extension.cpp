// What happens when a DuckDB loads the extension.
#include "api.hpp"
#include "bind_otherwise.hpp"
#include "catalog.hpp"
#include "column_names.hpp"
#include "connection_state.hpp"
#include "functions.hpp"
#include "seed.hpp"
#include "sequences.hpp"
#include "settings.hpp"
#include "statements.hpp"

#include "duckdb/main/config.hpp"
#include "duckdb/main/connection_manager.hpp"
#include "duckdb/main/extension/extension_loader.hpp"
#include "duckdb/planner/extension_callback.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Every connection has our state from its first statement on: DuckDB asks for it before it plans, and binds
//! parameters otherwise.
struct ConnectionWatch : public ExtensionCallback {
	void OnConnectionOpened(ClientContext &context) override {
		ConnectionState::Get(context);
	}
};

static void WatchConnections(DatabaseInstance &instance) {
	ExtensionCallback::Register(DBConfig::GetConfig(instance), make_shared_ptr<ConnectionWatch>());
	for (auto &context : ConnectionManager::Get(instance).GetConnectionList()) {
		ConnectionState::Get(*context);
	}
}

} // namespace duckherder

extern "C" {

//! Registers everything with the DuckDB that loads; `loader` is its `ExtensionLoader`. An exception travels on into
//! that DuckDB, which reports it.
void dh_client_load(ExtensionLoader *loader, const DhClientTable *rust) {
	duckherder::SetRust(rust);
	loader->SetDescription("Runs SQL on a herd of machines: attach a Duckherder driver");
	auto &config = DBConfig::GetConfig(loader->GetDatabaseInstance());
	duckherder::WatchConnections(loader->GetDatabaseInstance());
	duckherder::RegisterSettings(config);
	duckherder::RegisterAttach(config);
	duckherder::RegisterExplain(config);
	duckherder::RegisterStatements(config);
	duckherder::RegisterColumnNames(config);
	duckherder::RegisterBindOtherwise(config);
	duckherder::RegisterScalarFunctions(*loader);
	duckherder::RegisterTableFunctions(*loader);
	duckherder::RegisterSequenceFunctions(*loader);
	duckherder::RegisterSeedFunction(*loader);
	duckherder::RegisterPragmas(*loader);
}

} // extern "C"
