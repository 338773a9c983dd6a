#include "own_functions.hpp"

#include "catalog.hpp"
#include "query_function.hpp"

#include "duckdb/catalog/catalog_entry/table_function_catalog_entry.hpp"
#include "duckdb/parser/parsed_data/create_table_function_info.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

optional_ptr<CatalogEntry> OwnFunctions::Find(RemoteCatalog &catalog, SchemaCatalogEntry &schema, CatalogType type,
                                              const Identifier &name) {
	if (type != CatalogType::TABLE_FUNCTION_ENTRY || name != Identifier(QUERY_FUNCTION)) {
		return nullptr;
	}
	std::lock_guard<std::mutex> guard(lock);
	if (!query_function) {
		CreateTableFunctionInfo info(QueryFunctions());
		info.internal = true;
		query_function = make_uniq<TableFunctionCatalogEntry>(catalog, schema, info);
	}
	return query_function.get();
}

} // namespace duckherder
