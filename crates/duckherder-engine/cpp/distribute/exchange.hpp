// The rows of a query's tasks, as an operator of the driver's plan.
#pragma once

#include "distributor.hpp"
#include "fragment.hpp"

#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/planner/logical_plan_sql_exporter.hpp"
#include "duckdb/planner/operator/logical_extension_operator.hpp"

namespace duckherder {

//! The tasks of one stage run this and give rows of these types.
struct Stage {
	duckdb::unique_ptr<Fragment> fragment;
	duckdb::vector<duckdb::LogicalType> types;
	//! Something on the driver shows in which order the rows come.
	bool order_shows = false;
};

//! What a plan has that was cut: Rust's record of it, and its stages.
struct DistributedQuery {
	DistributedQuery(const DhDistributorTable &functions_p, void *query_p) : functions(functions_p), query(query_p) {
	}
	~DistributedQuery() {
		functions.release_query(query);
	}
	DistributedQuery(const DistributedQuery &) = delete;

	//! The number of the new stage.
	duckdb::idx_t AddStage(duckdb::unique_ptr<Fragment> fragment, duckdb::vector<duckdb::LogicalType> types);
	duckdb::idx_t LastStage() const {
		return stages.size() - 1;
	}

	//! What EXPLAIN shows of a stage.
	duckdb::InsertionOrderPreservingMap<duckdb::string> Describe(duckdb::idx_t stage) const;
	//! What a stage reads of this scan; null if none does.
	duckdb::optional_ptr<const SplitInput> FindSplit(duckdb::idx_t scan) const;

	DhDistributorTable functions;
	void *query;
	//! In the order in which they were cut: those first whose rows others read.
	duckdb::vector<Stage> stages;
	//! By the numbers of the scans; null where a scan is none of a table.
	duckdb::vector<duckdb::optional_ptr<duckdb::TableCatalogEntry>> tables;
};

//! Stands where the subtree was that the tasks of a stage run: same bindings, same types. If the tasks' rows are
//! `sorted`, by another last column, so are these.
class LogicalExchange : public duckdb::LogicalExtensionOperator {
public:
	LogicalExchange(duckdb::shared_ptr<DistributedQuery> query, duckdb::idx_t stage,
	                duckdb::vector<duckdb::ColumnBinding> bindings, duckdb::vector<duckdb::LogicalType> types,
	                duckdb::idx_t estimated_rows, bool sorted = false);

	//! The stage whose rows these are.
	duckdb::idx_t Stage() const {
		return stage;
	}
	//! Inside another stage's fragment: the rows of the input `exchange_<stage>`.
	duckdb::LogicalPlanSQLExportResult ToSQL(duckdb::LogicalPlanSQLExportContext &context,
	                                         const duckdb::LogicalPlanVerificationPath &path) override;

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
	duckdb::idx_t stage;
	duckdb::vector<duckdb::ColumnBinding> bindings;
	duckdb::vector<duckdb::LogicalType> column_types;
	bool sorted;
};

//! Stands for a scan while what is above it is written as SQL.
class LogicalInput : public duckdb::LogicalExtensionOperator {
public:
	//! `relation` is `scan` as SQL.
	LogicalInput(duckdb::LogicalPlanSQLExportRelation relation, duckdb::LogicalOperator &scan);

	duckdb::vector<duckdb::ColumnBinding> GetColumnBindings() override {
		return bindings;
	}
	bool SupportSerialization() const override {
		return false;
	}
	duckdb::optional_ptr<const duckdb::string> GetTypeBindingVerificationIdentifier() const noexcept override;
	duckdb::LogicalPlanSQLExportResult ToSQL(duckdb::LogicalPlanSQLExportContext &context,
	                                         const duckdb::LogicalPlanVerificationPath &path) override;
	duckdb::PhysicalOperator &CreatePlan(duckdb::ClientContext &context,
	                                     duckdb::PhysicalPlanGenerator &generator) override;

protected:
	void ResolveTypes() override {
		types = column_types;
	}

private:
	duckdb::LogicalPlanSQLExportRelation relation;
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
