// Statements: bound once to learn their columns, submitted once to get their rows as Arrow; for src/statement.rs.
#include "arrow_source.hpp"
#include "connection.hpp"
#include "exact_arrow_format.hpp"
#include "wire_type.hpp"

#include "duckdb/common/arrow/arrow_converter.hpp"
#include "duckdb/common/type_visitor.hpp"
#include "duckdb/common/exception/transaction_exception.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/statement/execute_statement.hpp"
#include "duckdb/planner/planner.hpp"

using namespace duckdb; // NOLINT
using duckherder::Guard;
using duckherder::ToString;
using duckherder::ToText;

//! Rows in one Arrow array: large enough for the network, small enough to stream.
static constexpr idx_t ARROW_BATCH_ROWS = 16 * STANDARD_VECTOR_SIZE;

//! Finds out what a statement would return, without running any of it.
static void BindStatement(DhStatement &target) {
	auto &context = *target.context;
	context.RunFunctionInTransaction(
	    [&]() {
		    Planner planner(context);
		    planner.parameter_data = target.parameters;
		    planner.CreatePlan(target.statement->Copy());
		    target.names = planner.names;
		    target.types = planner.types;
		    // A type that depends on a parameter without a value is none yet.
		    for (auto &type : target.types) {
			    type = TypeVisitor::VisitReplace(type, [](const LogicalType &part) {
				    return part.id() == LogicalTypeId::UNKNOWN ? LogicalType(LogicalType::SQLNULL) : part;
			    });
		    }
		    target.properties = planner.properties;
		    vector<string> names;
		    for (auto &name : target.names) {
			    names.push_back(name.GetIdentifierName());
		    }
		    auto properties = context.GetClientProperties();
		    ArrowConverter::ToArrowSchema(&target.schema.arrow_schema, target.types, names, properties);
	    },
	    false);
}

extern "C" {

//! Parses and binds one statement. `schema`/`values`: one row of parameter values (columns named after the
//! parameters), or both null.
DhStatement *dh_statement_prepare(DhConnection *connection, DhText sql, ArrowSchema *schema, ArrowArray *values,
                                  DhError *error) {
	return Guard<DhStatement *>(error, nullptr, [&]() {
		auto statements = connection->ExtractStatements(ToString(sql));
		if (statements.size() != 1) {
			throw InvalidInputException("expected one statement, got %d", statements.size());
		}
		auto result = make_uniq<DhStatement>();
		result->context = connection->context;
		result->statement = std::move(statements[0]);
		for (auto &parameter : result->statement->named_param_map) {
			result->parameter_names.push_back(parameter.first.GetIdentifierName());
		}
		std::sort(result->parameter_names.begin(), result->parameter_names.end(), [&](const string &a, const string &b) {
			auto &map = result->statement->named_param_map;
			return map[Identifier(a)] < map[Identifier(b)];
		});
		if (schema) {
			for (auto &value : duckherder::ReadSingleRow(*connection->context, schema, values)) {
				result->parameters[Identifier(value.first)] = BoundParameterData(value.second);
			}
		}
		BindStatement(*result);
		return result.release();
	});
}

void dh_statement_free(DhStatement *statement) {
	delete statement;
}

//! The result's Arrow schema; it can be taken once.
void dh_statement_schema(DhStatement *statement, ArrowSchema *schema) {
	*schema = statement->schema.arrow_schema;
	statement->schema.arrow_schema.release = nullptr;
}

//! The result's DuckDB types, as text, in order.
bool dh_statement_types(DhStatement *statement, DhTextSink sink, void *target, DhError *error) {
	return Guard(error, false, [&]() {
		for (auto &type : statement->types) {
			sink(target, ToText(duckherder::WireTypeName(type)));
		}
		return true;
	});
}

void dh_statement_parameters(DhStatement *statement, DhTextSink sink, void *target) {
	for (auto &name : statement->parameter_names) {
		sink(target, ToText(name));
	}
}

//! 0: rows, 1: a count of changed rows, 2: nothing.
int dh_statement_kind(DhStatement *statement) {
	return static_cast<int>(statement->properties.return_type);
}

bool dh_statement_read_only(DhStatement *statement) {
	return statement->properties.IsReadOnly();
}

//! Starts the statement. Parameter values as in dh_statement_prepare; null keeps those given there.
DhResult *dh_statement_execute(DhStatement *statement, ArrowSchema *schema, ArrowArray *values, DhError *error) {
	return Guard<DhResult *>(error, nullptr, [&]() {
		auto &context = *statement->context;
		if (schema) {
			statement->parameters.clear();
			for (auto &value : duckherder::ReadSingleRow(context, schema, values)) {
				statement->parameters[Identifier(value.first)] = BoundParameterData(value.second);
			}
		}
		QueryParameters parameters(make_shared_ptr<duckherder::ExactArrowFormat>(ARROW_BATCH_ROWS));
		auto copy = statement->statement->Copy();
		parameters.statement_args = &statement->parameters;
		auto result = context.Submit(std::move(copy), parameters);
		result->ThrowIfError();
		return new DhResult(std::move(result), statement->types);
	});
}

//! The next array: 1 and `array` filled, 0 at the end (a statement of its own transaction has then committed),
//! -1 with an error.
int dh_result_next(DhResult *result, ArrowArray *array, DhError *error) {
	return Guard(error, -1, [&]() {
		// Not stream.Fetch(): it spins while other threads have all the tasks and nothing is buffered yet.
		auto &stream = result->stream;
		unique_ptr<ArrowFormat::T> batch;
		while (!IsObservable(stream.TryFetch(batch))) {
			auto state = stream.ExecuteTask();
			if (state == QueryResultState::BLOCKED || state == QueryResultState::NO_TASKS_AVAILABLE) {
				stream.WaitForTask();
			}
		}
		if (stream.HasError()) {
			stream.GetErrorObject().Throw();
		}
		if (!batch) {
			return 0;
		}
		if (!result->types_checked) {
			// Rust reads the arrays as what the statement was when it was prepared.
			if (stream.GetTypes() != result->types) {
				throw TransactionException("the columns of the statement changed after it was prepared; prepare it again");
			}
			result->types_checked = true;
		}
		*array = batch->arrow_array;
		batch->arrow_array.release = nullptr;
		return 1;
	});
}

//! Stops the statement if it still runs.
void dh_result_free(DhResult *result) {
	delete result;
}

} // extern "C"
