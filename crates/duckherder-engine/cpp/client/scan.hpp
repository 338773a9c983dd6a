// The scan of one table of a driver, for statements that mix it with others.
#pragma once

#include "remote_scan.hpp"
#include "snapshot.hpp"

namespace duckherder {

struct ScanData : public duckdb::TableFunctionData {
	explicit ScanData(RemoteTable &table);

	RemoteTable &table;
	//! Keeps `table` alive.
	duckdb::shared_ptr<Snapshot> snapshot;
	//! Conditions that the driver checks.
	duckdb::vector<duckdb::unique_ptr<duckdb::ParsedExpression>> filters;

	duckdb::unique_ptr<duckdb::FunctionData> Copy() const override;
	bool Equals(const duckdb::FunctionData &other) const override;
	bool SupportStatementCache() const override {
		return false;
	}
};

duckdb::TableFunction ScanFunction();

} // namespace duckherder
