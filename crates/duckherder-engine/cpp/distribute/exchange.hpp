// The rows of a query's tasks, as an operator of the driver's plan.
#pragma once

#include "distributor.hpp"
#include "fragment.hpp"

#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/planner/operator/logical_extension_operator.hpp"

namespace duckherder {

//! What a plan has that was cut: Rust's record of it, and the fragment.
struct DistributedQuery {
	DistributedQuery(const DhDistributorTable &functions_p, void *query_p) : functions(functions_p), query(query_p) {
	}
	~DistributedQuery() {
		functions.release_query(query);
	}
	DistributedQuery(const DistributedQuery &) = delete;

	DhDistributorTable functions;
	void *query;
	duckdb::unique_ptr<Fragment> fragment;
	//! The types of the fragment's columns.
	duckdb::vector<duckdb::LogicalType> types;
	duckdb::optional_ptr<duckdb::TableCatalogEntry> table;
};

//! Stands where the subtree was that the tasks run: same bindings, same types.
class LogicalExchange : public duckdb::LogicalExtensionOperator {
public:
	LogicalExchange(duckdb::shared_ptr<DistributedQuery> query, duckdb::vector<duckdb::ColumnBinding> bindings,
	                duckdb::vector<duckdb::LogicalType> types, duckdb::idx_t estimated_rows);

	duckdb::vector<duckdb::ColumnBinding> GetColumnBindings() override {
		return bindings;
	}
	duckdb::string GetName() const override {
		return "DUCKHERDER_EXCHANGE";
	}
	duckdb::string GetExtensionName() const override {
		return "duckherder";
	}
	bool SupportSerialization() const override {
		return false;
	}
	duckdb::optional_ptr<const duckdb::string> GetTypeBindingVerificationIdentifier() const noexcept override;
	duckdb::InsertionOrderPreservingMap<duckdb::string> ParamsToString() const override;
	duckdb::idx_t EstimateCardinality(duckdb::ClientContext &) override {
		return estimated_cardinality;
	}
	duckdb::PhysicalOperator &CreatePlan(duckdb::ClientContext &context,
	                                     duckdb::PhysicalPlanGenerator &generator) override;

protected:
	void ResolveTypes() override {
		types = column_types;
	}

private:
	duckdb::shared_ptr<DistributedQuery> query;
	duckdb::vector<duckdb::ColumnBinding> bindings;
	duckdb::vector<duckdb::LogicalType> column_types;
};

//! Lets EXPLAIN say why a plan is not distributed; rows pass through.
class LogicalNotice : public duckdb::LogicalExtensionOperator {
public:
	LogicalNotice(duckdb::string reason, duckdb::unique_ptr<duckdb::LogicalOperator> child);

	duckdb::vector<duckdb::ColumnBinding> GetColumnBindings() override {
		return children[0]->GetColumnBindings();
	}
	duckdb::string GetName() const override {
		return "DUCKHERDER";
	}
	duckdb::string GetExtensionName() const override {
		return "duckherder";
	}
	bool SupportSerialization() const override {
		return false;
	}
	duckdb::InsertionOrderPreservingMap<duckdb::string> ParamsToString() const override;
	duckdb::PhysicalOperator &CreatePlan(duckdb::ClientContext &context,
	                                     duckdb::PhysicalPlanGenerator &generator) override;
	void ResolveColumnBindings(duckdb::ColumnBindingResolver &resolver,
	                           duckdb::vector<duckdb::ColumnBinding> &bindings) override;

protected:
	void ResolveTypes() override {
		types = children[0]->types;
	}

private:
	duckdb::string reason;
};

} // namespace duckherder
