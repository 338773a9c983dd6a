#include "client_functions.hpp"

#include "unfold.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/schema_catalog_entry.hpp"
#include "duckdb/common/identifier.hpp"
#include "duckdb/parser/expression/function_expression.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

bool CallsClientFunction(DatabaseInstance &db, const ParsedExpression &expression) {
	if (expression.GetExpressionClass() != ExpressionClass::FUNCTION) {
		return false;
	}
	auto &name = expression.Cast<FunctionExpression>().FunctionName();
	// Whatever a program registers, it registers there. What an open transaction has registered is not seen.
	auto transaction = CatalogTransaction::GetSystemTransaction(db);
	auto &schema = Catalog::GetSystemCatalog(db).GetSchema(transaction, Identifier(DEFAULT_SCHEMA));
	auto entry = schema.LookupEntry(transaction, EntryLookupInfo(CatalogType::SCALAR_FUNCTION_ENTRY, QualifiedName(name)));
	return entry && entry->type == CatalogType::SCALAR_FUNCTION_ENTRY && !IsDuckDBs(*entry);
}

} // namespace duckherder
