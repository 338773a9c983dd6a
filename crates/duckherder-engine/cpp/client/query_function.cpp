#include "query_function.hpp"

#include "connection_state.hpp"
#include "transaction.hpp"

#include "duckdb/common/string_util.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/parameter_expression.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"
#include "duckdb/planner/binder.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

const char *const QUERY_FUNCTION = "duckherder_query";

unique_ptr<TableRef> QueryFunctionRef(const Identifier &catalog, const string &sql, const vector<Identifier> &parameters,
                                      bool changes_catalog) {
	auto info = make_shared_ptr<PushedStatement>();
	info->changes_catalog = changes_catalog;
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

QueryData::~QueryData() {
	if (session && !started) {
		session->session.CloseStatement(statement_id);
	}
}

unique_ptr<QueryData> BindQuery(ClientContext &context, RemoteCatalog &catalog, RemoteStatement statement,
                                const vector<pair<string, Value>> &parameters, bool changes_catalog) {
	auto data = make_uniq<QueryData>(catalog, std::move(statement));
	ConnectionState::Get(context)->NoteRemote(context);
	auto &transaction = RemoteTransaction::Get(context, catalog);
	auto session = transaction.GetSession();
	PreparedRemote prepared;
	session->session.Prepare(context, data->statement, transaction.InUserTransaction(context), parameters, prepared);
	data->parameters = parameters;
	data->session = std::move(session);
	data->statement_id = prepared.statement_id;
	data->kind = prepared.kind;
	data->read_only = prepared.read_only;
	data->columns = make_uniq<ArrowSourceColumns>(context, prepared.schema.arrow_schema);
	ConnectionState::Get(context)->SetParameterCount(parameters.size());
	data->changes_catalog = !data->read_only && (changes_catalog || data->kind == StatementReturnType::NOTHING);
	return data;
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
	vector<pair<string, Value>> parameters;
	for (idx_t i = 2; i < input.inputs.size(); i++) {
		auto name = info ? info->parameter_names[i - 2] : to_string(i - 1);
		parameters.emplace_back(std::move(name), input.inputs[i]);
	}
	auto statement = catalog.MakeStatement(context, StringValue::Get(input.inputs[1]));
	// Statements that the user hands over as text may be anything.
	auto data = BindQuery(context, catalog, std::move(statement), parameters, info ? info->changes_catalog : true);
	RemoteTransaction::Get(context, catalog).AddOperation(context);
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
	auto source = data.session->session.Execute(context, data.statement_id, transaction.StartInTransaction(context),
	                                            data.statement.user_sql);
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
	function.to_string = Describe;
	set.AddFunction(std::move(function));
	return set;
}

} // namespace duckherder
