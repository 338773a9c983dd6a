#include "spared_plan.hpp"

#include "duckdb/execution/physical_plan_generator.hpp"
#include "duckdb/planner/operator/logical_extension_operator.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! A plan that is ready: DuckDB's own passes leave alone what has no children.
class LogicalSpared : public LogicalExtensionOperator {
public:
	explicit LogicalSpared(unique_ptr<LogicalOperator> plan_p) : plan(std::move(plan_p)) {
	}

	unique_ptr<LogicalOperator> plan;

	vector<ColumnBinding> GetColumnBindings() override {
		return plan->GetColumnBindings();
	}
	string GetName() const override {
		return "DUCKHERDER_SPARED";
	}
	string GetExtensionName() const override {
		return "duckherder";
	}
	bool SupportSerialization() const override {
		return false;
	}
	PhysicalOperator &CreatePlan(ClientContext &, PhysicalPlanGenerator &generator) override {
		return generator.CreatePlan(*plan);
	}

protected:
	void ResolveTypes() override {
		plan->ResolveOperatorTypes();
		types = plan->types;
	}
};

void SparePasses(unique_ptr<LogicalOperator> &plan) {
	plan = make_uniq<LogicalSpared>(std::move(plan));
	plan->ResolveOperatorTypes();
}

void TakeSpared(OptimizerExtensionInput &, unique_ptr<LogicalOperator> &plan) {
	if (auto spared = dynamic_cast<LogicalSpared *>(plan.get())) {
		auto inner = std::move(spared->plan);
		plan = std::move(inner);
	}
}

} // namespace duckherder
