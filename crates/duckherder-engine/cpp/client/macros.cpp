#include "macros.hpp"

#include "column_names.hpp"
#include "query_of.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/catalog/catalog_entry/scalar_macro_catalog_entry.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/delete_query_node.hpp"
#include "duckdb/parser/query_node/insert_query_node.hpp"
#include "duckdb/parser/query_node/merge_query_node.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/query_node/set_operation_node.hpp"
#include "duckdb/parser/query_node/update_query_node.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression_binder.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Lends what DuckDB's binder does with a macro.
class MacroUnfolder : public ExpressionBinder {
public:
	MacroUnfolder(Binder &binder, ClientContext &context) : ExpressionBinder(binder, context) {
	}
	using ExpressionBinder::UnfoldMacroExpression;
};

class MacroExpander {
public:
	explicit MacroExpander(ClientContext &context) : context(context) {
	}

	bool found = false;

	void Expand(QueryNode &node) {
		KeepNames(node);
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [](unique_ptr<ParsedExpression> &) {},
		    [&](TableRef &ref) {
			    if (ref.type == TableReferenceType::SUBQUERY) {
				    KeepNames(*ref.Cast<SubqueryRef>().subquery->node);
			    }
		    });
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

	//! A column that is named by its text keeps that name.
	void KeepNames(QueryNode &node) {
		for (auto &entry : node.cte_map.map) {
			if (entry.second->query_node) {
				KeepNames(*entry.second->query_node);
			}
		}
		if (node.type == QueryNodeType::SET_OPERATION_NODE) {
			for (auto &child : node.Cast<SetOperationNode>().children) {
				KeepNames(*child);
			}
		}
		if (node.type != QueryNodeType::SELECT_NODE) {
			return;
		}
		for (auto &column : node.Cast<SelectNode>().select_list) {
			if (IsNamedByText(*column) && CallsMacro(*column)) {
				column->SetAlias(column->GetName());
			}
		}
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
			auto unfolded = expression->Copy();
			auto binder = Binder::CreateBinder(context);
			MacroUnfolder unfolder(*binder, context);
			try {
				unfolder.UnfoldMacroExpression(unfolded->Cast<FunctionExpression>(), *macro, unfolded, 0);
			} catch (const BinderException &) {
				// Which one is meant depends on the types of columns: it stays as it is.
				break;
			}
			unfolded->SetAlias(expression->GetAlias());
			expression = std::move(unfolded);
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
