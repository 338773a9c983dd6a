#include "wire_storage.hpp"

#include "duckdb/common/type_visitor.hpp"
#include "duckdb/common/vector/flat_vector.hpp"
#include "duckdb/common/vector/struct_vector.hpp"
#include "duckdb/common/vector_operations/vector_operations.hpp"
#include "duckdb/function/cast/cast_function_set.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const LogicalType &StorageOfVariant() {
	static const auto type = LogicalType::STRUCT(StructType::GetChildTypes(LogicalType::VARIANT()));
	return type;
}

//! The parts of a UNION as it keeps them: which one has the value, and all of them.
static LogicalType StorageOfUnion(const LogicalType &type) {
	child_list_t<LogicalType> parts;
	parts.emplace_back(Identifier("tag"), LogicalType::UTINYINT);
	for (idx_t i = 0; i < UnionType::GetMemberCount(type); i++) {
		parts.emplace_back(Identifier("m" + to_string(i)), UnionType::GetMemberType(type, i));
	}
	return LogicalType::STRUCT(std::move(parts));
}

static LogicalType StorageOfEnum(const LogicalType &type) {
	switch (EnumType::GetPhysicalType(type)) {
	case PhysicalType::UINT8:
		return LogicalType::UTINYINT;
	case PhysicalType::UINT16:
		return LogicalType::USMALLINT;
	default:
		return LogicalType::UINTEGER;
	}
}

static bool Travels(const LogicalType &type) {
	return type.id() != LogicalTypeId::VARIANT && type.id() != LogicalTypeId::UNION && type.id() != LogicalTypeId::ENUM;
}

LogicalType TravellingType(const LogicalType &type) {
	if (!TypeVisitor::Contains(type, [](const LogicalType &part) { return !Travels(part); })) {
		return type;
	}
	return TypeVisitor::VisitReplace(type, [](const LogicalType &part) {
		switch (part.id()) {
		case LogicalTypeId::VARIANT:
			return StorageOfVariant();
		case LogicalTypeId::UNION:
			return StorageOfUnion(part);
		case LogicalTypeId::ENUM:
			return StorageOfEnum(part);
		default:
			return part;
		}
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

static void Convert(Vector &from, Vector &to, idx_t count);

//! The same parts, each under its other type.
static bool ConvertParts(Vector &from, Vector &to, idx_t count, CastParameters &) {
	from.Flatten();
	auto &sources = StructVector::GetEntries(from);
	auto &targets = StructVector::GetEntries(to);
	for (idx_t i = 0; i < sources.size(); i++) {
		if (sources[i].GetType() == targets[i].GetType()) {
			targets[i].Reference(sources[i]);
			continue;
		}
		Vector converted(targets[i].GetType(), count);
		Convert(sources[i], converted, count);
		targets[i].Reference(converted);
	}
	FlatVector::CopyValidity(to, from, count);
	FlatVector::SetSize(to, count);
	return true;
}

//! DuckDB's casts of nested types go through this set for what is in them: `type` has all that does not travel as it is.
static CastFunctionSet Renames(const LogicalType &type) {
	CastFunctionSet set;
	auto both = [&](const LogicalType &part, cast_function_t function) {
		auto storage = TravellingType(part);
		set.RegisterCastFunction(part, storage, BoundCastInfo(function));
		set.RegisterCastFunction(storage, part, BoundCastInfo(function));
	};
	TypeVisitor::Contains(type, [&](const LogicalType &part) {
		if (!Travels(part)) {
			both(part, part.id() == LogicalTypeId::UNION ? ConvertParts : Rename);
		}
		return false;
	});
	return set;
}

static void Convert(Vector &from, Vector &to, idx_t count) {
	auto set = Renames(TravellingType(from.GetType()) == from.GetType() ? to.GetType() : from.GetType());
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

//! Whether the parts of a few rows may be many: those of all rows of a batch, say.
static bool HasLists(const LogicalType &type) {
	return TypeVisitor::Contains(
	    type, [](const LogicalType &part) { return part.InternalType() == PhysicalType::LIST; });
}

void FromTravellingType(Vector &from, Vector &to, idx_t count) {
	if (!HasLists(from.GetType())) {
		Convert(from, to, count);
		return;
	}
	// DuckDB's casts convert all lists of the batch that these rows are of.
	Vector rows(from.GetType(), count);
	VectorOperations::Copy(from, rows, count, 0, 0);
	FlatVector::SetSize(rows, count);
	Convert(rows, to, count);
}

} // namespace duckherder
