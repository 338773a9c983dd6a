#include "long_type.hpp"

#include "wire_type.hpp"

#include "duckdb/function/type_constructor.hpp"
#include "duckdb/main/extension/extension_loader.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/expression/type_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/statement/select_statement.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! A type by its text.
static const char *const LONG_TYPE = "duckherder_long_type";
//! Types with fewer parts are bound as fast as their text is looked for.
static constexpr idx_t LEAST_PARTS = 200;

static idx_t CountParts(const ParsedExpression &type) {
	idx_t parts = 1;
	ParsedExpressionIterator::EnumerateChildren(type, [&](const ParsedExpression &part) { parts += CountParts(part); });
	return parts;
}

static void ShortenTypes(ParsedExpression &expression) {
	if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
		ShortenTypes(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
	}
	if (expression.GetExpressionClass() == ExpressionClass::CAST) {
		auto &cast = expression.Cast<CastExpression>();
		if (CountParts(cast.TargetType()) >= LEAST_PARTS) {
			vector<unique_ptr<ParsedExpression>> text;
			text.push_back(ConstantExpression::String(cast.TargetType().ToString()));
			cast.SetTargetType(make_uniq<TypeExpression>(Identifier(LONG_TYPE), std::move(text)));
		}
	}
	ParsedExpressionIterator::EnumerateChildren(expression,
	                                            [](unique_ptr<ParsedExpression> &child) { ShortenTypes(*child); });
}

void ShortenTypes(QueryNode &node) {
	// Subqueries in FROM are walked, too.
	ParsedExpressionIterator::EnumerateQueryNodeChildren(
	    node, [](unique_ptr<ParsedExpression> &child) { ShortenTypes(*child); }, [](TableRef &) {});
}

static LogicalType BindLongType(BindLogicalTypeInput &input) {
	auto &text = input.modifiers[0].GetValue();
	if (text.IsNull() || !input.context) {
		throw BinderException("%s takes the text of a type", LONG_TYPE);
	}
	return ParseWireType(*input.context, StringValue::Get(text));
}

void RegisterLongType(ExtensionLoader &loader) {
	auto signature = TypeConstructor::Signature();
	signature.AddParameter("text", LogicalType::VARCHAR);
	TypeConstructorSet constructors {Identifier(LONG_TYPE)};
	constructors.AddFunction(TypeConstructor(Identifier(LONG_TYPE), std::move(signature), BindLongType));
	loader.RegisterType(LONG_TYPE, LogicalType::VARCHAR, std::move(constructors));
}

} // namespace duckherder
