#include "macros.hpp"

#include "column_names.hpp"
#include "macro_unfolder.hpp"
#include "query_of.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/scalar_macro_catalog_entry.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/delete_query_node.hpp"
#include "duckdb/parser/query_node/insert_query_node.hpp"
#include "duckdb/parser/query_node/merge_query_node.hpp"
#include "duckdb/parser/query_node/update_query_node.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

class MacroExpander {
public:
	explicit MacroExpander(ClientContext &context) : context(context) {
	}

	bool found = false;

	void Expand(QueryNode &node) {
		NameByText(node, [&](const ParsedExpression &column) { return CallsMacro(column); });
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Expand(child); });
	}

private:
	bool CallsMacro(const ParsedExpression &expression) {
		bool found = static_cast<bool>(FindMacro(expression));
		ParsedExpressionIterator::EnumerateChildren(
		    expression, [&](const ParsedExpression &child) { found = found || CallsMacro(child); });
		return found;
	}

	optional_ptr<ScalarMacroCatalogEntry> FindMacro(const ParsedExpression &expression) {
		if (expression.GetExpressionClass() != ExpressionClass::FUNCTION) {
			return nullptr;
		}
		auto &call = expression.Cast<FunctionExpression>();
		if (call.Filter() || call.Distinct() || (call.OrderBy() && !call.OrderBy()->orders.empty())) {
			// No macro takes that, as the binder says.
			return nullptr;
		}
		EntryLookupInfo lookup(CatalogType::SCALAR_FUNCTION_ENTRY, call.GetQualifiedName());
		auto entry = Catalog::GetEntry(context, lookup, OnEntryNotFound::RETURN_NULL);
		if (!entry || entry->type != CatalogType::MACRO_ENTRY || !entry->internal) {
			return nullptr;
		}
		return entry->Cast<ScalarMacroCatalogEntry>();
	}

	void Expand(unique_ptr<ParsedExpression> &expression) {
		// A macro may call another.
		for (auto macro = FindMacro(*expression); macro; macro = FindMacro(*expression)) {
			if (!UnfoldMacro(context, *macro, expression)) {
				break;
			}
			found = true;
		}
		if (expression->GetExpressionClass() == ExpressionClass::SUBQUERY) {
			Expand(*expression->Cast<SubqueryExpression>().SubqueryMutable()->node);
		}
		ParsedExpressionIterator::EnumerateChildren(*expression,
		                                            [&](unique_ptr<ParsedExpression> &child) { Expand(child); });
	}

	ClientContext &context;
};

bool ExpandBuiltInMacros(ClientContext &context, SQLStatement &statement) {
	auto node = QueryOf(statement);
	if (!node) {
		return false;
	}
	MacroExpander expander(context);
	expander.Expand(*node);
	return expander.found;
}

} // namespace duckherder
