// EXPLAIN's line about a plan that stays on the driver.
#include "exchange.hpp"

#include "duckdb/execution/column_binding_resolver.hpp"
#include "duckdb/execution/physical_operator.hpp"
#include "duckdb/execution/physical_plan_generator.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static InsertionOrderPreservingMap<string> ReasonLines(const string &reason) {
	InsertionOrderPreservingMap<string> result;
	result["Mode"] = "LOCAL";
	result["Reason"] = reason;
	return result;
}

class PhysicalNotice : public PhysicalOperator {
public:
	PhysicalNotice(PhysicalPlan &plan, string reason_p, vector<LogicalType> types, idx_t rows)
	    : PhysicalOperator(plan, PhysicalOperatorType::EXTENSION, std::move(types), rows), reason(std::move(reason_p)) {
	}

	string GetName() const override {
		return "DUCKHERDER";
	}
	InsertionOrderPreservingMap<string> ParamsToString() const override {
		return ReasonLines(reason);
	}
	bool ParallelOperator() const override {
		return true;
	}
	OperatorResultType Execute(ExecutionContext &, DataChunk &input, DataChunk &output, GlobalOperatorState &,
	                           OperatorState &) const override {
		output.Reference(input);
		return OperatorResultType::NEED_MORE_INPUT;
	}

private:
	string reason;
};

LogicalNotice::LogicalNotice(string reason_p, unique_ptr<LogicalOperator> child) : reason(std::move(reason_p)) {
	if (child->has_estimated_cardinality) {
		SetEstimatedCardinality(child->estimated_cardinality);
	}
	children.push_back(std::move(child));
}

InsertionOrderPreservingMap<string> LogicalNotice::ParamsToString() const {
	return ReasonLines(reason);
}

void LogicalNotice::ResolveColumnBindings(ColumnBindingResolver &resolver, vector<ColumnBinding> &bindings) {
	resolver.VisitOperator(*children[0]);
	bindings = GetColumnBindings();
}

PhysicalOperator &LogicalNotice::CreatePlan(ClientContext &, PhysicalPlanGenerator &generator) {
	auto &child = generator.CreatePlan(*children[0]);
	auto &notice = generator.Make<PhysicalNotice>(reason, children[0]->types, estimated_cardinality);
	notice.children.push_back(child);
	return notice;
}

} // namespace duckherder
