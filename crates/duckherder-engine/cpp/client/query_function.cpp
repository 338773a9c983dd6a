#include "query_function.hpp"

#include "connection_state.hpp"
#include "transaction.hpp"

#include "duckdb/common/arrow/arrow_converter.hpp"
#include "duckdb/common/exception/transaction_exception.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/parameter_expression.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/bound_parameter_map.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

const char *const QUERY_FUNCTION = "duckherder_query";

static constexpr idx_t SOME_ROWS = 1000;

unique_ptr<TableRef> QueryFunctionRef(const Identifier &catalog, const string &sql, const vector<Identifier> &parameters,
                                      shared_ptr<PushedStatement> info) {
	vector<unique_ptr<ParsedExpression>> arguments;
	arguments.push_back(ConstantExpression::String(catalog.GetIdentifierName()));
	arguments.push_back(ConstantExpression::String(sql));
	for (auto &name : parameters) {
		auto parameter = make_uniq<ParameterExpression>();
		parameter->IdentifierMutable() = name;
		arguments.push_back(std::move(parameter));
		info->parameter_names.push_back(name.GetIdentifierName());
	}
	auto ref = make_uniq<TableFunctionRef>();
	auto function = make_uniq<FunctionExpression>(Identifier(QUERY_FUNCTION), std::move(arguments));
	function->SetQualifiedName(QualifiedName(catalog, Identifier::DefaultSchema(), Identifier(QUERY_FUNCTION)));
	ref->function = std::move(function);
	ref->bind_info = std::move(info);
	return std::move(ref);
}

unique_ptr<QueryData> BindQuery(ClientContext &context, RemoteCatalog &catalog, RemoteStatement statement,
                                const RemoteParameters &parameters, bool changes_catalog, DhStart start) {
	ConnectionState::Get(context)->NoteRemote(context);
	auto &transaction = RemoteTransaction::Get(context, catalog);
	auto data = make_uniq<QueryData>(catalog, std::move(statement), transaction.GetSession());
	data->parameters = parameters;
	PreparedRemote prepared;
	auto &session = data->prepared->session->session;
	session.Prepare(context, data->statement, transaction.InUserTransaction(context), parameters, start, prepared);
	data->prepared->Set(prepared.statement);
	data->kind = prepared.kind;
	data->read_only = prepared.read_only;
	data->columns = make_uniq<ArrowSourceColumns>(context, prepared.schema.arrow_schema);
	ConnectionState::Get(context)->SetParameterCount(parameters.size());
	data->changes_catalog = !data->read_only && (changes_catalog || data->kind == StatementReturnType::NOTHING);
	return data;
}

//! A statement that only counts: what it gives is known, so the driver hears of it when it is to run.
static unique_ptr<QueryData> BindCount(ClientContext &context, RemoteCatalog &catalog, RemoteStatement statement,
                                       const RemoteParameters &parameters) {
	ConnectionState::Get(context)->NoteRemote(context);
	auto session = RemoteTransaction::Get(context, catalog).GetSession();
	auto data = make_uniq<QueryData>(catalog, std::move(statement), std::move(session));
	data->parameters = parameters;
	data->kind = StatementReturnType::CHANGED_ROWS;
	data->read_only = false;
	ArrowSchemaWrapper schema;
	vector<LogicalType> types {LogicalType::BIGINT};
	auto properties = ExactArrow(context, types);
	ArrowConverter::ToArrowSchema(&schema.arrow_schema, types, {"Count"}, properties);
	data->columns = make_uniq<ArrowSourceColumns>(context, schema.arrow_schema);
	ConnectionState::Get(context)->SetParameterCount(parameters.size());
	return data;
}

string FirstWord(ClientContext &context) {
	auto sql = ConnectionState::Get(context)->BoundText(context);
	auto begin = std::find_if_not(sql.begin(), sql.end(), StringUtil::CharacterIsSpace);
	auto end = std::find_if_not(begin, sql.end(), StringUtil::CharacterIsAlpha);
	if (begin == end && begin != sql.end() && *begin == '(') {
		return "(";
	}
	return StringUtil::Upper(string(begin, end));
}

//! Whether the running statement is a query that is executed once it is bound, and nobody minds if it then is not:
//! stopped half-way, it would abort the transaction that it shares.
static bool MayStartEarly(ClientContext &context) {
	if (!RemoteTransaction::StandsAlone(context)) {
		return false;
	}
	auto word = FirstWord(context);
	return word == "SELECT" || word == "FROM" || word == "WITH" || word == "VALUES" || word == "TABLE" || word == "(";
}

//! Whether the statement is only bound, so that what is wrong with it must come out now.
static bool IsOnlyBound(ClientContext &context) {
	auto word = FirstWord(context);
	return word.empty() || word == "PREPARE" || word == "EXPLAIN";
}

void CheckPrepared(ClientContext &context, RemoteCatalog &catalog, const string &sql) {
	if (FirstWord(context) != "PREPARE") {
		return;
	}
	auto &transaction = RemoteTransaction::Get(context, catalog);
	PreparedStatement bound(transaction.GetSession());
	PreparedRemote prepared;
	bound.session->session.Prepare(context, catalog.MakeStatement(context, sql), transaction.InUserTransaction(context), {},
	                               DH_START_NEVER, prepared);
	bound.Set(prepared.statement);
}

//! A parameter's value with the type that DuckDB would bind it as.
static BoundParameterData Given(TableFunctionBindInput &input, const Identifier &name, const Value &value) {
	auto parameters = input.binder ? input.binder->GetParameters() : nullptr;
	if (parameters) {
		auto &given = parameters->GetParameterData();
		auto found = given.find(name);
		if (found != given.end()) {
			return BoundParameterData(value, found->second.return_type);
		}
	}
	// A variable of the session, whose value stands there as if it had been written.
	return value.type().IsIntegral() && !value.IsNull() ? BoundParameterData(value, LogicalType::INTEGER_LITERAL(value))
	                                                    : BoundParameterData(value);
}

static unique_ptr<FunctionData> Bind(ClientContext &context, TableFunctionBindInput &input, vector<LogicalType> &types,
                                     vector<Identifier> &names) {
	for (idx_t i = 0; i < 2; i++) {
		if (input.inputs[i].IsNull()) {
			throw BinderException("%s takes the alias of an attached driver and the text of a statement",
			                      QUERY_FUNCTION);
		}
	}
	auto &catalog = RemoteCatalog::Find(context, StringValue::Get(input.inputs[0]));
	auto info = dynamic_cast<const PushedStatement *>(input.ref.bind_info.get());
	ConnectionState::Get(context)->NotePushed();
	if (info && DatabaseManager::Get(context).GetRemoteCatalogCount() > 1) {
		// It may be a part of a statement that concerns several databases of the driver.
		ConnectionState::Get(context)->BindOtherwise(context);
	}
	RemoteParameters parameters;
	for (idx_t i = 2; i < input.inputs.size(); i++) {
		auto name = info ? info->parameter_names[i - 2] : to_string(i - 1);
		auto given = info ? Given(input, Identifier(name), input.inputs[i]) : BoundParameterData(input.inputs[i]);
		parameters.emplace_back(std::move(name), std::move(given));
	}
	auto statement = catalog.MakeStatement(context, StringValue::Get(input.inputs[1]));
	auto &transaction = RemoteTransaction::Get(context, catalog);
	// What is explained inside the statement is no part of it.
	auto is_first = !ConnectionState::Get(context)->IsExplaining() && transaction.AddOperation(context);
	unique_ptr<QueryData> data;
	if (info && info->counts && !IsOnlyBound(context)) {
		data = BindCount(context, catalog, std::move(statement), parameters);
	} else {
		// A query that is the first, and mostly the only, part of the statement starts with the call that binds it.
		auto start = is_first && info && MayStartEarly(context) ? DH_START_IF_READING : DH_START_NEVER;
		// Statements that the user hands over as text may be anything.
		auto changes_catalog = info ? info->changes_catalog : true;
		data = BindQuery(context, catalog, std::move(statement), parameters, changes_catalog, start);
		if (start != DH_START_NEVER) {
			transaction.StartedEarly(data->prepared);
		}
	}
	types = data->columns->types;
	names = data->columns->names;
	if (types.empty()) {
		types.push_back(LogicalType::BOOLEAN);
		names.emplace_back("Success");
	}
	// Duplicate column names stay: SELECT * renames them as DuckDB does.
	input.table_function.call_return_type = data->kind;
	if (input.binder) {
		auto &properties = input.binder->GetStatementProperties();
		if (data->read_only) {
			properties.RegisterDBRead(catalog, context);
		} else {
			properties.RegisterDBModify(catalog, context,
			                            data->changes_catalog ? DatabaseModificationType::ALTER_TABLE
			                                                  : DatabaseModificationType::UPDATE_DATA);
		}
	}
	return std::move(data);
}

static unique_ptr<GlobalTableFunctionState> InitGlobal(ClientContext &context, TableFunctionInitInput &input) {
	auto &data = input.bind_data->Cast<QueryData>();
	if (data.started.exchange(true)) {
		throw InvalidInputException("a statement for a driver runs once each time it is bound");
	}
	auto &transaction = RemoteTransaction::Get(context, data.catalog);
	auto in_transaction = transaction.StartInTransaction(context);
	auto &session = data.prepared->session->session;
	auto prepared = data.prepared->Take();
	shared_ptr<ArrowSource> source;
	if (prepared.IsValid()) {
		source = session.Execute(context, prepared.GetIndex(), in_transaction, data.statement.user_sql);
	} else {
		PreparedRemote now;
		source = session.Run(context, data.statement, in_transaction, data.parameters, now, data.read_only);
		if (ArrowSourceColumns(context, now.schema.arrow_schema).types != data.columns->types) {
			throw TransactionException("the columns of the statement changed after it was bound; run it again");
		}
	}
	auto state = make_uniq<RemoteScanGlobal>(context, std::move(source), *data.columns, input.column_ids);
	if (!data.read_only) {
		if (data.changes_catalog) {
			transaction.CatalogChanged();
		}
		state->ReadAll(context);
	}
	return std::move(state);
}

static InsertionOrderPreservingMap<string> Describe(TableFunctionToStringInput &input) {
	auto &data = input.bind_data->Cast<QueryData>();
	InsertionOrderPreservingMap<string> result;
	result["Driver"] = data.catalog.GetDBPath();
	result["SQL"] = data.statement.sql;
	return result;
}

//! How many rows the driver gives is not known. DuckDB weighs the progress of a scan by its rows: with one, the default,
//! a statement would look half done at its end.
static unique_ptr<NodeStatistics> Cardinality(ClientContext &, const FunctionData *) {
	return make_uniq<NodeStatistics>(SOME_ROWS);
}

bool IsQueryFunction(const BoundTableFunction &function) {
	return function.bind == Bind;
}

TableFunctionSet QueryFunctions() {
	TableFunctionSet set {Identifier(QUERY_FUNCTION)};
	FunctionSignature signature;
	signature.AddParameter(LogicalType::VARCHAR);
	signature.AddParameter(LogicalType::VARCHAR);
	signature.AddArgs("parameters", LogicalType::ANY);
	TableFunction function(Identifier(QUERY_FUNCTION), signature, RemoteScanNext, Bind, InitGlobal, InitRemoteScanLocal);
	function.projection_pushdown = true;
	function.get_partition_data = RemoteScanPartition;
	function.table_scan_progress = RemoteScanProgress;
	// The statement may have an ORDER BY, which holds whatever preserve_insertion_order says.
	function.order_preservation_type = OrderPreservationType::FIXED_ORDER;
	function.cardinality = Cardinality;
	function.to_string = Describe;
	set.AddFunction(std::move(function));
	return set;
}

} // namespace duckherder
