#include "keepable.hpp"

#include "distribute/exchange.hpp"

#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/parser/query_node/insert_query_node.hpp"
#include "duckdb/parser/statement/insert_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/expressionlistref.hpp"
#include "duckdb/planner/expression/bound_function_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/logical_get.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

bool IsQuery(const SQLStatement &statement) {
	return statement.type == StatementType::SELECT_STATEMENT;
}

bool MayBeKept(const SQLStatement &statement) {
	switch (statement.type) {
	case StatementType::SELECT_STATEMENT:
	case StatementType::INSERT_STATEMENT:
	case StatementType::UPDATE_STATEMENT:
	case StatementType::DELETE_STATEMENT:
		return true;
	default:
		return false;
	}
}

bool HasTableScan(const LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_GET) {
		return true;
	}
	for (auto &child : op.children) {
		if (HasTableScan(*child)) {
			return true;
		}
	}
	return false;
}

//! Whether every parameter is a whole value of an INSERT's VALUES: it means what the column's type makes of it. (Inside
//! an expression, the value's own type chooses the functions.)
static bool ParametersAreWholeValues(const SQLStatement &statement) {
	if (statement.type != StatementType::INSERT_STATEMENT) {
		return false;
	}
	auto &insert = *statement.Cast<InsertStatement>().node;
	auto values = insert.GetValuesList();
	if (!values || insert.on_conflict_info || !insert.returning_list.empty()) {
		return false;
	}
	for (auto &row : values->values) {
		for (auto &value : row) {
			auto type = value->GetExpressionClass();
			if (type != ExpressionClass::PARAMETER && type != ExpressionClass::CONSTANT &&
			    type != ExpressionClass::DEFAULT) {
				return false;
			}
		}
	}
	return true;
}

//! A function of constants is folded for good; of those that say they always give the same, some read the clock
//! (age). Operators and casts don't.
static bool FoldsFunctions(const Expression &expression) {
	auto folds = false;
	ExpressionIterator::VisitExpression<BoundFunctionExpression>(
	    expression, [&](const BoundFunctionExpression &function) {
		    folds |= function.Function().GetStability() == FunctionStability::CONSISTENT_WITHIN_QUERY;
		    folds |= function.IsFoldable() && !function.IsOperator();
	    });
	return folds;
}

static bool IsSteady(const LogicalOperator &op) {
	if (op.type == LogicalOperatorType::LOGICAL_GET) {
		// A table of DuckDB's own: files and functions may give something else every time.
		auto &get = op.Cast<LogicalGet>();
		auto table = get.GetTable();
		if (!table || !table->IsDuckTable() || get.function.GetName() != "seq_scan") {
			return false;
		}
	}
	auto steady = true;
	LogicalOperatorVisitor::EnumerateExpressions(op, [&](const unique_ptr<Expression> *expression) {
		steady = steady && !FoldsFunctions(**expression);
	});
	for (auto &child : op.children) {
		steady = steady && IsSteady(*child);
	}
	return steady;
}

bool DependsOnCatalogAndRowsOnly(ClientContext &context, const PreparedStatementData &data,
                                 const LogicalOperator &plan) {
	if (data.properties.always_require_rebind || !data.properties.bound_all_parameters) {
		return false;
	}
	auto &statement = *data.unbound_statement;
	switch (statement.type) {
	case StatementType::SELECT_STATEMENT:
		if (!statement.named_param_map.empty()) {
			return false;
		}
		break;
	case StatementType::INSERT_STATEMENT:
		if (HasTableScan(plan) || (!statement.named_param_map.empty() && !ParametersAreWholeValues(statement))) {
			return false;
		}
		break;
	default:
		return false;
	}
	return IsSteady(plan);
}

bool CanRunAgain(const LogicalOperator &plan) {
	switch (plan.type) {
	case LogicalOperatorType::LOGICAL_PROJECTION:
	case LogicalOperatorType::LOGICAL_FILTER:
	case LogicalOperatorType::LOGICAL_AGGREGATE_AND_GROUP_BY:
	case LogicalOperatorType::LOGICAL_DISTINCT:
	case LogicalOperatorType::LOGICAL_WINDOW:
	case LogicalOperatorType::LOGICAL_LIMIT:
	case LogicalOperatorType::LOGICAL_ORDER_BY:
	case LogicalOperatorType::LOGICAL_GET:
	case LogicalOperatorType::LOGICAL_EXPRESSION_GET:
	case LogicalOperatorType::LOGICAL_DUMMY_SCAN:
	case LogicalOperatorType::LOGICAL_EMPTY_RESULT:
	case LogicalOperatorType::LOGICAL_INSERT:
		break;
	case LogicalOperatorType::LOGICAL_EXTENSION_OPERATOR:
		// Every run starts tasks of its own.
		if (!dynamic_cast<const LogicalExchange *>(&plan)) {
			return false;
		}
		break;
	default:
		return false;
	}
	for (auto &child : plan.children) {
		if (!CanRunAgain(*child)) {
			return false;
		}
	}
	return true;
}

bool FitParameters(const PreparedStatementData &data, const identifier_map_t<BoundParameterData> &given,
                   identifier_map_t<BoundParameterData> &fitting) {
	if (given.size() != data.value_map.size()) {
		return false;
	}
	for (auto &slot : data.value_map) {
		auto found = given.find(slot.first);
		if (found == given.end()) {
			return false;
		}
		auto &value = found->second.GetValue();
		auto &type = slot.second->return_type;
		auto widens = value.type().IsIntegral() && type.IsIntegral() &&
		              LogicalType::DefaultForceMaxLogicalType(value.type(), type) == type;
		if (value.type() != type && !value.IsNull() && !widens) {
			return false;
		}
		fitting[slot.first] = BoundParameterData(value.IsNull() ? Value(type) : value.DefaultCastAs(type), type);
	}
	return true;
}

} // namespace duckherder
