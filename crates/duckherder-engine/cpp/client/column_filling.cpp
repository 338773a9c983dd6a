#include "column_filling.hpp"

#include "several_statements.hpp"
#include "unfold.hpp"

#include "duckdb/execution/expression_executor.hpp"
#include "duckdb/optimizer/remote_pushdown_optimizer.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/statement/update_statement.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression_binder/constant_binder.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

bool BindAsFilling(ClientContext &context, SQLStatement &written) {
	if (written.type != StatementType::UPDATE_STATEMENT || !IsOneOfSeveralStatements(context)) {
		return false;
	}
	// An UPDATE with a PIVOT in it is one of several, too.
	auto &node = *written.Cast<UpdateStatement>().node;
	if (node.from_table || node.set_info->condition || !node.cte_map.map.empty() || !node.returning_list.empty() ||
	    node.set_info->expressions.size() != 1 || node.set_info->expressions[0]->HasSubquery()) {
		return false;
	}
	node.prioritize_table_when_binding = true;
	return true;
}

//! Whether it calls a function of DuckDB's that tells of the session (current_database) or of the moment.
static bool TellsOfSession(ClientContext &context, const ParsedExpression &expression) {
	auto function =
	    expression.GetExpressionClass() == ExpressionClass::FUNCTION ? FunctionOf(context, expression) : nullptr;
	return function && function->type == CatalogType::SCALAR_FUNCTION_ENTRY && IsDuckDBs(*function) &&
	       HasStability(*function, FunctionStability::CONSISTENT_WITHIN_QUERY);
}

static void EvaluateSession(ClientContext &context, unique_ptr<ParsedExpression> &expression) {
	auto value = TellsOfSession(context, *expression) ? ValueOf(context, *expression) : nullptr;
	if (value) {
		expression = std::move(value);
		return;
	}
	ParsedExpressionIterator::EnumerateChildren(
	    *expression, [&](unique_ptr<ParsedExpression> &child) { EvaluateSession(context, child); });
}

void WriteFilling(ClientContext &context, UpdateQueryNode &node, const vector<unique_ptr<SQLStatement>> &statements,
                  const Identifier &catalog) {
	auto &values = node.set_info->expressions;
	auto is_update = statements.size() == 1 && statements[0]->type == StatementType::UPDATE_STATEMENT;
	if (!is_update || statements[0]->Cast<UpdateStatement>().node->set_info->expressions.size() != values.size()) {
		throw BinderException("the default of the new column is not what was written: run the statement by itself");
	}
	auto &written = statements[0]->Cast<UpdateStatement>().node->set_info->expressions;
	for (idx_t i = 0; i < values.size(); i++) {
		values[i] = written[i]->Copy();
		EvaluateSession(context, values[i]);
		RemotePushdownOptimizer::StripCatalogName(*values[i], catalog);
	}
}

} // namespace duckherder
