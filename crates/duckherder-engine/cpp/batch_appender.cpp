#include "batch_appender.hpp"

#include "duckdb/common/arrow/appender/list.hpp"
#include "duckdb/common/types/data_chunk.hpp"
#include "duckdb/common/vector/unified_vector_format.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

using Texts = ArrowVarcharData<string_t, ArrowVarcharConverter, int32_t>;

//! Values that Arrow keeps as DuckDB does.
template <class T>
static void AppendFixed(ArrowAppendData &column, const Vector &input, idx_t from, idx_t to, idx_t) {
	auto rows = to - from;
	UnifiedVectorFormat format;
	input.ToUnifiedFormat(format);
	column.AppendValidity(format, from, to);
	auto &buffer = column.GetMainBuffer();
	buffer.resize(buffer.size() + sizeof(T) * rows);
	auto source = UnifiedVectorFormat::GetData<T>(format);
	auto target = buffer.GetData<T>() + column.row_count;
	if (format.sel->IsSet()) {
		for (idx_t i = 0; i < rows; i++) {
			target[i] = source[format.sel->get_index_unsafe(from + i)];
		}
	} else {
		memcpy(target, source + from, sizeof(T) * rows);
	}
	column.row_count += rows;
}

//! Texts, and bytes that travel like them.
static void AppendTexts(ArrowAppendData &column, const Vector &input, idx_t from, idx_t to, idx_t input_size) {
	auto rows = to - from;
	UnifiedVectorFormat format;
	input.ToUnifiedFormat(format);
	auto source = UnifiedVectorFormat::GetData<string_t>(format);
	auto &bytes = column.GetAuxBuffer();
	auto begin = bytes.size();
	auto end = begin;
	auto has_nulls = format.validity.CanHaveNull();
	for (idx_t i = from; i < to; i++) {
		auto index = format.sel->get_index(i);
		if (!has_nulls || format.validity.RowIsValidUnsafe(index)) {
			end += source[index].GetSize();
		}
	}
	if (end > NumericLimits<int32_t>::Maximum()) {
		// The error is DuckDB's.
		Texts::Append(column, input, from, to, input_size);
		return;
	}
	auto &buffer = column.GetMainBuffer();
	buffer.resize(sizeof(int32_t) * (column.row_count + rows + 1));
	auto offsets = buffer.GetData<int32_t>() + column.row_count;
	column.AppendValidity(format, from, to);
	// An inlined text is copied with all the bytes that it could have: those of the next one come over them.
	bytes.reserve(end + string_t::INLINE_BYTES);
	bytes.resize(end);
	auto place = bytes.data() + begin;
	auto first = bytes.data();
	for (idx_t i = 0; i < rows; i++) {
		offsets[i] = UnsafeNumericCast<int32_t>(place - first);
		auto index = format.sel->get_index(from + i);
		if (has_nulls && !format.validity.RowIsValidUnsafe(index)) {
			continue;
		}
		auto &text = source[index];
		auto size = text.GetSize();
		if (text.IsInlined()) {
			memcpy(place, text.GetData(), string_t::INLINE_BYTES);
		} else {
			memcpy(place, text.GetData(), size);
		}
		place += size;
	}
	offsets[rows] = UnsafeNumericCast<int32_t>(end);
	column.row_count += rows;
}

template <class T>
static bool TakeOver(ArrowAppendData &column) {
	if (column.append_vector != ArrowScalarData<T>::Append) {
		return false;
	}
	column.append_vector = AppendFixed<T>;
	return true;
}

//! Has a column of DuckDB's, and what it consists of, append as above where that makes the same.
static void Quicken(ArrowAppendData &column) {
	if (column.append_vector == Texts::Append) {
		column.append_vector = AppendTexts;
	} else {
		TakeOver<int8_t>(column) || TakeOver<int16_t>(column) || TakeOver<int32_t>(column) ||
		    TakeOver<int64_t>(column) || TakeOver<hugeint_t>(column) || TakeOver<uint8_t>(column) ||
		    TakeOver<uint16_t>(column) || TakeOver<uint32_t>(column) || TakeOver<uint64_t>(column) ||
		    TakeOver<uhugeint_t>(column) || TakeOver<float>(column) || TakeOver<double>(column);
	}
	for (auto &child : column.child_data) {
		Quicken(*child);
	}
}

BatchAppender::BatchAppender(
    vector<LogicalType> types_p, idx_t capacity, ClientProperties options_p,
    const unordered_map<idx_t, const shared_ptr<ArrowTypeExtensionData>> &extension_types)
    : types(std::move(types_p)), options(std::move(options_p)) {
	for (idx_t i = 0; i < types.size(); i++) {
		auto extension = extension_types.find(i);
		columns.push_back(ArrowAppender::InitializeChild(
		    types[i], capacity, options, extension == extension_types.end() ? nullptr : extension->second));
		Quicken(*columns.back());
	}
}

void BatchAppender::Append(DataChunk &chunk, idx_t from, idx_t to) {
	for (idx_t i = 0; i < columns.size(); i++) {
		columns[i]->AppendChild(chunk.data[i], from, to, chunk.size());
	}
	rows += to - from;
}

idx_t BatchAppender::ByteSize() const {
	idx_t bytes = 0;
	for (auto &column : columns) {
		bytes += column->ByteSize();
	}
	return bytes;
}

ArrowArray BatchAppender::Finalize() {
	auto root = make_uniq<ArrowAppendData>(options);
	ArrowArray result {};
	ArrowAppender::AddChildren(*root, types.size());
	result.length = NumericCast<int64_t>(rows);
	result.n_buffers = 1;
	result.buffers = root->buffers.data();
	result.n_children = NumericCast<int64_t>(types.size());
	result.children = root->child_pointers.data();
	root->child_data = std::move(columns);
	for (idx_t i = 0; i < types.size(); i++) {
		root->child_arrays[i] = *ArrowAppender::FinalizeChild(types[i], std::move(root->child_data[i]));
	}
	result.private_data = root.release();
	result.release = ArrowAppender::ReleaseArray;
	return result;
}

} // namespace duckherder
