// The format in which rows leave DuckDB: Arrow, without what would falsify them.
#pragma once

#include "duckdb/common/arrow/arrow_format.hpp"

namespace duckherder {

//! The version of Arrow that columns of these types travel in between our own processes: the one that has DECIMALs as
//! wide as DuckDB keeps them, where 1.0 makes all of them 128 bits wide. What is kept as bytes (BLOB, BIT, ...) would
//! become views there, whose batches drag along the bytes of rows that went elsewhere: with it, 1.0.
duckdb::ArrowFormatVersion ExactArrowVersion(const duckdb::vector<duckdb::LogicalType> &types);
//! `properties` for columns of these TravellingTypes between our own processes: exact for every type, whatever Arrow the
//! connection's settings ask for.
duckdb::ClientProperties ExactArrow(duckdb::ClientProperties properties,
                                    const duckdb::vector<duckdb::LogicalType> &types);
//! Describes columns that are made with what ExactArrow gave for them.
void ExactArrowSchema(ArrowSchema &schema, const duckdb::vector<duckdb::LogicalType> &types,
                      const duckdb::vector<duckdb::string> &names, duckdb::ClientProperties &properties);

//! Arrow counts an interval's time in nanoseconds, DuckDB in microseconds: beyond 292 years of them DuckDB's own
//! conversion overflows silently (ArrowIntervalConverter, appender/scalar_data.hpp). This format refuses such a value.
//! VARIANTs travel as wire_storage.hpp says where the connection's conversion is to lose nothing
//! (`arrow_lossless_conversion`); other clients get Arrow's own form of them.
class ExactArrowFormat : public duckdb::ResultFormatBase<ExactArrowFormat> {
public:
	using T = duckdb::ArrowArrayWrapper;
	using GlobalState = duckdb::ArrowFormatGlobalState;
	static constexpr const char *NAME = "exact_arrow";

	//! Arrays of up to `batch_rows` rows.
	explicit ExactArrowFormat(duckdb::idx_t batch_rows);

	const char *Name() const override;
	duckdb::unique_ptr<duckdb::ResultFormatGlobalState> InitGlobal(const duckdb::ResultFormatContext &context) override;
	duckdb::unique_ptr<duckdb::ResultFormatLocalState> InitLocal(duckdb::ResultFormatGlobalState &gstate) override;
	void AppendToUnit(duckdb::ResultFormatGlobalState &gstate, duckdb::ResultFormatLocalState &lstate,
	                  duckdb::DataChunk &chunk) override;
	bool IsUnitFinished(duckdb::ResultFormatLocalState &lstate) override;
	duckdb::unique_ptr<duckdb::ResultUnit> FinishUnit(duckdb::ResultFormatGlobalState &gstate,
	                                                  duckdb::ResultFormatLocalState &lstate) override;
	static duckdb::unique_ptr<T> UnpackUnit(duckdb::unique_ptr<duckdb::ResultUnit> unit);

private:
	duckdb::idx_t batch_rows;
};

} // namespace duckherder
