#include "database_renamer.hpp"

#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/expression/type_expression.hpp"
#include "duckdb/parser/expression/window_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/showref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

bool IsOfTable(const Identifier &function) {
	return function == "pragma_table_info" || function == "pragma_show" || function == "pragma_storage_info";
}

bool NamesByText(const ParsedExpression &text, QualifiedName &name) {
	if (text.GetExpressionClass() != ExpressionClass::CONSTANT) {
		return false;
	}
	auto value = text.Cast<ConstantExpression>().GetLiteral().ToValue();
	string error;
	return !value.IsNull() && value.type().id() == LogicalTypeId::VARCHAR &&
	       QualifiedName::TryParse(StringValue::Get(value), name, error);
}

void DatabaseRenamer::Rename(QueryNode &node) {
	ParsedExpressionIterator::EnumerateQueryNodeChildren(
	    node, [&](unique_ptr<ParsedExpression> &child) { Rename(*child); },
	    [&](TableRef &ref) {
		    if (ref.type == TableReferenceType::BASE_TABLE) {
			    Rename(ref.Cast<BaseTableRef>().GetQualifiedNameMutable());
		    } else if (ref.type == TableReferenceType::SHOW_REF) {
			    Rename(ref.Cast<ShowRef>().qualified_name);
		    }
	    });
}

void DatabaseRenamer::Rename(QualifiedName &name) {
	auto path = name.Path();
	if (path.size() >= least_parts && path[0] == from) {
		path[0] = to;
		name = path.size() == 2 ? QualifiedName(to, Identifier(), path[1]) : QualifiedName::FromPath(std::move(path));
	}
}

void DatabaseRenamer::Rename(ParsedExpression &expression) {
	switch (expression.GetExpressionClass()) {
	case ExpressionClass::COLUMN_REF: {
		auto &names = expression.Cast<ColumnRefExpression>().ColumnNamesMutable();
		// Of few names, the first may be a column.
		if (names.size() > least_parts && names[0] == from) {
			names[0] = to;
		}
		break;
	}
	case ExpressionClass::FUNCTION: {
		auto &call = expression.Cast<FunctionExpression>();
		Rename(call.GetQualifiedNameMutable());
		QualifiedName table;
		if (IsOfTable(call.FunctionName()) && !call.GetArguments().empty() &&
		    NamesByText(call.GetArguments()[0].GetExpression(), table)) {
			Rename(table);
			call.GetArgumentsMutable()[0].GetExpressionMutable() = ConstantExpression::String(table.ToString());
		}
		break;
	}
	case ExpressionClass::WINDOW:
		Rename(expression.Cast<WindowExpression>().GetQualifiedNameMutable());
		break;
	case ExpressionClass::CAST:
		Rename(expression.Cast<CastExpression>().TargetTypeMutable());
		break;
	case ExpressionClass::TYPE: {
		auto &type = expression.Cast<TypeExpression>();
		auto name = type.GetQualifiedName();
		Rename(name);
		type.SetQualifiedName(std::move(name));
		break;
	}
	case ExpressionClass::SUBQUERY:
		Rename(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		break;
	default:
		break;
	}
	ParsedExpressionIterator::EnumerateChildren(expression,
	                                            [&](unique_ptr<ParsedExpression> &child) { Rename(*child); });
}

} // namespace duckherder
