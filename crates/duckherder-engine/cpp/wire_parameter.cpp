#include "wire_parameter.hpp"

#include "wire_type.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const char *const INTEGER_LITERAL = "INTEGER_LITERAL";
static const char *const STRING_LITERAL = "STRING_LITERAL";

string ParameterTypeName(const BoundParameterData &parameter) {
	auto &type = parameter.GetValue().type();
	if (parameter.return_type.id() == LogicalTypeId::INTEGER_LITERAL && type.IsIntegral()) {
		return INTEGER_LITERAL;
	}
	if (parameter.return_type.id() == LogicalTypeId::STRING_LITERAL && type == LogicalType::VARCHAR) {
		return STRING_LITERAL;
	}
	return WireTypeName(type);
}

bool IsLiteralTypeName(const string &text) {
	return text == INTEGER_LITERAL || text == STRING_LITERAL;
}

BoundParameterData ReadParameter(Value value, const string &text) {
	if (text == INTEGER_LITERAL && value.type().IsIntegral() && !value.IsNull()) {
		auto type = LogicalType::INTEGER_LITERAL(value);
		return BoundParameterData(std::move(value), std::move(type));
	}
	if (text.empty() || IsLiteralTypeName(text)) {
		return BoundParameterData(std::move(value));
	}
	auto type = value.type();
	return BoundParameterData(std::move(value), std::move(type));
}

} // namespace duckherder
