#include "exchange.hpp"

#include "duckdb/execution/physical_plan_generator.hpp"
#include "running_exchange.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Lines "key=value" into an EXPLAIN map.
static void AddLine(void *target, DhText text) {
	auto line = ToString(text);
	auto split = line.find('=');
	auto &map = *static_cast<InsertionOrderPreservingMap<string> *>(target);
	if (split != string::npos) {
		map[line.substr(0, split)] = line.substr(split + 1);
	}
}

InsertionOrderPreservingMap<string> DistributedQuery::Describe(idx_t stage) const {
	InsertionOrderPreservingMap<string> result;
	vector<string> fragments;
	vector<DhText> texts;
	for (auto &other : stages) {
		fragments.push_back(other.fragment->ToString());
	}
	for (auto &fragment : fragments) {
		texts.push_back(ToText(fragment));
	}
	functions.describe(query, stage, texts.data(), texts.size(), &result, AddLine);
	return result;
}

idx_t DistributedQuery::AddStage(unique_ptr<Fragment> fragment, vector<LogicalType> types) {
	stages.push_back(Stage {std::move(fragment), std::move(types)});
	return LastStage();
}

optional_ptr<const SplitInput> DistributedQuery::FindSplit(idx_t scan) const {
	for (auto &stage : stages) {
		for (auto &split : stage.fragment->Splits()) {
			if (split.scan == scan) {
				return &split;
			}
		}
	}
	return nullptr;
}

static const string EXCHANGE_IDENTIFIER = "duckherder.exchange";

LogicalExchange::LogicalExchange(shared_ptr<DistributedQuery> query_p, idx_t stage_p,
                                 vector<ColumnBinding> bindings_p, vector<LogicalType> types_p, idx_t estimated_rows,
                                 bool sorted_p)
    : query(std::move(query_p)), stage(stage_p), bindings(std::move(bindings_p)), column_types(std::move(types_p)),
      sorted(sorted_p) {
	types = column_types;
	SetEstimatedCardinality(estimated_rows);
}

optional_ptr<const string> LogicalExchange::GetTypeBindingVerificationIdentifier() const noexcept {
	return &EXCHANGE_IDENTIFIER;
}

InsertionOrderPreservingMap<string> LogicalExchange::ParamsToString() const {
	return query->Describe(stage);
}

PhysicalOperator &LogicalExchange::CreatePlan(ClientContext &, PhysicalPlanGenerator &generator) {
	if (sorted) {
		return generator.Make<PhysicalSortMerge>(query, stage, column_types, estimated_cardinality);
	}
	return generator.Make<PhysicalExchange>(query, stage, column_types, estimated_cardinality);
}

} // namespace duckherder
