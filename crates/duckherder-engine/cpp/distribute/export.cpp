// Subtrees of a plan as SQL; aggregates as SQL that exports their states.
#include "fragment.hpp"

#include "duckdb/common/exception.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "duckdb/planner/bound_expression_sql_exporter.hpp"
#include "duckdb/planner/expression/bound_aggregate_expression.hpp"
#include "duckdb/planner/logical_plan_sql_exporter.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! The name of the relation below an aggregate.
static const char *const INPUT_NAME = "input";

template <class T>
static T Take(LogicalPlanVerificationResult<T> result) {
	if (result.IsSuccess()) {
		return std::move(result.GetValue());
	}
	string message = "DuckDB can't write it as SQL";
	for (auto &issue : result.GetIssues()) {
		message += ": " + issue.message;
	}
	throw NotImplementedException(message);
}

static LogicalPlanSQLExportRelation Export(ClientContext &context, LogicalOperator &op) {
	auto relation = Take(LogicalPlanSQLExporter::Export(context, op));
	for (auto &field : relation.fields) {
		if (field.optimizer_type && *field.optimizer_type != field.type) {
			throw NotImplementedException("the optimizer gave a column the type %s, which SQL doesn't keep",
			                              field.optimizer_type->ToString());
		}
	}
	return relation;
}

static void NarrowConstants(ParsedExpression &expression);

static void NarrowConstants(QueryNode &node) {
	// Subqueries in FROM are walked, too.
	ParsedExpressionIterator::EnumerateQueryNodeChildren(
	    node, [](unique_ptr<ParsedExpression> &child) { NarrowConstants(*child); }, [](TableRef &) {});
}

//! `CAST(1.00 AS DECIMAL(16, 2))`: a literal that has the scale of its type already.
static bool IsDecimalLiteral(const ParsedExpression &expression) {
	if (expression.GetExpressionClass() != ExpressionClass::CAST) {
		return false;
	}
	auto &cast = expression.Cast<CastExpression>();
	if (cast.Child().GetExpressionClass() != ExpressionClass::CONSTANT) {
		return false;
	}
	auto type = cast.TargetType().ToString();
	auto text = cast.Child().ToString();
	auto point = text.find('.');
	auto digits = text.find_first_not_of("-0123456789.") == string::npos;
	auto scale = ", " + to_string(text.size() - point - 1) + ")";
	return point != string::npos && digits && StringUtil::StartsWith(type, "DECIMAL(") &&
	       StringUtil::EndsWith(type, scale);
}

//! The exporter writes an addend of a DECIMAL sum in the sum's type, `CAST(1.00 AS DECIMAL(16, 2)) + tax`. Bound again,
//! that makes the sum one digit wider, which a checked cast takes back for each row. A literal has the width it needs.
static void NarrowConstants(ParsedExpression &expression) {
	if (expression.GetExpressionClass() == ExpressionClass::FUNCTION) {
		auto &function = expression.Cast<FunctionExpression>();
		auto &name = function.FunctionName().GetIdentifierName();
		if ((name == "+" || name == "-") && function.GetArguments().size() == 2) {
			for (auto &argument : function.GetArgumentsMutable()) {
				auto &addend = argument.GetExpressionMutable();
				if (IsDecimalLiteral(*addend)) {
					addend = std::move(addend->Cast<CastExpression>().ChildMutable());
				}
			}
		}
	}
	ParsedExpressionIterator::EnumerateChildren(
	    expression, [](unique_ptr<ParsedExpression> &child) { NarrowConstants(*child); });
}

ExportedPlan ExportSubtree(ClientContext &context, LogicalOperator &op) {
	auto relation = Export(context, op);
	ExportedPlan result;
	for (auto &field : relation.fields) {
		result.bindings.push_back(field.source_binding);
		result.types.push_back(field.type);
	}
	result.query = std::move(relation.query);
	NarrowConstants(*result.query);
	return result;
}

static Identifier Column(idx_t index) {
	return Identifier("c" + to_string(index));
}

//! `query` as a relation with columns c0, c1 ...
static unique_ptr<TableRef> AsInput(unique_ptr<QueryNode> query, idx_t columns) {
	auto statement = make_uniq<SelectStatement>();
	statement->node = std::move(query);
	auto input = make_uniq<SubqueryRef>(std::move(statement), Identifier(INPUT_NAME));
	for (idx_t i = 0; i < columns; i++) {
		input->column_name_alias.push_back(Column(i));
	}
	return std::move(input);
}

ExportedPlan ExportPartialAggregate(ClientContext &context, LogicalAggregate &aggregate) {
	auto relation = Export(context, *aggregate.children[0]);
	auto fields = relation.fields;
	BoundExpressionSQLExportContext names;
	names.client_context = &context;
	names.discard_optimizer_metadata = true;
	names.resolve_binding = [fields](const ColumnBinding &binding) -> optional<ResolvedSQLColumnReference> {
		for (idx_t i = 0; i < fields.size(); i++) {
			if (fields[i].source_binding == binding) {
				return ResolvedSQLColumnReference {{Identifier(INPUT_NAME), Column(i)}, fields[i].type, {}};
			}
		}
		return {};
	};
	// A relation without columns has one that stands for them.
	auto columns = MaxValue<idx_t>(fields.size(), 1);

	auto node = make_uniq<SelectNode>();
	auto input = AsInput(std::move(relation.query), columns);
	auto plain_keys = std::all_of(aggregate.groups.begin(), aggregate.groups.end(), [](unique_ptr<Expression> &group) {
		return group->GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF;
	});
	if (!plain_keys) {
		// Keys become columns first: a constant among them would be a position to GROUP BY.
		auto keys = make_uniq<SelectNode>();
		for (idx_t i = 0; i < columns; i++) {
			keys->select_list.push_back(make_uniq<ColumnRefExpression>(Column(i), Identifier(INPUT_NAME)));
		}
		for (auto &group : aggregate.groups) {
			keys->select_list.push_back(Take(BoundExpressionSQLExporter::Export(*group, names)));
		}
		keys->from_table = std::move(input);
		input = AsInput(std::move(keys), columns + aggregate.groups.size());
	}
	node->from_table = std::move(input);
	GroupingSet all_keys;
	for (idx_t i = 0; i < aggregate.groups.size(); i++) {
		unique_ptr<ParsedExpression> key;
		if (plain_keys) {
			key = Take(BoundExpressionSQLExporter::Export(*aggregate.groups[i], names));
		} else {
			key = make_uniq<ColumnRefExpression>(Column(columns + i), Identifier(INPUT_NAME));
		}
		node->groups.group_expressions.push_back(key->Copy());
		all_keys.insert(ProjectionIndex(i));
		node->select_list.push_back(std::move(key));
	}
	if (!aggregate.groups.empty()) {
		node->groups.grouping_sets.push_back(std::move(all_keys));
	}
	const LogicalPlanVerificationPath path {LogicalPlanVerificationPathRoot::STANDALONE_EXPRESSION, {}};
	for (auto &expression : aggregate.expressions) {
		auto call = Take(BoundExpressionSQLExporter::ExportAggregateCallAtPath(
		    expression->Cast<BoundAggregateExpression>(), names, path));
		call->ExportStateMutable() = true;
		node->select_list.push_back(std::move(call));
	}

	ExportedPlan result;
	NarrowConstants(*node);
	result.query = std::move(node);
	result.bindings = aggregate.GetColumnBindings();
	result.types = aggregate.types;
	return result;
}

} // namespace duckherder
