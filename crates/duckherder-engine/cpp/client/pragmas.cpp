// Tables that the client knows by another name than the driver.
#include "catalog.hpp"
#include "functions.hpp"

#include "duckdb/function/pragma_function.hpp"
#include "duckdb/function/function_set.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static string TextArgument(const FunctionParameters &parameters, idx_t index, const char *what) {
	auto &value = parameters.values[index];
	if (value.IsNull() || value.ToString().empty()) {
		throw InvalidInputException("%s must not be NULL or empty", what);
	}
	return value.ToString();
}

//! The driver that the argument at `index` names, if there is one.
static RemoteCatalog &DriverArgument(ClientContext &context, const FunctionParameters &parameters, idx_t index) {
	return RemoteCatalog::Find(context,
	                           parameters.values.size() > index ? TextArgument(parameters, index, "the alias") : "");
}

static void RegisterRemoteTable(ClientContext &context, const FunctionParameters &parameters) {
	auto local = TextArgument(parameters, 0, "the local name");
	auto remote = TextArgument(parameters, 1, "the remote name");
	auto &catalog = DriverArgument(context, parameters, 2);
	auto name = QualifiedName::Parse(remote);
	if (!name.Catalog().empty()) {
		throw InvalidInputException("the remote name of a table is \"table\" or \"schema.table\", not \"%s\"", remote);
	}
	catalog.RegisterTable(context, Identifier(local), remote);
}

static void UnregisterRemoteTable(ClientContext &context, const FunctionParameters &parameters) {
	auto local = TextArgument(parameters, 0, "the local name");
	DriverArgument(context, parameters, 1).UnregisterTable(context, Identifier(local));
}

static void Add(ExtensionLoader &loader, const char *name, pragma_function_t function, idx_t arguments) {
	PragmaFunctionSet set {Identifier(name)};
	for (idx_t count = arguments; count <= arguments + 1; count++) {
		vector<LogicalType> types(count, LogicalType::VARCHAR);
		set.AddFunction(PragmaFunction::PragmaCall(Identifier(name), function, types));
	}
	loader.RegisterFunction(std::move(set));
}

void RegisterPragmas(ExtensionLoader &loader) {
	Add(loader, "duckherder_register_remote_table", RegisterRemoteTable, 2);
	Add(loader, "duckherder_unregister_remote_table", UnregisterRemoteTable, 1);
}

} // namespace duckherder
