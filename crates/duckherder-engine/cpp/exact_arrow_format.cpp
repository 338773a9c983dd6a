#include "exact_arrow_format.hpp"

#include "duckdb/common/type_visitor.hpp"
#include "duckdb/common/types/data_chunk.hpp"
#include "duckdb/common/types/interval.hpp"
#include "duckdb/common/vector/unified_vector_format.hpp"
#include "wire_storage.hpp"

#include <algorithm>
#include <limits>

using namespace duckdb; // NOLINT

namespace duckherder {

static void CheckInterval(const interval_t &interval) {
	static constexpr int64_t LARGEST = std::numeric_limits<int64_t>::max() / Interval::NANOS_PER_MICRO;
	if (interval.micros > LARGEST || interval.micros < -LARGEST) {
		throw OutOfRangeException("the interval %s has more than 292 years of hours, minutes and seconds, which Arrow "
		                          "cannot carry; cast it to VARCHAR to get it",
		                          Interval::ToString(interval));
	}
}

static void CheckValue(const Value &value) {
	if (value.IsNull()) {
		return;
	}
	switch (value.type().id()) {
	case LogicalTypeId::INTERVAL:
		CheckInterval(IntervalValue::Get(value));
		break;
	case LogicalTypeId::STRUCT:
	case LogicalTypeId::TUPLE:
		for (auto &child : StructValue::GetChildren(value)) {
			CheckValue(child);
		}
		break;
	case LogicalTypeId::UNION:
		CheckValue(UnionValue::GetValue(value));
		break;
	case LogicalTypeId::LIST:
		for (auto &child : ListValue::GetChildren(value)) {
			CheckValue(child);
		}
		break;
	case LogicalTypeId::MAP:
		for (auto &child : MapValue::GetChildren(value)) {
			CheckValue(child);
		}
		break;
	case LogicalTypeId::ARRAY:
		for (auto &child : ArrayValue::GetChildren(value)) {
			CheckValue(child);
		}
		break;
	default:
		break;
	}
}

static void CheckColumn(const Vector &column, idx_t rows) {
	if (column.GetType().id() != LogicalTypeId::INTERVAL) {
		for (idx_t row = 0; row < rows; row++) {
			CheckValue(column.GetValue(row));
		}
		return;
	}
	UnifiedVectorFormat format;
	column.ToUnifiedFormat(format);
	auto intervals = UnifiedVectorFormat::GetData<interval_t>(format);
	for (idx_t row = 0; row < rows; row++) {
		auto index = format.sel->get_index(row);
		if (format.validity.RowIsValid(index)) {
			CheckInterval(intervals[index]);
		}
	}
}

ArrowFormatVersion ExactArrowVersion(const vector<LogicalType> &types) {
	auto has_bytes = [](const LogicalType &type) {
		return TypeVisitor::Contains(type, [](const LogicalType &part) {
			return part.InternalType() == PhysicalType::VARCHAR && part.id() != LogicalTypeId::VARCHAR;
		});
	};
	return std::any_of(types.begin(), types.end(), has_bytes) ? ArrowFormatVersion::V1_0 : ArrowFormatVersion::V1_5;
}

unique_ptr<ResultFormatGlobalState> ExactArrowFormat::InitGlobal(const ResultFormatContext &context) {
	auto travelling = context;
	if (context.client_properties.arrow_lossless_conversion) {
		travelling.types = TravellingTypes(context.types);
		travelling.client_properties.arrow_output_version = ExactArrowVersion(travelling.types);
	}
	return ArrowFormat::InitGlobal(travelling);
}

void ExactArrowFormat::AppendToUnit(ResultFormatGlobalState &gstate, ResultFormatLocalState &lstate, DataChunk &chunk) {
	for (auto &column : chunk.data) {
		auto has_interval = TypeVisitor::Contains(
		    column.GetType(), [](const LogicalType &type) { return type.id() == LogicalTypeId::INTERVAL; });
		if (has_interval) {
			CheckColumn(column, chunk.size());
		}
	}
	if (chunk.GetTypes() == gstate.Cast<ArrowFormatGlobalState>().Types()) {
		ArrowFormat::AppendToUnit(gstate, lstate, chunk);
		return;
	}
	DataChunk travelling;
	ToTravellingTypes(chunk, travelling);
	ArrowFormat::AppendToUnit(gstate, lstate, travelling);
}

} // namespace duckherder
