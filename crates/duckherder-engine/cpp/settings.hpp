// Settings that somebody changed.
#pragma once

#include "duckdb/common/identifier.hpp"
#include "duckdb/common/optional.hpp"
#include "duckdb/common/optional_idx.hpp"
#include "duckdb/main/client_context.hpp"

namespace duckherder {

//! A setting. Where DuckDB keeps it is looked up once, for one database: that costs more than reading it.
class NamedSetting {
public:
	explicit NamedSetting(const duckdb::string &name) : name(name) {
	}
	//! The value that was given to it, for the connection or for all; nothing if it has its default. A default that
	//! depends on the machine counts as given.
	duckdb::optional<duckdb::string> Given(duckdb::ClientContext &context);

	const duckdb::Identifier name;

private:
	duckdb::optional_idx index;
};

//! Which queries are put on workers: 'auto', 'always' or 'never'.
constexpr const char *DISTRIBUTION_SETTING = "duckherder_distribution";
//! How many bytes of a query's rows may wait between its stages, in the memory of one process.
constexpr const char *EXCHANGE_MEMORY_SETTING = "duckherder_exchange_memory";
//! A table with fewer rows is read by one task.
constexpr const char *MIN_SPLIT_ROWS_SETTING = "duckherder_min_split_rows";
void RegisterSettings(duckdb::DBConfig &config);

} // namespace duckherder
