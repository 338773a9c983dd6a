#include "exact_arrow_format.hpp"

#include "batch_appender.hpp"

#include "duckdb/common/arrow/arrow_converter.hpp"
#include "duckdb/common/deque.hpp"
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

ClientProperties ExactArrow(ClientProperties properties, const vector<LogicalType> &types) {
	// Offsets are of 32 bits, as a batch is small.
	properties.arrow_offset_size = ArrowOffsetSize::REGULAR;
	properties.arrow_use_list_view = false;
	properties.produce_arrow_string_view = false;
	properties.arrow_lossless_conversion = true;
	properties.arrow_output_version = ExactArrowVersion(types);
	return properties;
}

//! What is an extension of Arrow's (BIT, BIGNUM, GEOMETRY, JSON), DuckDB describes as the connection's settings have it
//! (arrow_type_extension.cpp), but makes as the properties do.
static void NameMadeFormat(ArrowSchema &column) {
	string format = column.format;
	if (format == "Z" || format == "vz") {
		column.format = "z";
	} else if (format == "U" || format == "vu") {
		column.format = "u";
	}
	for (int64_t i = 0; i < column.n_children; i++) {
		NameMadeFormat(*column.children[i]);
	}
}

void ExactArrowSchema(ArrowSchema &schema, const vector<LogicalType> &types, const vector<string> &names,
                      ClientProperties &properties) {
	ArrowConverter::ToArrowSchema(&schema, types, names, properties);
	NameMadeFormat(schema);
}

//! A batch has fewer rows where they are long: Arrow's offsets in texts end at 2 GiB.
static constexpr idx_t BATCH_BYTES = 64 << 20;

class ArrowBatch : public ResultUnit {
public:
	ArrowBatch(idx_t rows, idx_t bytes, unique_ptr<ArrowArrayWrapper> array)
	    : ResultUnit(rows, bytes), array(std::move(array)) {
	}

	unique_ptr<ArrowArrayWrapper> array;
};

class ArrowBatches : public ResultFormatLocalState {
public:
	//! Ends the batch that is being made.
	void Seal() {
		auto rows = appender->RowCount();
		auto bytes = appender->ByteSize();
		auto array = make_uniq<ArrowArrayWrapper>();
		array->arrow_array = appender->Finalize();
		appender.reset();
		sealed.push_back(make_uniq<ArrowBatch>(rows, bytes, std::move(array)));
	}

	unique_ptr<BatchAppender> appender;
	//! What it has room for at once: what a full batch takes after the first one.
	idx_t capacity = 0;
	deque<unique_ptr<ArrowBatch>> sealed;
};

ExactArrowFormat::ExactArrowFormat(idx_t batch_rows_p) : batch_rows(batch_rows_p) {
}

const char *ExactArrowFormat::Name() const {
	return NAME;
}

unique_ptr<ResultFormatGlobalState> ExactArrowFormat::InitGlobal(const ResultFormatContext &context) {
	auto travelling = context;
	if (context.client_properties.arrow_lossless_conversion) {
		travelling.types = TravellingTypes(context.types);
		travelling.client_properties = ExactArrow(context.client_properties, travelling.types);
	}
	return make_uniq<ArrowFormatGlobalState>(travelling);
}

unique_ptr<ResultFormatLocalState> ExactArrowFormat::InitLocal(ResultFormatGlobalState &) {
	return make_uniq<ArrowBatches>();
}

static void Append(const ArrowFormatGlobalState &format, ArrowBatches &batches, DataChunk &chunk, idx_t batch_rows) {
	for (idx_t from = 0; from < chunk.size();) {
		if (!batches.appender) {
			auto capacity = MaxValue(batches.capacity, MinValue(batch_rows, chunk.size() - from));
			batches.appender = make_uniq<BatchAppender>(format.Types(), capacity, format.Properties(),
			                                            format.ExtensionTypes());
		}
		auto to = MinValue(chunk.size(), from + batch_rows - batches.appender->RowCount());
		batches.appender->Append(chunk, from, to);
		from = to;
		if (batches.appender->RowCount() >= batch_rows) {
			batches.capacity = batch_rows;
			batches.Seal();
		} else if (batches.appender->ByteSize() >= BATCH_BYTES) {
			batches.Seal();
		}
	}
}

void ExactArrowFormat::AppendToUnit(ResultFormatGlobalState &gstate, ResultFormatLocalState &lstate, DataChunk &chunk) {
	for (auto &column : chunk.data) {
		auto has_interval = TypeVisitor::Contains(
		    column.GetType(), [](const LogicalType &type) { return type.id() == LogicalTypeId::INTERVAL; });
		if (has_interval) {
			CheckColumn(column, chunk.size());
		}
	}
	auto &format = gstate.Cast<ArrowFormatGlobalState>();
	auto &batches = lstate.Cast<ArrowBatches>();
	if (chunk.GetTypes() == format.Types()) {
		Append(format, batches, chunk, batch_rows);
		return;
	}
	DataChunk travelling;
	ToTravellingTypes(chunk, travelling);
	Append(format, batches, travelling, batch_rows);
}

bool ExactArrowFormat::IsUnitFinished(ResultFormatLocalState &lstate) {
	return !lstate.Cast<ArrowBatches>().sealed.empty();
}

unique_ptr<ResultUnit> ExactArrowFormat::FinishUnit(ResultFormatGlobalState &, ResultFormatLocalState &lstate) {
	auto &batches = lstate.Cast<ArrowBatches>();
	if (batches.sealed.empty()) {
		if (!batches.appender || batches.appender->RowCount() == 0) {
			return nullptr;
		}
		batches.Seal();
	}
	auto batch = std::move(batches.sealed.front());
	batches.sealed.pop_front();
	return std::move(batch);
}

unique_ptr<ArrowArrayWrapper> ExactArrowFormat::UnpackUnit(unique_ptr<ResultUnit> unit) {
	if (!unit) {
		return nullptr;
	}
	return std::move(unit->Cast<ArrowBatch>().array);
}

} // namespace duckherder
