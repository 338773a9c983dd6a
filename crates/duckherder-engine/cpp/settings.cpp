#include "settings.hpp"

#include "bridge.hpp"
#include "connection.hpp"

#include "duckdb/execution/operator/helper/physical_set.hpp"
#include "duckdb/main/config.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const OF_THE_MACHINE = "TimeZone";

optional<string> NamedSetting::Given(ClientContext &context) {
	if (!index.IsValid()) {
		// An extension's setting is there once the extension is.
		optional_ptr<const ConfigurationOption> option;
		index = DBConfig::GetConfig(context).TryGetSettingIndex(name, option);
	}
	Value value;
	auto given = index.IsValid() && context.TryGetCurrentUserSetting(index.GetIndex(), value);
	if (!given && name == OF_THE_MACHINE) {
		given = context.TryGetCurrentSetting(name, value);
	}
	if (!given || value.IsNull()) {
		return {};
	}
	return value.ToString();
}

static void CheckDistribution(ClientContext &, SetScope, Value &value) {
	auto text = StringUtil::Lower(value.ToString());
	if (text != "auto" && text != "always" && text != "never") {
		throw InvalidInputException("Invalid value '%s' for %s: expected 'auto', 'always' or 'never'", value.ToString(),
		                            DISTRIBUTION_SETTING);
	}
	value = Value(text);
}

static void CheckExchangeMemory(ClientContext &, SetScope, Value &value) {
	try {
		if (DBConfig::ParseMemoryLimit(value.ToString()).IsValid()) {
			return;
		}
	} catch (const std::exception &) {
		// Said below, with the setting's name.
	}
	throw InvalidInputException("Invalid value '%s' for %s: expected a number of bytes, for example '64MB'",
	                            value.ToString(), EXCHANGE_MEMORY_SETTING);
}

void RegisterSettings(DBConfig &config) {
	config.AddExtensionOption(DISTRIBUTION_SETTING,
	                          "Which queries run on Duckherder's workers: 'auto' decides by cost, 'always' takes all "
	                          "that can, 'never' leaves them on the driver",
	                          LogicalType::VARCHAR, Value("auto"), CheckDistribution);
	config.AddExtensionOption(EXCHANGE_MEMORY_SETTING,
	                          "Bytes of a query's rows that may wait in the memory of each of Duckherder's processes "
	                          "between the query's stages; more goes to disk",
	                          LogicalType::VARCHAR, Value("256MiB"), CheckExchangeMemory);
	config.AddExtensionOption(MIN_SPLIT_ROWS_SETTING,
	                          "A table with fewer rows than this is read by one of Duckherder's tasks, not divided among "
	                          "several",
	                          LogicalType::UBIGINT, Value::UBIGINT(DEFAULT_ROW_GROUP_SIZE));
}

} // namespace duckherder

extern "C" {

//! As SET SESSION, without a statement.
bool dh_connection_set(DhConnection *connection, DhText name, DhText value, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		auto &context = *connection->context;
		auto mark = connection->statements->Mark(context, duckherder::Reach::SESSION);
		context.RunFunctionInTransaction([&]() {
			PhysicalSet::SetVariable(context, Identifier(duckherder::ToString(name)), SetScope::SESSION,
			                         Value(duckherder::ToString(value)));
		});
		return true;
	});
}

//! Gives the value to the sink, if there is one.
bool dh_connection_given_setting(DhConnection *connection, DhText name, DhTextSink sink, void *target, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		auto value = duckherder::NamedSetting(duckherder::ToString(name)).Given(*connection->context);
		if (value) {
			sink(target, duckherder::ToText(*value));
		}
		return true;
	});
}

//! Where DuckDB puts temporary files; nothing if nowhere.
bool dh_connection_temp_directory(DhConnection *connection, DhTextSink sink, void *target, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		Value value;
		connection->context->TryGetCurrentSetting(Identifier("temp_directory"), value);
		if (!value.IsNull() && !value.ToString().empty()) {
			auto directory = value.ToString();
			sink(target, duckherder::ToText(directory));
		}
		return true;
	});
}

//! How many bytes of a query's rows may wait in memory.
uint64_t dh_connection_exchange_memory(DhConnection *connection, DhError *error) {
	return duckherder::Guard<uint64_t>(error, 0, [&]() -> uint64_t {
		Value value;
		connection->context->TryGetCurrentSetting(Identifier(duckherder::EXCHANGE_MEMORY_SETTING), value);
		return DBConfig::ParseMemoryLimitOrMaximum(value.ToString());
	});
}

} // extern "C"
