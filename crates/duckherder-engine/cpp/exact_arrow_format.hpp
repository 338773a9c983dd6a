// DuckDB's Arrow format, without the one value it would falsify.
#pragma once

#include "duckdb/common/arrow/arrow_format.hpp"

namespace duckherder {

//! Arrow counts an interval's time in nanoseconds, DuckDB in microseconds: beyond 292 years of them DuckDB's own
//! conversion overflows silently (ArrowIntervalConverter, appender/scalar_data.hpp). This format refuses such a value.
class ExactArrowFormat : public duckdb::ArrowFormat {
public:
	using duckdb::ArrowFormat::ArrowFormat;

	void AppendToUnit(duckdb::ResultFormatGlobalState &gstate, duckdb::ResultFormatLocalState &lstate,
	                  duckdb::DataChunk &chunk) override;
};

} // namespace duckherder
