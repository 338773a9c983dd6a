// The function that runs whole statements: found in a driver's schemas only, and listed nowhere.
#pragma once

#include "duckdb/catalog/catalog_entry.hpp"
#include "duckdb/common/optional_ptr.hpp"

#include <mutex>

namespace duckdb {
class SchemaCatalogEntry;
}

namespace duckherder {

class RemoteCatalog;

class OwnFunctions {
public:
	//! The entry of that name, made when first asked for; nothing for any other name.
	duckdb::optional_ptr<duckdb::CatalogEntry> Find(RemoteCatalog &catalog, duckdb::SchemaCatalogEntry &schema,
	                                                duckdb::CatalogType type, const duckdb::Identifier &name);

private:
	std::mutex lock;
	duckdb::unique_ptr<duckdb::CatalogEntry> query_function;
};

} // namespace duckherder
