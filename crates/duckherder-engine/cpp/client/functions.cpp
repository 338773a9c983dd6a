#include "functions.hpp"

#include "catalog.hpp"
#include "draw.hpp"
#include "history.hpp"

#include "duckdb/common/string_util.hpp"
#include "duckdb/common/vector/flat_vector.hpp"
#include "duckdb/execution/expression_executor_state.hpp"
#include "duckdb/function/scalar_function.hpp"
#include "duckdb/main/client_context.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! One call of a function: its arguments by position.
struct Call {
	ClientContext &context;
	vector<Value> arguments;

	string Text(idx_t index, const char *what) const {
		if (arguments[index].IsNull() || StringValue::Get(arguments[index]).empty()) {
			throw InvalidInputException("%s must not be NULL or empty", what);
		}
		return StringValue::Get(arguments[index]);
	}
	int64_t Number(idx_t index, const char *what, int64_t least, int64_t most) const {
		auto value = arguments[index].IsNull() ? least - 1 : arguments[index].GetValue<int64_t>();
		if (value < least || value > most) {
			throw InvalidInputException("%s must be a number from %d to %d", what, least, most);
		}
		return value;
	}
	uint16_t Port(idx_t index) const {
		return static_cast<uint16_t>(Number(index, "the port", 1, 65535));
	}
	//! The driver that the last argument names, if there are more than `required`.
	RemoteCatalog &Driver(idx_t required) const {
		return RemoteCatalog::Find(context, arguments.size() > required ? Text(required, "the alias") : string());
	}
};

typedef Value (*CallBody)(const Call &call);

//! Runs `body` once a row; these functions have side effects.
template <CallBody BODY>
static void Execute(DataChunk &args, ExpressionState &state, Vector &result) {
	for (idx_t row = 0; row < args.size(); row++) {
		Call call {state.GetContext(), {}};
		for (idx_t column = 0; column < args.ColumnCount(); column++) {
			call.arguments.push_back(args.GetValue(column, row));
		}
		result.SetValue(row, BODY(call));
	}
	FlatVector::SetSize(result, count_t(args.size()));
}

static Value StartLocalServer(const Call &call) {
	auto workers = call.arguments.size() > 1 ? call.Number(1, "the number of workers", 0, 1024) : 0;
	DhError error {nullptr, nullptr};
	Rust().start_local_server(call.Port(0), static_cast<uint32_t>(workers), &error);
	ThrowIfError(error);
	return Value::BOOLEAN(true);
}

static Value StopLocalServer(const Call &) {
	DhError error {nullptr, nullptr};
	auto stopped = Rust().stop_local_server(&error);
	ThrowIfError(error);
	return Value::BOOLEAN(stopped);
}

static Value StartStandaloneWorker(const Call &call) {
	DhError error {nullptr, nullptr};
	Rust().start_standalone_worker(call.Port(0), &error);
	ThrowIfError(error);
	return Value::BOOLEAN(true);
}

static Value RegisterWorker(const Call &call) {
	auto worker_id = call.Text(0, "the worker's id");
	auto location = call.Text(1, "the worker's location");
	DhError error {nullptr, nullptr};
	Rust().driver_register_worker(call.Driver(2).GetDriver().Handle(), ToText(worker_id), ToText(location),
	                              PatienceOf(call.context), &error);
	ThrowIfError(error);
	return Value::BOOLEAN(true);
}

static Value ReplaceDriver(const Call &call) {
	call.Driver(2).Replace(call.context, call.Text(0, "the driver's id"), call.Text(1, "the driver's location"));
	return Value::BOOLEAN(true);
}

static Value GetWorkerCount(const Call &call) {
	uint64_t count = 0;
	DhError error {nullptr, nullptr};
	Rust().driver_worker_count(call.Driver(0).GetDriver().Handle(), &count, PatienceOf(call.context), &error);
	ThrowIfError(error);
	return Value::BIGINT(NumericCast<int64_t>(count));
}

static Value Explain(const Call &call) {
	auto sql = call.Text(0, "the statement");
	optional_ptr<RemoteCatalog> names;
	if (call.arguments.size() > 1) {
		names = call.Driver(1);
	}
	return Value(DrawStatement(call.context, sql, names));
}

static Value LoadExtension(const Call &call) {
	auto name = call.Text(0, "the extension's name");
	DhError error {nullptr, nullptr};
	Rust().driver_load_extension(call.Driver(1).GetDriver().Handle(), ToText(name), PatienceOf(call.context), &error);
	ThrowIfError(error);
	return Value::BOOLEAN(true);
}

static Value DropDatabase(const Call &call) {
	auto name = call.Text(0, "the database's name");
	DhError error {nullptr, nullptr};
	Rust().driver_drop_database(call.Driver(1).GetDriver().Handle(), ToText(name), PatienceOf(call.context), &error);
	ThrowIfError(error);
	return Value::BOOLEAN(true);
}

static Value ClearStatistics(const Call &call) {
	// The history is this program's, whichever drivers ran it; but an alias that is given must be one.
	if (!call.arguments.empty()) {
		call.Driver(0);
	}
	QueryHistory::Get().Clear();
	return Value::BOOLEAN(true);
}

template <CallBody BODY>
static void Add(ExtensionLoader &loader, const char *name, const vector<LogicalType> &arguments,
                const LogicalType &result, idx_t optional_arguments) {
	ScalarFunctionSet set {Identifier(name)};
	for (idx_t left_out = 0; left_out <= optional_arguments; left_out++) {
		vector<LogicalType> taken(arguments.begin(), arguments.end() - NumericCast<int64_t>(left_out));
		ScalarFunction function(Identifier(name), taken, result, Execute<BODY>);
		function.SetFallible();
		function.SetVolatile();
		function.SetNullHandling(FunctionNullHandling::SPECIAL_HANDLING);
		set.AddFunction(std::move(function));
	}
	loader.RegisterFunction(std::move(set));
}

void RegisterScalarFunctions(ExtensionLoader &loader) {
	auto text = LogicalType::VARCHAR;
	auto number = LogicalType::BIGINT;
	auto truth = LogicalType::BOOLEAN;
	Add<StartLocalServer>(loader, "duckherder_start_local_server", {number, number}, truth, 1);
	Add<StopLocalServer>(loader, "duckherder_stop_local_server", {}, truth, 0);
	Add<StartStandaloneWorker>(loader, "duckherder_start_standalone_worker", {number}, truth, 0);
	Add<RegisterWorker>(loader, "duckherder_register_worker", {text, text, text}, truth, 1);
	Add<ReplaceDriver>(loader, "duckherder_register_or_replace_driver", {text, text, text}, truth, 1);
	Add<GetWorkerCount>(loader, "duckherder_get_worker_count", {text}, number, 1);
	Add<Explain>(loader, "duckherder_explain", {text, text}, text, 1);
	Add<LoadExtension>(loader, "duckherder_load_extension", {text, text}, truth, 1);
	Add<DropDatabase>(loader, "duckherder_drop_database", {text, text}, truth, 1);
	Add<ClearStatistics>(loader, "duckherder_clear_query_recorder_stats", {text}, truth, 1);
}

} // namespace duckherder
