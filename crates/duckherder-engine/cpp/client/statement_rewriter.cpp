#include "statement_rewriter.hpp"

#include "connection_state.hpp"
#include "query_of.hpp"
#include "rewriter.hpp"
#include "sequences.hpp"

#include "duckdb/optimizer/remote_pushdown_optimizer.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/parameter_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/expression/window_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/tableref/pivotref.hpp"
#include "duckdb/parser/tableref/showref.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {


void StatementRewriter::NoteShift() {
	ConnectionState::Get(context)->NoteShift(written.Shift());
}

void StatementRewriter::Rewrite(QueryNode &node) {
	unique_ptr<WholeRows> outermost;
	if (!whole_rows) {
		outermost = make_uniq<WholeRows>(context, catalog, node);
		whole_rows = outermost.get();
	}
	RewriteParts(node);
	if (outermost) {
		whole_rows = nullptr;
	}
}

void StatementRewriter::RewriteParts(QueryNode &node) {
	if (searched.IsNarrower()) {
		ctes.CollectWithUnread(node);
	} else {
		ctes.Collect(node);
	}
	if (auto target = TargetOf(node)) {
		if (node.type != QueryNodeType::UPDATE_QUERY_NODE) {
			subjects.CheckTarget(*target);
			checked_target = target.get();
		}
		if (node.type == QueryNodeType::INSERT_QUERY_NODE) {
			RenameTable(*target);
		} else if (target->Path().size() == 1 && ctes.Has(target->Name())) {
			// What is changed is a table, whatever the CTEs are called.
			*target = searched.InSearchedSchema(CatalogType::TABLE_ENTRY, target->Name());
		}
	}
	fills_column = searched.NameFilling(node);
	ParsedExpressionIterator::EnumerateQueryNodeChildren(
	    node, [&](unique_ptr<ParsedExpression> &child) { Rewrite(*child); },
	    [&](TableRef &ref) { Rewrite(ref); });
}

void StatementRewriter::Rewrite(TableRef &ref) {
	if (ref.type == TableReferenceType::SHOW_REF) {
		StripCatalog(ref.Cast<ShowRef>().qualified_name);
	}
	if (ref.type == TableReferenceType::PIVOT) {
		for (auto &pivot : ref.Cast<PivotRef>().pivots) {
			for (auto &expression : pivot.pivot_expressions) {
				Rewrite(*expression);
				RemotePushdownOptimizer::StripCatalogName(*expression, catalog.GetName());
			}
		}
	}
	if (ref.type != TableReferenceType::BASE_TABLE) {
		if (ref.type == TableReferenceType::SUBQUERY) {
			ctes.Collect(*ref.Cast<SubqueryRef>().subquery->node);
		} else if (ref.type == TableReferenceType::TABLE_FUNCTION) {
			auto &function = *ref.Cast<TableFunctionRef>().function;
			if (function.GetExpressionClass() == ExpressionClass::FUNCTION) {
				StripCatalog(function.Cast<FunctionExpression>());
				KeepApart(function.Cast<FunctionExpression>(), ref.query_location,
				          CatalogType::TABLE_FUNCTION_ENTRY);
			}
		}
		return;
	}
	auto &table = ref.Cast<BaseTableRef>();
	StripCatalog(table.GetQualifiedNameMutable());
	auto local = table.Table();
	auto is_cte = ctes.Has(local);
	// What a macro is called in may have CTEs of any name.
	auto plain = table.GetQualifiedName().Path().size() == 1;
	auto is_checked = &table.GetQualifiedName() == checked_target.get() || ctes.IsUnread(ref);
	if ((is_stored || searched.IsNarrower()) && !is_checked) {
		CheckTable(table, is_cte);
	}
	if (!is_cte && !(plain && may_have_ctes)) {
		CheckReach(table.GetQualifiedName(), ref.query_location, CatalogType::TABLE_ENTRY);
	}
	// DuckDB has taken the catalog away that told it from the CTE of its name. (Of a view, it does so for itself.)
	if ((is_cte || of_macro) && !of_view && !of_text && plain && written.IsQualified(local, ref.query_location)) {
		is_cte = false;
		table.SetQualifiedName(searched.InSearchedSchema(CatalogType::TABLE_ENTRY, local));
	}
	if (is_cte) {
		return;
	}
	if (RenameTable(table.GetQualifiedNameMutable())) {
		ref.alias = ref.alias.empty() ? local : ref.alias;
	} else {
		KeepTableApart(table.GetQualifiedNameMutable());
	}
}

void StatementRewriter::Rewrite(ParsedExpression &expression) {
	switch (expression.GetExpressionClass()) {
	case ExpressionClass::PARAMETER: {
		auto &name = expression.Cast<ParameterExpression>().Identifier();
		if (std::find(parameters.begin(), parameters.end(), name) == parameters.end()) {
			parameters.push_back(name);
		}
		break;
	}
	case ExpressionClass::CAST: {
		auto &cast = expression.Cast<CastExpression>();
		auto defined = types.Define(cast.TargetType(), of_view || of_column, !of_text);
		if (defined) {
			cast.SetTargetType(std::move(defined));
		}
		break;
	}
	case ExpressionClass::FUNCTION:
		NameSequenceForDriver(of_column || fills_column ? searched.BesideTable() : CatalogEntryRetriever(context),
		                      catalog, expression.Cast<FunctionExpression>(), is_stored, of_column);
		KeepApart(expression.Cast<FunctionExpression>(), expression.GetQueryLocation(),
		          CatalogType::SCALAR_FUNCTION_ENTRY);
		break;
	case ExpressionClass::WINDOW:
		KeepApart(expression.Cast<WindowExpression>().GetQualifiedNameMutable(), expression.GetQueryLocation(),
		          CatalogType::SCALAR_FUNCTION_ENTRY);
		break;
	case ExpressionClass::COLUMN_REF:
		if (whole_rows) {
			whole_rows->NameForDriver(expression.Cast<ColumnRefExpression>());
		}
		break;
	case ExpressionClass::SUBQUERY:
		Rewrite(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		break;
	default:
		break;
	}
	ParsedExpressionIterator::EnumerateChildren(expression,
	                                            [&](unique_ptr<ParsedExpression> &child) { Rewrite(*child); });
}

vector<Identifier> RewriteForDriver(ClientContext &context, RemoteCatalog &catalog, QueryNode &node) {
	StatementRewriter rewriter(context, catalog, PlacesIn(node));
	rewriter.NoteShift();
	rewriter.Rewrite(node);
	return std::move(rewriter.parameters);
}

vector<Identifier> RewriteForDriver(ClientContext &context, RemoteCatalog &catalog, SQLStatement &statement) {
	StatementRewriter rewriter(context, catalog, PlacesIn(statement));
	rewriter.NoteShift();
	rewriter.Rewrite(statement);
	return std::move(rewriter.parameters);
}

} // namespace duckherder
