// COPY TO of which tasks write the files: the driver prepares the directory, and gives the files their names once all
// tasks have ended well.
#pragma once

#include "file_target.hpp"
#include "running_exchange.hpp"

namespace duckherder {

//! What COPY TO says of the files beside what is in them.
struct FileNames {
	explicit FileNames(const duckdb::LogicalCopyToFile &copy);

	duckdb::string directory;
	duckdb::FilenamePattern pattern;
	duckdb::string extension;
	duckdb::CopyOverwriteMode overwrite;
	duckdb::CopyFunctionReturnType returns;
};

//! Stands where COPY TO was: same bindings, same types.
class LogicalWrite : public duckdb::LogicalExtensionOperator {
public:
	LogicalWrite(duckdb::shared_ptr<DistributedQuery> query, duckdb::idx_t stage, duckdb::LogicalCopyToFile &copy);

	duckdb::vector<duckdb::ColumnBinding> GetColumnBindings() override {
		return bindings;
	}
	duckdb::string GetName() const override {
		return "DUCKHERDER_WRITE";
	}
	duckdb::string GetExtensionName() const override {
		return "duckherder";
	}
	bool SupportSerialization() const override {
		return false;
	}
	duckdb::optional_ptr<const duckdb::string> GetTypeBindingVerificationIdentifier() const noexcept override;
	duckdb::InsertionOrderPreservingMap<duckdb::string> ParamsToString() const override;
	duckdb::PhysicalOperator &CreatePlan(duckdb::ClientContext &context,
	                                     duckdb::PhysicalPlanGenerator &generator) override;

protected:
	void ResolveTypes() override {
		types = column_types;
	}

private:
	duckdb::shared_ptr<DistributedQuery> query;
	duckdb::idx_t stage;
	FileNames names;
	duckdb::vector<duckdb::ColumnBinding> bindings;
	duckdb::vector<duckdb::LogicalType> column_types;
};

//! The rows that COPY TO gives, once all files are where they belong.
class PhysicalWrite : public PhysicalExchange {
public:
	PhysicalWrite(duckdb::PhysicalPlan &plan, duckdb::shared_ptr<DistributedQuery> query, duckdb::idx_t stage,
	              duckdb::vector<duckdb::LogicalType> types, FileNames names);

	duckdb::string GetName() const override {
		return "DUCKHERDER_WRITE";
	}
	bool ParallelSource() const override {
		return false;
	}
	bool SupportsPartitioning(const duckdb::OperatorPartitionInfo &) const override {
		return false;
	}
	duckdb::unique_ptr<duckdb::GlobalSourceState> GetGlobalSourceState(duckdb::ClientContext &) const override;

protected:
	duckdb::SourceResultType GetDataInternal(duckdb::ExecutionContext &context, duckdb::DataChunk &output,
	                                         duckdb::OperatorSourceInput &input) const override;

private:
	FileNames names;
};

} // namespace duckherder
