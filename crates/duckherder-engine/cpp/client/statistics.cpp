// duckherder_get_query_execution_stats(), duckherder_get_query_history(), duckherder_databases() and duckherder_workers()
// as tables.
#include "catalog.hpp"
#include "functions.hpp"
#include "history.hpp"

#include "duckdb/function/table_function.hpp"
#include "duckdb/main/client_context.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

struct RowsState : public GlobalTableFunctionState {
	vector<vector<Value>> rows;
	idx_t next = 0;
};

static void EmitRows(ClientContext &, TableFunctionInput &input, DataChunk &output) {
	auto &state = input.global_state->Cast<RowsState>();
	idx_t count = 0;
	for (; state.next < state.rows.size() && count < STANDARD_VECTOR_SIZE; state.next++, count++) {
		for (idx_t column = 0; column < output.ColumnCount(); column++) {
			output.data[column].Append(state.rows[state.next][column]);
		}
	}
}

struct StatisticsData : public TableFunctionData {
	explicit StatisticsData(string alias_p) : alias(std::move(alias_p)) {
	}
	string alias;
	bool SupportStatementCache() const override {
		return false;
	}
};

//! The driver that the one argument names, if it is there.
static string AliasOf(const TableFunctionBindInput &input) {
	auto given = !input.inputs.empty() && !input.inputs[0].IsNull();
	return given ? StringValue::Get(input.inputs[0]) : string();
}

static unique_ptr<FunctionData> BindStatistics(ClientContext &, TableFunctionBindInput &input,
                                               vector<LogicalType> &types, vector<Identifier> &names) {
	types = {LogicalType::VARCHAR, LogicalType::VARCHAR, LogicalType::VARCHAR,  LogicalType::BIGINT,
	         LogicalType::BIGINT,  LogicalType::BIGINT,  LogicalType::TIMESTAMP};
	names = {"sql",
	         "execution_mode",
	         "merge_strategy",
	         "query_duration_ms",
	         "num_workers_used",
	         "num_tasks_generated",
	         "execution_start_time"};
	return make_uniq<StatisticsData>(AliasOf(input));
}

static void AddStatistic(void *target, const DhStatistic *statistic) {
	auto &rows = *static_cast<vector<vector<Value>> *>(target);
	rows.push_back({Value(ToString(statistic->sql)), Value(ToString(statistic->execution_mode)),
	                Value(ToString(statistic->merge_strategy)), Value::BIGINT(statistic->duration_ms),
	                Value::BIGINT(statistic->workers_used), Value::BIGINT(statistic->tasks),
	                Value::TIMESTAMP(timestamp_t(statistic->started_us))});
}

static unique_ptr<GlobalTableFunctionState> InitStatistics(ClientContext &context, TableFunctionInitInput &input) {
	auto state = make_uniq<RowsState>();
	auto &catalog = RemoteCatalog::Find(context, input.bind_data->Cast<StatisticsData>().alias);
	DhError error {nullptr, nullptr};
	Rust().driver_statistics(catalog.GetDriver().Handle(), false, AddStatistic, &state->rows, PatienceOf(context),
	                         &error);
	ThrowIfError(error);
	return std::move(state);
}

static unique_ptr<FunctionData> BindDatabases(ClientContext &, TableFunctionBindInput &input,
                                              vector<LogicalType> &types, vector<Identifier> &names) {
	types = {LogicalType::VARCHAR, LogicalType::BOOLEAN, LogicalType::BIGINT, LogicalType::BIGINT};
	names = {"database_name", "is_default", "sessions", "size_bytes"};
	return make_uniq<StatisticsData>(AliasOf(input));
}

static void AddDatabase(void *target, const DhDatabaseEntry *database) {
	auto &rows = *static_cast<vector<vector<Value>> *>(target);
	auto bytes = database->bytes < 0 ? Value(LogicalType::BIGINT) : Value::BIGINT(database->bytes);
	rows.push_back({Value(ToString(database->name)), Value::BOOLEAN(database->is_default),
	                Value::BIGINT(NumericCast<int64_t>(database->sessions)), std::move(bytes)});
}

static unique_ptr<GlobalTableFunctionState> InitDatabases(ClientContext &context, TableFunctionInitInput &input) {
	auto state = make_uniq<RowsState>();
	auto &catalog = RemoteCatalog::Find(context, input.bind_data->Cast<StatisticsData>().alias);
	DhError error {nullptr, nullptr};
	Rust().driver_databases(catalog.GetDriver().Handle(), AddDatabase, &state->rows, PatienceOf(context), &error);
	ThrowIfError(error);
	return std::move(state);
}

static unique_ptr<FunctionData> BindWorkers(ClientContext &, TableFunctionBindInput &input,
                                            vector<LogicalType> &types, vector<Identifier> &names) {
	auto locations = LogicalType::LIST(LogicalType::VARCHAR);
	types = {LogicalType::VARCHAR, LogicalType::VARCHAR, LogicalType::VARCHAR, LogicalType::VARCHAR,
	         LogicalType::BIGINT,  LogicalType::BIGINT,  LogicalType::BIGINT,  LogicalType::BIGINT,
	         LogicalType::BIGINT,  std::move(locations), LogicalType::TIMESTAMP};
	names = {"worker_id",          "address",      "state",         "version",     "threads",  "memory_bytes",
	         "memory_limit_bytes", "cached_bytes", "running_tasks", "unreachable", "last_seen"};
	return make_uniq<StatisticsData>(AliasOf(input));
}

static void AddWorker(void *target, const DhWorkerEntry *worker) {
	auto &rows = *static_cast<vector<vector<Value>> *>(target);
	vector<Value> unreachable;
	for (idx_t i = 0; i < worker->unreachable_count; i++) {
		unreachable.emplace_back(ToString(worker->unreachable[i]));
	}
	auto address = worker->location.present ? Value(ToString(worker->location.text)) : Value(LogicalType::VARCHAR);
	rows.push_back({Value(ToString(worker->id)), std::move(address), Value(ToString(worker->state)),
	                Value(ToString(worker->version)), Value::BIGINT(NumericCast<int64_t>(worker->threads)),
	                Value::BIGINT(NumericCast<int64_t>(worker->memory_bytes)),
	                Value::BIGINT(NumericCast<int64_t>(worker->memory_limit_bytes)),
	                Value::BIGINT(NumericCast<int64_t>(worker->cached_bytes)),
	                Value::BIGINT(NumericCast<int64_t>(worker->running_tasks)),
	                Value::LIST(LogicalType::VARCHAR, std::move(unreachable)),
	                Value::TIMESTAMP(timestamp_t(worker->last_seen_us))});
}

static unique_ptr<GlobalTableFunctionState> InitWorkers(ClientContext &context, TableFunctionInitInput &input) {
	auto state = make_uniq<RowsState>();
	auto &catalog = RemoteCatalog::Find(context, input.bind_data->Cast<StatisticsData>().alias);
	DhError error {nullptr, nullptr};
	Rust().driver_workers(catalog.GetDriver().Handle(), AddWorker, &state->rows, PatienceOf(context), &error);
	ThrowIfError(error);
	return std::move(state);
}

static unique_ptr<FunctionData> BindHistory(ClientContext &, TableFunctionBindInput &input,
                                            vector<LogicalType> &types, vector<Identifier> &names) {
	types = {LogicalType::VARCHAR, LogicalType::LIST(LogicalType::TIME)};
	names = {"query", "latencies"};
	return make_uniq<StatisticsData>(AliasOf(input));
}

static unique_ptr<GlobalTableFunctionState> InitHistory(ClientContext &context, TableFunctionInitInput &input) {
	auto state = make_uniq<RowsState>();
	// The history is this program's, whichever drivers ran it; but an alias that is given must be one.
	auto &alias = input.bind_data->Cast<StatisticsData>().alias;
	if (!alias.empty()) {
		RemoteCatalog::Find(context, alias);
	}
	for (auto &entry : QueryHistory::Get().List()) {
		vector<Value> latencies;
		for (auto latency : entry.latencies_us) {
			// A TIME ends with the day; what takes longer shows as the last moment of it.
			latencies.push_back(Value::TIME(dtime_t(MinValue<int64_t>(latency, Interval::MICROS_PER_DAY - 1))));
		}
		state->rows.push_back({Value(entry.query), Value::LIST(LogicalType::TIME, std::move(latencies))});
	}
	return std::move(state);
}

//! A function without arguments, or with the alias of a driver.
static void Add(ExtensionLoader &loader, const char *name, table_function_bind_t bind,
                table_function_init_global_t init) {
	TableFunctionSet set {Identifier(name)};
	for (auto &arguments : {vector<LogicalType>(), vector<LogicalType> {LogicalType::VARCHAR}}) {
		set.AddFunction(TableFunction(Identifier(name), arguments, EmitRows, bind, init));
	}
	loader.RegisterFunction(std::move(set));
}

void RegisterTableFunctions(ExtensionLoader &loader) {
	Add(loader, "duckherder_get_query_execution_stats", BindStatistics, InitStatistics);
	Add(loader, "duckherder_get_query_history", BindHistory, InitHistory);
	Add(loader, "duckherder_databases", BindDatabases, InitDatabases);
	Add(loader, "duckherder_workers", BindWorkers, InitWorkers);
}

} // namespace duckherder
