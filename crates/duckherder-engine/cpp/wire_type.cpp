#include "wire_type.hpp"

#include "duckdb/common/type_visitor.hpp"
#include "duckdb/main/client_context.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

LogicalType WithoutUserTypes(const LogicalType &type) {
	return TypeVisitor::VisitReplace(type, [](const LogicalType &part) {
		if (!part.HasAlias() || part.IsJSONType()) {
			return part;
		}
		return part.WithAlias("");
	});
}

string WireTypeName(const LogicalType &type) {
	return WithoutUserTypes(type).ToString();
}

LogicalType ParseWireType(ClientContext &context, const string &text) {
	return TransformStringToLogicalType(text, context);
}

} // namespace duckherder
