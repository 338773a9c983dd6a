#include "seed.hpp"

#include "connection_state.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/scalar_function_catalog_entry.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/execution/expression_executor_state.hpp"
#include "duckdb/function/scalar_function.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const SETSEED = "setseed";

static void Remember(DataChunk &args, ExpressionState &state) {
	if (args.size() == 0) {
		return;
	}
	auto seed = args.GetValue(0, args.size() - 1);
	if (!seed.IsNull()) {
		ConnectionState::Get(state.GetContext())->Seeded(seed.GetValue<double>());
	}
}

void RegisterSeedFunction(ExtensionLoader &loader) {
	auto &db = loader.GetDatabaseInstance();
	auto transaction = CatalogTransaction::GetSystemTransaction(db);
	auto &schema = Catalog::GetSystemCatalog(db).GetSchema(transaction, Identifier(DEFAULT_SCHEMA));
	EntryLookupInfo lookup(CatalogType::SCALAR_FUNCTION_ENTRY, QualifiedName(Identifier(SETSEED)));
	auto entry = schema.LookupEntry(transaction, lookup);
	if (!entry || entry->type != CatalogType::SCALAR_FUNCTION_ENTRY) {
		return;
	}
	// An overload with the arguments of a known one takes its place.
	ScalarFunctionSet set {Identifier(SETSEED)};
	for (auto &known : entry->Cast<ScalarFunctionCatalogEntry>().functions.functions) {
		auto function = *known;
		auto seed = known->GetFunctionCallback();
		function.SetFunctionCallback([seed](DataChunk &args, ExpressionState &state, Vector &result) {
			seed(args, state, result);
			Remember(args, state);
		});
		set.AddFunction(std::move(function));
	}
	loader.RegisterFunction(std::move(set));
}

} // namespace duckherder
