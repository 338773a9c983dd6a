// Statements that DuckDB binds in the client although the driver is to run them, as text.
#pragma once

#include "catalog.hpp"
#include "duckdb/planner/operator/logical_extension_operator.hpp"

namespace duckherder {

//! Statements for the driver whose rows nobody wants, one after the other, in one transaction.
class LogicalStatements : public duckdb::LogicalExtensionOperator {
public:
	LogicalStatements(RemoteCatalog &catalog, duckdb::vector<duckdb::string> statements)
	    : catalog(catalog), statements(std::move(statements)) {
	}

	duckdb::string GetName() const override {
		return "DUCKHERDER_STATEMENTS";
	}
	bool SupportSerialization() const override {
		return false;
	}
	duckdb::PhysicalOperator &CreatePlan(duckdb::ClientContext &context,
	                                     duckdb::PhysicalPlanGenerator &planner) override;

protected:
	void ResolveTypes() override {
		types = {duckdb::LogicalType::BOOLEAN};
	}

private:
	RemoteCatalog &catalog;
	const duckdb::vector<duckdb::string> statements;
};

//! Looks at each plan once it is bound.
void RegisterStatements(duckdb::DBConfig &config);

} // namespace duckherder
