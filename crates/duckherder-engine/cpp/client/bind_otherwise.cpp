#include "bind_otherwise.hpp"

#include "column_filling.hpp"
#include "connection_state.hpp"
#include "macros.hpp"
#include "query_function.hpp"
#include "query_of.hpp"
#include "transaction.hpp"
#include "unfold.hpp"
#include "unite.hpp"

#include "duckdb/common/string_util.hpp"
#include "duckdb/main/database_manager.hpp"
#include "duckdb/optimizer/optimizer.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/query_node/set_operation_node.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/bound_parameter_map.hpp"
#include "duckdb/planner/operator/logical_dummy_scan.hpp"
#include "duckdb/planner/operator/logical_extension_operator.hpp"
#include "duckdb/planner/operator_extension.hpp"
#include "duckdb/planner/planner_extension.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

//! The function that plans a statement of its own while the one that calls it is planned; what is bound then is not what
//! the text says.
static const char *const PLANS_ANOTHER = "json_serialize_plan";

unique_ptr<SQLStatement> WriteOtherwise(ClientContext &context, const string &sql) {
	if (StringUtil::Contains(StringUtil::Lower(sql), PLANS_ANOTHER)) {
		return nullptr;
	}
	auto statement = ParseWritten(context, sql);
	auto query = statement ? QueryOf(*statement) : nullptr;
	// What a view or macro consists of is nobody's to change.
	if (!query || IsOfView(*statement)) {
		return nullptr;
	}
	auto expanded = ExpandBuiltInMacros(context, *statement);
	// Each attachment has a transaction of its own, which sees what it has written.
	auto united = RemoteTransaction::StandsAlone(context) && UniteDatabases(context, *statement);
	auto fills = BindAsFilling(context, *statement);
	return expanded || united || fills || MayBeFolded(context, *query) ? std::move(statement) : nullptr;
}

static BoundStatement BindUnfolded(ClientContext &context, Binder &binder, const SQLStatement &written) {
	auto statement = written.Copy();
	auto fresh = Binder::CreateBinder(context, binder);
	Optimizer(*fresh, context).OptimizeStatement(statement);
	auto query = QueryOf(*statement);
	if (query) {
		auto original = written.Copy();
		Unfold(context, *query, *QueryOf(*original));
	}
	return fresh->Bind(*statement);
}

//! When the statement as DuckDB had it did not bind. Not by a rebind of DuckDB's, which would lose count of the
//! statement's parameters.
static BoundStatement BindFailed(ClientContext &context, Binder &binder, OperatorExtensionInfo *,
                                 SQLStatement &failed) {
	// The text may be that of what is prepared or executed, which is bound by itself.
	if (failed.type == StatementType::EXECUTE_STATEMENT || failed.type == StatementType::PREPARE_STATEMENT ||
	    DatabaseManager::Get(context).GetRemoteCatalogCount() == 0) {
		return {};
	}
	auto statement = ConnectionState::Get(context)->TakeOtherwise(context);
	if (!statement) {
		return {};
	}
	if (statement->type == StatementType::EXPLAIN_STATEMENT && failed.type != StatementType::EXPLAIN_STATEMENT) {
		// duckherder_explain binds what it explains.
		statement = std::move(statement->Cast<ExplainStatement>().stmt);
	}
	try {
		return BindUnfolded(context, binder, *statement);
	} catch (const std::exception &exception) {
		auto parameters = binder.GetParameters();
		if (ErrorData(exception).Type() != ExceptionType::PARAMETER_NOT_RESOLVED || !parameters) {
			throw;
		}
		// As DuckDB does where the values of parameters are still to come.
		parameters->rebind = true;
		BoundStatement unknown;
		unknown.names = {"unknown"};
		unknown.types = {LogicalTypeId::UNKNOWN};
		unknown.plan = make_uniq<LogicalDummyScan>(binder.GenerateTableIndex());
		return unknown;
	}
}

//! The columns of a query that is not bound again are called after what the user wrote, too. How many those of a star are,
//! only binding tells.
static void NameAsWritten(BoundStatement &bound, QueryNode &written) {
	auto first = &written;
	while (first->type == QueryNodeType::SET_OPERATION_NODE) {
		first = first->Cast<SetOperationNode>().children[0].get();
	}
	if (first->type != QueryNodeType::SELECT_NODE) {
		return;
	}
	auto &columns = first->Cast<SelectNode>().select_list;
	auto has_star = std::any_of(columns.begin(), columns.end(), [](const unique_ptr<ParsedExpression> &column) {
		return column->GetExpressionClass() == ExpressionClass::STAR;
	});
	if (has_star || columns.size() != bound.names.size()) {
		return;
	}
	for (idx_t i = 0; i < columns.size(); i++) {
		if (IsNamedByText(*columns[i])) {
			bound.names[i] = columns[i]->GetName();
		}
	}
}

//! When a statement that concerns no driver did bind: DuckDB has folded it all the same.
static void BindAgain(PlannerExtensionInput &input, BoundStatement &bound) {
	auto &context = input.context;
	auto state = ConnectionState::Get(context);
	if (bound.plan->type == LogicalOperatorType::LOGICAL_EXECUTE ||
	    bound.plan->type == LogicalOperatorType::LOGICAL_PREPARE ||
	    DatabaseManager::Get(context).GetRemoteCatalogCount() == 0) {
		return;
	}
	if (state->HasPushed() && FindWholeQuery(*bound.plan)) {
		return;
	}
	auto statement = state->TakeOtherwise(context);
	if (!statement) {
		return;
	}
	auto parameters = input.binder.GetParameters();
	// Where values of parameters are still to come, what is bound twice waits for ever.
	auto once = state->HasPushed() || (parameters && !parameters->GetParameters().empty());
	if (!once) {
		bound = BindUnfolded(context, input.binder, *statement);
	} else if (statement->type == StatementType::SELECT_STATEMENT) {
		NameAsWritten(bound, *QueryOf(*statement));
	}
}

class BindOtherwise : public OperatorExtension {
public:
	BindOtherwise() {
		Bind = BindFailed;
	}
	string GetName() override {
		return "duckherder_bind_otherwise";
	}
	unique_ptr<LogicalExtensionOperator> Deserialize(Deserializer &) override {
		throw NotImplementedException("statements are bound otherwise; no operator is");
	}
};

void RegisterBindOtherwise(DBConfig &config) {
	OperatorExtension::Register(config, make_shared_ptr<BindOtherwise>());
	PlannerExtension extension;
	extension.post_bind_function = BindAgain;
	PlannerExtension::Register(config, std::move(extension));
}

} // namespace duckherder
