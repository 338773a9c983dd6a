#include "column_names.hpp"

#include "connection_state.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/query_node/set_operation_node.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/planner/planner_extension.hpp"
#include "query_function.hpp"
#include "query_of.hpp"
#include "spelling.hpp"
#include "unfold.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

//! The SELECT that names the columns of a query: the first one.
static optional_ptr<SelectNode> NamingSelect(QueryNode &node) {
	switch (node.type) {
	case QueryNodeType::SELECT_NODE:
		return node.Cast<SelectNode>();
	case QueryNodeType::SET_OPERATION_NODE: {
		auto &children = node.Cast<SetOperationNode>().children;
		return children.empty() ? nullptr : NamingSelect(*children[0]);
	}
	default:
		return nullptr;
	}
}

static optional_ptr<SelectNode> NamingSelect(SQLStatement &statement) {
	switch (statement.type) {
	case StatementType::SELECT_STATEMENT:
		return NamingSelect(*statement.Cast<SelectStatement>().node);
	case StatementType::EXPLAIN_STATEMENT:
		return NamingSelect(*statement.Cast<ExplainStatement>().stmt);
	case StatementType::CREATE_STATEMENT: {
		auto &info = *statement.Cast<CreateStatement>().info;
		if (info.type != CatalogType::TABLE_ENTRY || !info.Cast<CreateTableInfo>().query) {
			return nullptr;
		}
		return NamingSelect(*info.Cast<CreateTableInfo>().query->node);
	}
	default:
		return nullptr;
	}
}

//! alias(x) gives the name of x, or its own if it is given one.
static bool TellsItsName(const ParsedExpression &expression) {
	return expression.GetExpressionClass() == ExpressionClass::FUNCTION &&
	       expression.Cast<FunctionExpression>().FunctionName() == "alias";
}

void KeepColumnNames(ClientContext &context, QueryNode &node) {
	auto select = NamingSelect(node);
	if (!select) {
		return;
	}
	auto &columns = select->select_list;
	if (std::none_of(columns.begin(), columns.end(), [](const auto &column) { return IsNamedByText(*column); })) {
		return;
	}
	auto query = RunningQuery(context);
	if (query.empty()) {
		return;
	}
	// What is written as it is bears its own name; what is not, that of what was written.
	auto shift = ShiftInText(PlacesIn(node), query);
	auto as_written = shift && std::all_of(columns.begin(), columns.end(), [&](const auto &column) {
		return !IsNamedByText(*column) || IsWrittenIn(query, *shift, *column);
	});
	auto statement = as_written ? nullptr : ParseWritten(context, query);
	auto written = statement ? NamingSelect(*statement) : nullptr;
	if (!as_written && (!written || written->select_list.size() != columns.size())) {
		return;
	}
	for (idx_t i = 0; i < columns.size(); i++) {
		auto &naming = as_written ? *columns[i] : *written->select_list[i];
		if (IsNamedByText(*columns[i]) && IsNamedByText(naming) && !TellsItsName(*columns[i])) {
			columns[i]->SetAlias(naming.GetName());
		}
	}
}

//! Whether `name` is what a relation made of a column's second `given` name.
static bool IsRepeated(const Identifier &name, const Identifier &given) {
	auto &text = name.GetIdentifierName();
	auto prefix = given.GetIdentifierName() + "_";
	return text.size() > prefix.size() && StringUtil::StartsWith(text, prefix) &&
	       std::all_of(text.begin() + static_cast<int64_t>(prefix.size()), text.end(), StringUtil::CharacterIsDigit);
}

static void RestoreRepeatedNames(PlannerExtensionInput &, BoundStatement &statement) {
	auto plan = statement.plan.get();
	if (!plan || plan->type != LogicalOperatorType::LOGICAL_PROJECTION ||
	    plan->children[0]->type != LogicalOperatorType::LOGICAL_GET) {
		return;
	}
	auto data = dynamic_cast<const QueryData *>(plan->children[0]->Cast<LogicalGet>().bind_data.get());
	if (!data || !data->columns || data->columns->given_names.size() != statement.names.size()) {
		return;
	}
	auto &given = data->columns->given_names;
	for (idx_t i = 0; i < given.size(); i++) {
		if (statement.names[i] != given[i] && IsRepeated(statement.names[i], given[i])) {
			statement.names[i] = given[i];
		}
	}
}

void RegisterColumnNames(DBConfig &config) {
	PlannerExtension extension;
	extension.post_bind_function = RestoreRepeatedNames;
	PlannerExtension::Register(config, std::move(extension));
}

} // namespace duckherder
