#include "wire_variant.hpp"

#include "duckdb/common/type_visitor.hpp"
#include "duckdb/common/vector_operations/vector_operations.hpp"
#include "duckdb/function/cast/cast_function_set.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const LogicalType &StorageOfVariant() {
	static const auto type = LogicalType::STRUCT(StructType::GetChildTypes(LogicalType::VARIANT()));
	return type;
}

LogicalType TravellingType(const LogicalType &type) {
	if (!TypeVisitor::Contains(type, LogicalTypeId::VARIANT)) {
		return type;
	}
	return TypeVisitor::VisitReplace(type, [](const LogicalType &part) {
		return part.id() == LogicalTypeId::VARIANT ? StorageOfVariant() : part;
	});
}

vector<LogicalType> TravellingTypes(const vector<LogicalType> &types) {
	vector<LogicalType> result;
	for (auto &type : types) {
		result.push_back(TravellingType(type));
	}
	return result;
}

//! The same bytes under the other type.
static bool Rename(Vector &from, Vector &to, idx_t, CastParameters &) {
	// A VARIANT may be taken apart by the types of its values.
	from.Flatten();
	to.Reinterpret(from);
	return true;
}

//! DuckDB's casts of nested types go through this set for what is in them.
static CastFunctionSet Renames() {
	CastFunctionSet set;
	set.RegisterCastFunction(LogicalType::VARIANT(), StorageOfVariant(), BoundCastInfo(Rename));
	set.RegisterCastFunction(StorageOfVariant(), LogicalType::VARIANT(), BoundCastInfo(Rename));
	return set;
}

static void Convert(Vector &from, Vector &to, idx_t count) {
	auto set = Renames();
	GetCastFunctionInput input;
	VectorOperations::TryCast(set, input, from, to, count, nullptr, true);
}

void ToTravellingTypes(DataChunk &from, DataChunk &to) {
	to.InitializeEmpty(TravellingTypes(from.GetTypes()));
	for (idx_t i = 0; i < from.ColumnCount(); i++) {
		if (from.data[i].GetType() == to.data[i].GetType()) {
			to.data[i].Reference(from.data[i]);
			continue;
		}
		Vector converted(to.data[i].GetType(), from.size());
		Convert(from.data[i], converted, from.size());
		to.data[i].Reference(converted);
	}
	to.SetChildCardinality(from.size());
}

void FromTravellingType(Vector &from, Vector &to, idx_t count) {
	Convert(from, to, count);
}

} // namespace duckherder
