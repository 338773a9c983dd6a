// Statements: bound once to learn their columns, submitted once to get their rows as Arrow; for src/statement.rs.
#include "arrow_source.hpp"
#include "connection.hpp"
#include "distribute/fragment.hpp"
#include "distribute/task.hpp"
#include "distribute/task_query.hpp"
#include "exact_arrow_format.hpp"
#include "replayed_log.hpp"
#include "wire_parameter.hpp"
#include "wire_type.hpp"
#include "wire_storage.hpp"

#include "duckdb/common/arrow/arrow_converter.hpp"
#include "duckdb/common/arrow/schema_metadata.hpp"
#include "duckdb/common/extension_type_info.hpp"
#include "duckdb/common/type_visitor.hpp"
#include "duckdb/common/exception/transaction_exception.hpp"
#include "duckdb/main/client_context.hpp"
#include "duckdb/main/client_context_state.hpp"
#include "duckdb/main/prepared_statement_data.hpp"
#include "duckdb/parser/common_table_expression_info.hpp"
#include "duckdb/parser/statement/attach_statement.hpp"
#include "duckdb/parser/statement/copy_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/planner/planner.hpp"
#include "duckdb/transaction/meta_transaction.hpp"

#include <chrono>

using namespace duckdb; // NOLINT
using duckherder::Guard;
using duckherder::Parameters;
using duckherder::ParseOne;
using duckherder::Reach;
using duckherder::ReadyStatement;
using duckherder::StatementCache;
using duckherder::ToString;
using duckherder::ToText;

//! Rows in one Arrow array: large enough for the network, small enough to stream.
static constexpr idx_t ARROW_BATCH_ROWS = 16 * STANDARD_VECTOR_SIZE;

//! The columns of a result as they are to travel.
static void Describe(ClientContext &context, const vector<Identifier> &names, vector<LogicalType> types,
                     const StatementProperties &properties, DhDescription &target) {
	// A type that depends on a parameter without a value is none yet.
	for (auto &type : types) {
		type = TypeVisitor::VisitReplace(type, [](const LogicalType &part) {
			return part.id() == LogicalTypeId::UNKNOWN ? LogicalType(LogicalType::SQLNULL) : part;
		});
	}
	vector<string> texts;
	for (auto &name : names) {
		texts.push_back(name.GetIdentifierName());
	}
	auto client_properties = context.GetClientProperties();
	auto travelling = types;
	auto lossless = client_properties.arrow_lossless_conversion;
	if (lossless) {
		travelling = duckherder::TravellingTypes(types);
		client_properties = duckherder::ExactArrow(client_properties, travelling);
	}
	for (auto &type : travelling) {
		// Under its own name, DuckDB finds no Arrow type for a state that is kept in a HUGEINT.
		type = TypeVisitor::VisitReplace(type, [](const LogicalType &part) {
			return part.IsAggregateState() ? part.WithExtensionInfo(nullptr).WithAlias("") : part;
		});
	}
	if (lossless) {
		duckherder::ExactArrowSchema(target.schema.arrow_schema, travelling, texts, client_properties);
	} else {
		ArrowConverter::ToArrowSchema(&target.schema.arrow_schema, travelling, texts, client_properties);
	}
	target.types = std::move(types);
	target.properties = properties;
}

//! Whether the statement may have a query whose tasks read tables. (Of those that may not, some insist that they are the
//! first of their transaction that has to do with the database.)
static bool MayReadTables(StatementType type) {
	switch (type) {
	case StatementType::SELECT_STATEMENT:
	case StatementType::EXPLAIN_STATEMENT:
	case StatementType::EXECUTE_STATEMENT:
	case StatementType::INSERT_STATEMENT:
	case StatementType::CREATE_STATEMENT:
	case StatementType::COPY_STATEMENT:
	case StatementType::RELATION_STATEMENT:
		return true;
	default:
		return false;
	}
}

//! Whether it leaves files behind.
static bool WritesFiles(const SQLStatement &statement) {
	if (statement.type == StatementType::COPY_STATEMENT) {
		return !statement.Cast<CopyStatement>().info->is_from;
	}
	if (statement.type != StatementType::SELECT_STATEMENT) {
		return false;
	}
	for (auto &cte : statement.Cast<SelectStatement>().node->cte_map.map) {
		if (cte.second->query_node && cte.second->query_node->type == QueryNodeType::COPY_QUERY_NODE) {
			return true;
		}
	}
	return false;
}

//! Finds out what a statement would return, without running any of it.
static void BindStatement(DhStatement &target) {
	auto &context = *target.context;
	try {
		context.RunFunctionInTransaction(
		    [&]() {
			    auto positions = duckherder::StoredPositions::Of(context);
			    if (positions && MayReadTables(target.statement->type)) {
				    positions->Look(context);
			    }
			    Planner planner(context);
			    planner.parameter_data = target.parameters;
			    planner.CreatePlan(target.statement->Copy());
			    Describe(context, planner.names, planner.types, planner.properties, target.description);
			    target.description.writes_files = WritesFiles(*target.statement);
		    },
		    false);
	} catch (const std::exception &exception) {
		// As DuckDB does where it runs a statement.
		ErrorData error(exception);
		error.AddErrorLocation(target.statement->query);
		error.Throw();
	}
}

static Parameters ReadParameters(ClientContext &context, ArrowSchema *schema, ArrowArray *values) {
	Parameters result;
	if (!schema) {
		return result;
	}
	vector<string> types;
	for (int64_t i = 0; i < schema->n_children; i++) {
		types.push_back(ArrowSchemaMetadata(schema->children[i]->metadata).GetOption("duckdb.type"));
	}
	auto row = duckherder::ReadSingleRow(context, schema, values);
	for (idx_t i = 0; i < row.size(); i++) {
		result[Identifier(row[i].first)] = duckherder::ReadParameter(row[i].second, types[i]);
	}
	return result;
}

//! Rows as Rust reads them.
static QueryParameters AsArrow() {
	return QueryParameters(make_shared_ptr<duckherder::ExactArrowFormat>(ARROW_BATCH_ROWS));
}

//! Whether a statement that runs will see nothing later than what it could see now.
static bool HasSnapshots(ClientContext &context, QueryResult &result) {
	if (!result.MetadataAvailable()) {
		// It is several statements, of which not all are planned.
		return false;
	}
	if (!context.transaction.HasActiveTransaction()) {
		return true;
	}
	auto &transaction = context.transaction.ActiveTransaction();
	for (auto &read : result.GetStatementProperties().read_databases) {
		auto database = transaction.GetReferencedDatabase(read.first);
		if (!database || !transaction.TryGetTransaction(*database)) {
			return false;
		}
	}
	return true;
}

static unique_ptr<DhResult> Submit(ClientContext &context, StatementCache &cache, unique_ptr<SQLStatement> statement,
                                   Parameters &values, Reach reach, shared_ptr<duckherder::Seat> seat = nullptr) {
	auto parameters = AsArrow();
	parameters.statement_args = &values;
	auto mark = cache.Mark(context, reach);
	auto attaches = statement->type == StatementType::ATTACH_STATEMENT;
	if (attaches) {
		duckherder::BeforeAttach(context, *statement->Cast<AttachStatement>().info);
	}
	auto waits = duckherder::CommitWaits::Of(context);
	if (waits) {
		waits->seen = optional_idx();
	}
	auto positions = duckherder::StoredPositions::Of(context);
	if (positions) {
		positions->reads = MayReadTables(statement->type);
	}
	auto result = context.Submit(std::move(statement), parameters);
	result->ThrowIfError();
	if (waits && HasSnapshots(context, *result)) {
		waits->seen = waits->files->Position();
	}
	auto submitted = make_uniq<DhResult>(context, std::move(result), std::move(mark), std::move(seat));
	if (attaches) {
		submitted->attaches = context.shared_from_this();
	}
	if (waits) {
		submitted->files = waits->files;
		submitted->seen = waits->seen;
	}
	return submitted;
}

//! Starts a statement of the connection's cache.
static unique_ptr<DhResult> Submit(DhConnection &connection, ReadyStatement &ready) {
	auto plan = connection.statements->Offer(*connection.context, ready);
	return Submit(*connection.context, *connection.statements, std::move(ready.statement), ready.parameters,
	              ready.reach, connection.seat);
}

//! While it is active, a statement that would change something ends with an error before it starts. (As any error, it
//! aborts a transaction that the statement is not alone in.)
struct OnlyReading : public ClientContextState {
	bool active = false;
	bool refused = false;

	bool CanRequestRebind() override {
		return active;
	}
	RebindQueryInfo OnFinalizePrepare(ClientContext &, PreparedStatementData &prepared,
	                                  PreparedStatementMode) override {
		if (active && !prepared.properties.IsReadOnly()) {
			refused = true;
			throw BinderException("the statement does not only read");
		}
		return RebindQueryInfo::DO_NOT_REBIND;
	}
};

static const char *const ONLY_READING_STATE = "duckherder_only_reading";

//! Starts the statement, or returns nothing if it does not only read.
static unique_ptr<DhResult> SubmitIfReading(DhConnection &connection, ReadyStatement &ready) {
	if (ready.type != StatementType::SELECT_STATEMENT) {
		return nullptr;
	}
	ready.reach = Reach::NOTHING;
	auto &context = *connection.context;
	auto guard = context.registered_state->GetOrCreate<OnlyReading>(ONLY_READING_STATE);
	guard->refused = false;
	guard->active = true;
	try {
		auto result = Submit(connection, ready);
		guard->active = false;
		return result;
	} catch (...) {
		guard->active = false;
		if (guard->refused) {
			return nullptr;
		}
		throw;
	}
}

//! A started statement that describes itself.
static DhResult *Described(ClientContext &context, unique_ptr<DhResult> result) {
	auto &stream = result->stream;
	Describe(context, stream.GetNames(), stream.GetTypes(), stream.GetStatementProperties(), result->description);
	result->types_checked = true;
	return result.release();
}

//! Starts a statement that must only read.
static DhResult *Read(DhConnection &connection, unique_ptr<SQLStatement> statement) {
	auto ready = duckherder::AsWritten(std::move(statement), Parameters());
	auto result = SubmitIfReading(connection, ready);
	if (!result) {
		throw InvalidInputException("the query does not only read");
	}
	return Described(*connection.context, std::move(result));
}

extern "C" {

//! Parses and binds one statement. `schema`/`values`: one row of parameter values (columns named after the
//! parameters), or both null.
DhStatement *dh_statement_prepare(DhConnection *connection, DhText sql, ArrowSchema *schema, ArrowArray *values,
                                  DhError *error) {
	return Guard<DhStatement *>(error, nullptr, [&]() {
		// A task that failed has left one, which in a transaction only the next execution takes back.
		connection->context->ClearInterrupt();
		auto result = make_uniq<DhStatement>(*connection);
		result->statement = ParseOne(*connection, ToString(sql));
		for (auto &parameter : result->statement->named_param_map) {
			result->parameter_names.push_back(parameter.first.GetIdentifierName());
		}
		std::sort(result->parameter_names.begin(), result->parameter_names.end(), [&](const string &a, const string &b) {
			auto &map = result->statement->named_param_map;
			return map[Identifier(a)] < map[Identifier(b)];
		});
		result->parameters = ReadParameters(*connection->context, schema, values);
		BindStatement(*result);
		return result.release();
	});
}

//! Parses, binds and starts one statement. `only_reading`: nothing is started, and null returned without an error, if
//! the statement would change something.
DhResult *dh_statement_start(DhConnection *connection, DhText sql, ArrowSchema *schema, ArrowArray *values,
                             bool only_reading, DhError *error) {
	return Guard<DhResult *>(error, nullptr, [&]() -> DhResult * {
		auto &context = *connection->context;
		auto parameters = ReadParameters(context, schema, values);
		auto ready = connection->statements->Take(*connection, ToString(sql), std::move(parameters));
		if (only_reading && WritesFiles(*ready.statement)) {
			return nullptr;
		}
		auto result = only_reading ? SubmitIfReading(*connection, ready) : Submit(*connection, ready);
		return result ? Described(context, std::move(result)) : nullptr;
	});
}

//! Parses, binds and starts one query that only reads, and remembers nothing of it.
DhResult *dh_connection_read(DhConnection *connection, DhText sql, DhError *error) {
	return Guard<DhResult *>(error, nullptr, [&]() { return Read(*connection, ParseOne(*connection, ToString(sql))); });
}

//! The same for a task's query, which is not parsed.
DhResult *dh_connection_read_query(DhConnection *connection, DhText query, DhError *error) {
	return Guard<DhResult *>(error, nullptr, [&]() { return Read(*connection, duckherder::ReadQuery(query)); });
}

//! As dh_task_plan_open, for rows that go elsewhere.
DhResult *dh_task_plan_read(DhConnection *connection, DhTaskPlan *plan, DhError *error) {
	return Guard<DhResult *>(error, nullptr, [&]() {
		auto ready = plan->Execution();
		return Described(*connection->context, Submit(*connection, ready));
	});
}

//! The columns that a fragment gives, as `connection` sends them; known since it was bound.
DhDescription *dh_fragment_describe(const duckherder::Fragment *fragment, DhConnection *connection, DhError *error) {
	return Guard<DhDescription *>(error, nullptr, [&]() {
		vector<Identifier> names;
		for (idx_t i = 0; i < fragment->Types().size(); i++) {
			names.push_back(duckherder::ColumnName(i));
		}
		auto description = make_uniq<DhDescription>();
		Describe(*connection->context, names, fragment->Types(), StatementProperties(), *description);
		return description.release();
	});
}

void dh_description_free(DhDescription *description) {
	delete description;
}

void dh_statement_free(DhStatement *statement) {
	delete statement;
}

//! Alive as long as the statement.
DhDescription *dh_statement_description(DhStatement *statement) {
	return &statement->description;
}

//! Alive as long as the result.
DhDescription *dh_result_description(DhResult *result) {
	return &result->description;
}

//! The columns' Arrow schema; it can be taken once.
void dh_description_schema(DhDescription *description, ArrowSchema *schema) {
	*schema = description->schema.arrow_schema;
	description->schema.arrow_schema.release = nullptr;
}

//! The columns' DuckDB types, as text, in order.
bool dh_description_types(DhDescription *description, DhTextSink sink, void *target, DhError *error) {
	return Guard(error, false, [&]() {
		for (auto &type : description->types) {
			sink(target, ToText(duckherder::WireTypeName(type)));
		}
		return true;
	});
}

//! 0: rows, 1: a count of changed rows, 2: nothing.
int dh_description_kind(DhDescription *description) {
	return static_cast<int>(description->properties.return_type);
}

bool dh_description_read_only(DhDescription *description) {
	return description->properties.IsReadOnly() && !description->writes_files;
}

void dh_statement_parameters(DhStatement *statement, DhTextSink sink, void *target) {
	for (auto &name : statement->parameter_names) {
		sink(target, ToText(name));
	}
}

//! Starts the statement. Parameter values as in dh_statement_prepare; null keeps those given there.
DhResult *dh_statement_execute(DhStatement *statement, ArrowSchema *schema, ArrowArray *values, DhError *error) {
	return Guard<DhResult *>(error, nullptr, [&]() {
		auto &context = *statement->context;
		if (schema) {
			statement->parameters = ReadParameters(context, schema, values);
		}
		// DuckDB also calls SET, COMMIT, DETACH and the like read-only.
		auto type = statement->statement->type;
		auto reads = statement->description.properties.IsReadOnly() &&
		             (type == StatementType::SELECT_STATEMENT || type == StatementType::EXPLAIN_STATEMENT);
		auto reach = reads ? Reach::NOTHING : duckherder::ReachOf(*statement->statement);
		auto result = Submit(context, *statement->cache, statement->statement->Copy(), statement->parameters, reach);
		result->description.types = statement->description.types;
		return result.release();
	});
}

//! Also within a transaction, nobody hears of what may be lost: neither with the first rows nor, of what the statement does
//! itself, at the end.
static void WaitForSeen(DhResult &result) {
	if (result.files) {
		result.files->WaitDurable(result.seen.IsValid() ? result.seen.GetIndex() : result.files->Position());
	}
}

//! The next array: 1 and `array` filled, 0 at the end (a statement of its own transaction has then committed),
//! 2 if there is none yet after `limit_ms` (which may be exceeded by a task's slice; below 0: no limit), -1 with an
//! error.
int dh_result_next(DhResult *result, int64_t limit_ms, ArrowArray *array, DhError *error) {
	return Guard(error, -1, [&]() {
		auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
		// Not stream.Fetch(): it spins while other threads have all the tasks and nothing is buffered yet.
		auto &stream = result->stream;
		unique_ptr<ArrowArrayWrapper> batch;
		while (!IsObservable(stream.TryFetch(batch))) {
			if (limit_ms >= 0 && std::chrono::steady_clock::now() >= deadline) {
				return 2;
			}
			result->participant.Step();
		}
		// A batch has many rows, which the thread works on now.
		result->participant.Rest(true);
		if (stream.HasError()) {
			stream.GetErrorObject().Throw();
		}
		if (!batch) {
			WaitForSeen(*result);
			if (result->attaches) {
				duckherder::AfterAttach(*result->attaches);
			}
			return 0;
		}
		if (!result->seen_is_durable) {
			WaitForSeen(*result);
			result->seen_is_durable = true;
		}
		if (!result->types_checked) {
			// Rust reads the arrays as what the statement was when it was prepared.
			if (stream.GetTypes() != result->description.types) {
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
