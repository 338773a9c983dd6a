#include "wire_type.hpp"

#include "duckdb/common/sql_identifier.hpp"
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

bool IsCollated(const LogicalType &type) {
	return TypeVisitor::Contains(type, [](const LogicalType &part) {
		return part.id() == LogicalTypeId::VARCHAR && !StringType::GetCollation(part).empty();
	});
}

LogicalType WithoutCollations(const LogicalType &type) {
	return TypeVisitor::VisitReplace(type, [](const LogicalType &part) {
		return part.id() == LogicalTypeId::VARCHAR && IsCollated(part) ? LogicalType::VARCHAR : part;
	});
}

string WireTypeName(const LogicalType &type) {
	auto anywhere = WithoutUserTypes(type);
	if (!IsCollated(anywhere)) {
		return anywhere.ToString();
	}
	// DuckDB's own text of a type leaves the collation out, though it reads one.
	return TypeVisitor::VisitReplace(anywhere, [](const LogicalType &part) {
		       if (part.id() != LogicalTypeId::VARCHAR || !IsCollated(part)) {
			       return part;
		       }
		       return LogicalType(LogicalType::VARCHAR)
		           .WithAlias("VARCHAR(" + SQLString::ToString(StringType::GetCollation(part)) + ")");
	       })
	    .ToString();
}

LogicalType ParseWireType(ClientContext &context, const string &text) {
	return TransformStringToLogicalType(text, context);
}

} // namespace duckherder
