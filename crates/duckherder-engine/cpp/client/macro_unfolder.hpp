// What DuckDB's binder does with a call of a scalar macro, without binding it.
#pragma once

#include "duckdb/catalog/catalog_entry/scalar_macro_catalog_entry.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/planner/binder.hpp"
#include "duckdb/planner/expression_binder.hpp"

namespace duckherder {

class MacroUnfolder : public duckdb::ExpressionBinder {
public:
	MacroUnfolder(duckdb::Binder &binder, duckdb::ClientContext &context) : ExpressionBinder(binder, context) {
	}
	using ExpressionBinder::UnfoldMacroExpression;
};

//! Puts what a call of the macro stands for in its place. Which of the macro's bodies is meant may depend on the types of
//! columns, or none is: then the call stays as it is, and this is false.
inline bool UnfoldMacro(duckdb::ClientContext &context, duckdb::ScalarMacroCatalogEntry &macro,
                        duckdb::unique_ptr<duckdb::ParsedExpression> &call) {
	auto unfolded = call->Copy();
	auto binder = duckdb::Binder::CreateBinder(context);
	MacroUnfolder unfolder(*binder, context);
	try {
		unfolder.UnfoldMacroExpression(unfolded->Cast<duckdb::FunctionExpression>(), macro, unfolded, 0);
	} catch (const duckdb::BinderException &) {
		return false;
	}
	unfolded->SetAlias(call->GetAlias());
	call = std::move(unfolded);
	return true;
}

} // namespace duckherder
