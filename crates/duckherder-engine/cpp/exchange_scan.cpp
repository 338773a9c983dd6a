// The scan of an ArrowSource: partitions in order, one thread a partition, parked while nothing has come.
#include "arrow_source.hpp"
#include "connection.hpp"
#include "distribute/fragment.hpp"
#include "distribute/long_type.hpp"
#include "distribute/names.hpp"
#include "distribute/task_planning.hpp"
#include "wire_type.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/function/replacement_scan.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_context_state.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/main/extension/extension_loader.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"

#include <atomic>

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const INPUTS_STATE = "duckherder_inputs";

//! The relations that a connection was given, by name.
struct ExchangeInputs : public ClientContextState {
	std::mutex lock;
	unordered_map<string, shared_ptr<ArrowSource>> sources;
	//! Rows that this database has itself.
	unordered_map<string, unique_ptr<SelectStatement>> queries;

	shared_ptr<ArrowSource> Find(const string &name) {
		std::lock_guard<std::mutex> guard(lock);
		auto found = sources.find(name);
		return found == sources.end() ? nullptr : found->second;
	}

	unique_ptr<TableRef> FindQuery(const string &name) {
		std::lock_guard<std::mutex> guard(lock);
		auto found = queries.find(name);
		if (found == queries.end()) {
			return nullptr;
		}
		return make_uniq<SubqueryRef>(unique_ptr_cast<SQLStatement, SelectStatement>(found->second->Copy()),
		                              Identifier(name));
	}
};

static shared_ptr<ArrowSource> FindInput(ClientContext &context, const string &name) {
	auto inputs = context.registered_state->Get<ExchangeInputs>(INPUTS_STATE);
	return inputs ? inputs->Find(name) : nullptr;
}

static shared_ptr<ArrowSource> GetInput(ClientContext &context, const string &name) {
	auto source = FindInput(context, name);
	if (!source) {
		throw InvalidInputException("there is no exchange input \"%s\" in this connection", name);
	}
	return source;
}

static ArrowSourceColumns ColumnsOf(ClientContext &context, const ArrowSource &source) {
	ArrowSchemaWrapper schema;
	source.Schema(schema.arrow_schema);
	ArrowSourceColumns columns(context, schema.arrow_schema);
	if (RunsTasks(context)) {
		// The plan that a fragment is a part of says by itself how texts are compared.
		for (auto &type : columns.types) {
			type = WithoutCollations(type);
		}
	}
	return columns;
}

//! What a plan knows of an input. Each run finds a source under the name.
struct ExchangeScanData : public TableFunctionData {
	ExchangeScanData(string name_p, vector<LogicalType> types_p, vector<Identifier> column_names_p, optional_idx rows_p)
	    : name(std::move(name_p)), types(std::move(types_p)), column_names(std::move(column_names_p)), rows(rows_p) {
	}
	string name;
	vector<LogicalType> types;
	vector<Identifier> column_names;
	//! An estimate, of the run that was planned.
	optional_idx rows;
};

static unique_ptr<FunctionData> Bind(ClientContext &context, TableFunctionBindInput &input, vector<LogicalType> &types,
                                     vector<Identifier> &names) {
	auto name = StringValue::Get(input.inputs[0]);
	auto source = GetInput(context, name);
	auto columns = ColumnsOf(context, *source);
	types = columns.types;
	names = columns.names;
	return make_uniq<ExchangeScanData>(std::move(name), std::move(columns.types), names, source->EstimatedRows());
}

const vector<Identifier> &ColumnNames(const LogicalGet &get) {
	auto arriving = dynamic_cast<const ExchangeScanData *>(get.bind_data.get());
	return arriving ? arriving->column_names : get.names;
}

struct GlobalState : public GlobalTableFunctionState {
	GlobalState(shared_ptr<ArrowSource> source_p, ArrowSourceColumns columns_p)
	    : source(std::move(source_p)), columns(std::move(columns_p)) {
	}
	const shared_ptr<ArrowSource> source;
	const ArrowSourceColumns columns;
	std::atomic<idx_t> next_partition {0};

	idx_t MaxThreads() const override {
		return source->Partitions();
	}
};

struct LocalState : public LocalTableFunctionState {
	LocalState(ClientContext &context, const GlobalState &global, vector<column_t> column_ids_p)
	    : column_ids(std::move(column_ids_p)), reader(context, global.columns, column_ids) {
	}
	vector<column_t> column_ids;
	ArrowBatchReader reader;
	//! The partition this thread reads.
	optional_idx partition;
};

static unique_ptr<GlobalTableFunctionState> InitGlobal(ClientContext &context, TableFunctionInitInput &input) {
	auto &data = input.bind_data->Cast<ExchangeScanData>();
	auto source = GetInput(context, data.name);
	if (!source->Claim()) {
		throw InvalidInputException("rows that arrive once were to be read twice");
	}
	auto columns = ColumnsOf(context, *source);
	if (columns.types != data.types) {
		throw InvalidInputException("the input \"%s\" has other columns than when the statement was planned", data.name);
	}
	return make_uniq<GlobalState>(std::move(source), std::move(columns));
}

//! DuckDB's passes that scan a relation twice (for a window, a self join) copy its scan by serializing it; they leave
//! it alone if that fails.
static void NoSecondScan(Serializer &, const optional_ptr<FunctionData>, const BoundTableFunction &) {
	throw NotImplementedException("rows that arrive can be read once");
}

static unique_ptr<FunctionData> NoCopiedScan(Deserializer &, BoundTableFunction &) {
	throw NotImplementedException("rows that arrive can be read once");
}

static unique_ptr<LocalTableFunctionState> InitLocal(ExecutionContext &context, TableFunctionInitInput &input,
                                                     GlobalTableFunctionState *global) {
	return make_uniq<LocalState>(context.client, global->Cast<GlobalState>(), input.column_ids);
}

static void Scan(ClientContext &context, TableFunctionInput &input, DataChunk &output) {
	auto &global = input.global_state->Cast<GlobalState>();
	auto &local = input.local_state->Cast<LocalState>();
	auto can_park = input.interrupt_state && input.interrupt_state->CanCallback() &&
	                input.results_execution_mode == AsyncResultsExecutionMode::TASK_EXECUTOR;
	while (!local.reader.Read(output)) {
		if (!local.partition.IsValid()) {
			auto next = global.next_partition++;
			if (next >= global.source->Partitions()) {
				return;
			}
			local.partition = next;
		}
		ArrowArray array;
		auto partition = local.partition.GetIndex();
		auto found = can_park ? global.source->Poll(partition, *input.interrupt_state, array)
		                      : (global.source->Wait(context, partition, array) ? DH_POLL_BATCH : DH_POLL_END);
		switch (found) {
		case DH_POLL_BATCH:
			local.reader.SetBatch(array);
			break;
		case DH_POLL_PENDING:
			input.async_result = SourceResultType::BLOCKED;
			return;
		default:
			local.partition = optional_idx();
			break;
		}
	}
}

static OperatorPartitionData PartitionData(ClientContext &, TableFunctionGetPartitionInput &input) {
	if (input.partition_info.RequiresPartitionColumns()) {
		throw InternalException("an exchange has no partition columns");
	}
	auto &local = input.local_state->Cast<LocalState>();
	return OperatorPartitionData(local.partition.IsValid() ? local.partition.GetIndex() : 0);
}

//! Rows of which nobody knows how many there will be. Without a word on that DuckDB takes them for one row.
static constexpr idx_t UNKNOWN_ROWS = 1U << 20U;
//! For fewer, DuckDB compares every row with every other where it could sort; the estimate may be too low.
static constexpr idx_t LEAST_ROWS = 1000;

static unique_ptr<NodeStatistics> AssumedRows(ClientContext &, const FunctionData *data) {
	auto estimate = data->Cast<ExchangeScanData>().rows;
	return make_uniq<NodeStatistics>(estimate.IsValid() ? MaxValue(estimate.GetIndex(), LEAST_ROWS) : UNKNOWN_ROWS);
}

//! Percent of the rows that are expected.
static double Progress(ClientContext &, const FunctionData *, const GlobalTableFunctionState *global) {
	return MaxValue<double>(global->Cast<GlobalState>().source->Progress(), 0) * 100;
}

static TableFunction ExchangeScanFunction() {
	TableFunction function(EXCHANGE_FUNCTION, {LogicalType::VARCHAR}, Scan, Bind, InitGlobal, InitLocal);
	function.projection_pushdown = true;
	function.cardinality = AssumedRows;
	function.table_scan_progress = Progress;
	function.serialize = NoSecondScan;
	function.deserialize = NoCopiedScan;
	function.verify_serialization = false;
	function.get_partition_data = PartitionData;
	return function;
}

static unique_ptr<TableRef> ReplaceInput(ClientContext &context, ReplacementScanInput &input,
                                         optional_ptr<ReplacementScanData>) {
	auto inputs = context.registered_state->Get<ExchangeInputs>(INPUTS_STATE);
	if (!input.schema_name.empty() || !inputs) {
		return nullptr;
	}
	if (auto query = inputs->FindQuery(input.table_name)) {
		return query;
	}
	if (!inputs->Find(input.table_name)) {
		return nullptr;
	}
	vector<unique_ptr<ParsedExpression>> arguments;
	arguments.push_back(ConstantExpression::String(input.table_name));
	auto reference = make_uniq<TableFunctionRef>();
	reference->function = make_uniq<FunctionExpression>(Identifier(EXCHANGE_FUNCTION), std::move(arguments));
	reference->alias = Identifier(input.table_name);
	return std::move(reference);
}

void RegisterExchangeScan(DatabaseInstance &instance) {
	ExtensionLoader loader(instance, "duckherder_engine");
	loader.RegisterFunction(ExchangeScanFunction());
	RegisterStateValue(loader);
	RegisterLongType(loader);
	RegisterFiles(loader);
	DBConfig::GetConfig(instance).replacement_scans.emplace_back(ReplaceInput);
}

} // namespace duckherder

extern "C" {

//! Makes `source` the relation `name` of the connection; takes over `self`.
bool dh_connection_register_input(DhConnection *connection, DhText name, DhSourceTable table, void *self,
                                  DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		auto source = make_shared_ptr<duckherder::ArrowSource>(table, self);
		auto inputs = connection->context->registered_state->GetOrCreate<duckherder::ExchangeInputs>(
		    duckherder::INPUTS_STATE);
		std::lock_guard<std::mutex> guard(inputs->lock);
		inputs->sources[duckherder::ToString(name)] = std::move(source);
		return true;
	});
}

//! Makes the rows of a query the relation `name` of the connection.
bool dh_connection_register_query(DhConnection *connection, DhText name, DhText sql, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		auto statements = connection->ExtractStatements(duckherder::ToString(sql));
		if (statements.size() != 1 || statements[0]->type != StatementType::SELECT_STATEMENT) {
			throw InvalidInputException("the rows of an input are those of one query");
		}
		auto inputs = connection->context->registered_state->GetOrCreate<duckherder::ExchangeInputs>(
		    duckherder::INPUTS_STATE);
		std::lock_guard<std::mutex> guard(inputs->lock);
		inputs->queries[duckherder::ToString(name)] =
		    unique_ptr_cast<SQLStatement, SelectStatement>(std::move(statements[0]));
		return true;
	});
}

bool dh_connection_unregister_input(DhConnection *connection, DhText name, DhError *error) {
	return duckherder::Guard(error, false, [&]() {
		auto inputs =
		    connection->context->registered_state->Get<duckherder::ExchangeInputs>(duckherder::INPUTS_STATE);
		if (inputs) {
			std::lock_guard<std::mutex> guard(inputs->lock);
			inputs->sources.erase(duckherder::ToString(name));
			inputs->queries.erase(duckherder::ToString(name));
		}
		return true;
	});
}

} // extern "C"
