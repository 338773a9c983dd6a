#include "cut.hpp"
#include "written_files.hpp"

#include "duckdb/common/type_visitor.hpp"
#include "duckdb/function/scalar/generic_common.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"
#include "duckdb/planner/operator/logical_cteref.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/planner/operator/logical_limit.hpp"
#include "duckdb/planner/operator/logical_materialized_cte.hpp"
#include "duckdb/planner/operator/logical_order.hpp"
#include "duckdb/planner/operator/logical_top_n.hpp"

#include <algorithm>
#include <numeric>

using namespace duckdb; // NOLINT

namespace duckherder {

void ReplaceUntilUndone(unique_ptr<LogicalOperator> &place, unique_ptr<LogicalOperator> made, Undo &undo) {
	std::swap(place, made);
	// Shared, since a step can be copied.
	auto old = make_shared_ptr<unique_ptr<LogicalOperator>>(std::move(made));
	undo.Add([&place, old]() { std::swap(place, *old); });
}

PlanCutter::PlanCutter(Optimizer &optimizer_p, unique_ptr<LogicalOperator> &root_p, const Scans &scans_p)
    : optimizer(optimizer_p), root(root_p), scans(scans_p) {
	std::function<void(Place &)> visit = [&](Place &place) {
		places.push_back(place);
		for (auto &child : place->children) {
			visit(child);
		}
	};
	visit(root);
}

unique_ptr<LogicalOperator> &PlanCutter::Find(uint64_t number) {
	if (number >= places.size()) {
		throw InternalException("the planner cuts at operator %d of %d", number, places.size());
	}
	return places[number].get();
}

void PlanCutter::Cut(shared_ptr<DistributedQuery> query, const vector<PlannedCut> &cuts, uint64_t &failed) {
	Undo undo;
	for (auto &scan : scans) {
		query->tables.push_back(scan.get.get().GetTable());
	}
	for (auto &planned : cuts) {
		auto &cut = planned.cut;
		failed = cut.node;
		root->ResolveOperatorTypes();
		switch (cut.kind) {
		case DH_CUT_SUBTREE:
		case DH_CUT_DISTINCT:
			cut.writes ? CutWrite(query, planned, undo) : CutSubtree(query, planned, undo);
			break;
		case DH_CUT_COPY:
			CutCopy(query, planned, undo);
			break;
		case DH_CUT_PARTIAL_AGGREGATE:
			CutAggregate(query, planned, undo);
			break;
		case DH_CUT_SORT:
			CutSort(query, cut, undo);
			break;
		default:
			throw InternalException("unknown cut %d", cut.kind);
		}
		query->stages.back().order_shows = cut.order_shows;
	}
	root->ResolveOperatorTypes();
	undo.Forget();
}

//! A longer text of a state's type, which has all values of an ENUM, would take each task longer than its rows.
static constexpr idx_t MOST_STATE_BYTES = 16000;

//! A state loses its name in Arrow. The driver's own exchanges give it back; in another task, SQL must.
static bool CanReachTasks(const LogicalType &type) {
	if (type.IsAggregateState()) {
		auto named = ExportAggregateFunction::StateToSQL(type, ConstantExpression::FromValue(Value()));
		return named && named->ToString().size() <= MOST_STATE_BYTES;
	}
	return !TypeVisitor::Contains(type, [](const LogicalType &part) { return part.IsAggregateState(); });
}

vector<LogicalType> PlanCutter::CheckedTypes(Place &place, ExportedPlan &exported, LastColumn last) {
	auto types = exported.fragment->BindTypes(optimizer.context);
	auto bindings = place->GetColumnBindings();
	auto &wanted = place->types;
	// What has no columns is given one.
	auto columns = last == LastColumn::NONE ? types.size() : types.size() - 1;
	if (exported.bindings != bindings || columns < wanted.size()) {
		throw NotImplementedException("its SQL gives other columns than the plan");
	}
	for (idx_t i = 0; i < wanted.size(); i++) {
		if (types[i] != wanted[i] && types[i] != WithoutState(wanted[i])) {
			throw NotImplementedException("its SQL gives a column the type %s, not %s", types[i].ToString(),
			                              wanted[i].ToString());
		}
	}
	if (last == LastColumn::NONE) {
		types.resize(wanted.size());
	}
	return types;
}

void PlanCutter::Replace(shared_ptr<DistributedQuery> query, Place &place, ExportedPlan exported,
                         LastColumn last, Undo &undo) {
	auto types = CheckedTypes(place, exported, last);
	auto bindings = place->GetColumnBindings();
	auto &wanted = place->types;
	auto stage = query->AddStage(std::move(exported.fragment), types);
	auto rows = place->has_estimated_cardinality ? place->estimated_cardinality : 1;
	auto sorted = last == LastColumn::SORT_KEY;
	ReplaceUntilUndone(place, make_uniq<LogicalExchange>(query, stage, std::move(bindings), wanted, rows, sorted), undo);
}

ExportedPlan PlanCutter::ExportForReader(const PlannedCut &planned, Place &place, const ShuffleKeys &keys, Undo &undo) {
	auto to_tasks = planned.cut.exchange != DH_EXCHANGE_GATHER;
	auto hashed = planned.cut.exchange == DH_EXCHANGE_HASH;
	auto distinct = planned.cut.kind == DH_CUT_DISTINCT;
	auto exported = ExportSubtree(optimizer.context, place, scans, {keys, hashed, to_tasks, distinct}, undo);
	if (to_tasks && !std::all_of(place->types.begin(), place->types.end(), CanReachTasks)) {
		throw NotImplementedException("a column that other tasks would read is the state of an aggregate");
	}
	if (to_tasks && place->types.empty()) {
		throw NotImplementedException("the rows that other tasks would read have no columns");
	}
	return exported;
}

void PlanCutter::CutSubtree(shared_ptr<DistributedQuery> query, const PlannedCut &planned, Undo &undo) {
	auto &cut = planned.cut;
	auto &place = Find(cut.node);
	auto keys = KeysOfCut(planned);
	auto exported = ExportForReader(planned, place, keys, undo);
	auto last = cut.exchange == DH_EXCHANGE_HASH ? LastColumn::HASH : LastColumn::NONE;
	Replace(query, place, std::move(exported), last, undo);
	if (cut.exchange == DH_EXCHANGE_FORWARD) {
		Share(std::move(query), Find(cut.consumer), undo);
	}
}

void PlanCutter::CutWrite(shared_ptr<DistributedQuery> query, const PlannedCut &planned, Undo &undo) {
	auto &rows = Find(planned.cut.node);
	auto &place = Find(planned.cut.consumer);
	auto &copy = place->Cast<LogicalCopyToFile>();
	auto exported = ExportForReader(planned, rows, ShuffleKeys(), undo);
	if (CheckedTypes(rows, exported, LastColumn::NONE) != copy.expected_types) {
		throw NotImplementedException("its SQL gives other columns than are written");
	}
	exported.fragment->target = make_shared_ptr<FileTarget>(copy);
	auto stage = query->AddStage(std::move(exported.fragment), WrittenTypes());
	ReplaceUntilUndone(place, make_uniq<LogicalWrite>(query, stage, copy), undo);
}

//! Its references, which none below a CTE of the same number is.
static void FindReferences(unique_ptr<LogicalOperator> &place, TableIndex cte,
                           vector<reference<unique_ptr<LogicalOperator>>> &found) {
	if (place->type == LogicalOperatorType::LOGICAL_CTE_REF && place->Cast<LogicalCTERef>().cte_index == cte) {
		found.push_back(place);
	}
	for (auto &child : place->children) {
		FindReferences(child, cte, found);
	}
}

void PlanCutter::Share(shared_ptr<DistributedQuery> query, Place &cte_place, Undo &undo) {
	auto &cte = cte_place->Cast<LogicalMaterializedCTE>();
	auto &definition = *cte.children[0];
	vector<reference<Place>> references;
	FindReferences(cte.children[1], cte.table_index, references);
	for (auto &found : references) {
		auto &place = found.get();
		if (place->types != definition.types) {
			throw NotImplementedException("a reader of a CTE has other columns than the CTE");
		}
		auto rows = place->has_estimated_cardinality ? place->estimated_cardinality : 1;
		auto exchange = make_uniq<LogicalExchange>(query, query->LastStage(), place->GetColumnBindings(), place->types, rows);
		ReplaceUntilUndone(place, std::move(exchange), undo);
	}
	// What reads the CTE takes its place.
	for (auto &place : places) {
		if (&place.get() == &cte.children[1]) {
			place = cte_place;
		}
	}
	auto reader = std::move(cte.children[1]);
	auto taken = make_shared_ptr<Place>(std::move(cte_place));
	cte_place = std::move(reader);
	undo.Add([&cte_place, taken]() {
		auto cte = std::move(*taken);
		cte->children[1] = std::move(cte_place);
		cte_place = std::move(cte);
	});
}

//! The operator as each task runs it: a limit takes the rows that the offset skips as well.
class TaskLimit {
public:
	explicit TaskLimit(LogicalOperator &op_p) : op(op_p) {
		if (op.type == LogicalOperatorType::LOGICAL_TOP_N) {
			auto &top_n = op.Cast<LogicalTopN>();
			limit = top_n.limit;
			offset = top_n.offset;
			Set(AddSaturating(limit, offset), 0);
		} else if (op.type == LogicalOperatorType::LOGICAL_LIMIT) {
			auto &node = op.Cast<LogicalLimit>();
			limit = node.limit_val.GetConstantValue();
			has_offset = node.offset_val.Type() == LimitNodeType::CONSTANT_VALUE;
			offset = has_offset ? node.offset_val.GetConstantValue() : 0;
			Set(AddSaturating(limit, offset), 0);
		}
	}
	~TaskLimit() {
		Set(limit, offset);
	}

private:
	static idx_t AddSaturating(idx_t a, idx_t b) {
		idx_t most = NumericLimits<int64_t>::Maximum();
		return a > most - MinValue(b, most) ? most : a + b;
	}

	void Set(idx_t new_limit, idx_t new_offset) {
		if (op.type == LogicalOperatorType::LOGICAL_TOP_N) {
			op.Cast<LogicalTopN>().limit = new_limit;
			op.Cast<LogicalTopN>().offset = new_offset;
		} else if (op.type == LogicalOperatorType::LOGICAL_LIMIT) {
			auto &node = op.Cast<LogicalLimit>();
			node.limit_val = BoundLimitNode::ConstantValue(NumericCast<int64_t>(new_limit));
			if (has_offset) {
				node.offset_val = BoundLimitNode::ConstantValue(NumericCast<int64_t>(new_offset));
			}
		}
	}

	LogicalOperator &op;
	idx_t limit = 0;
	idx_t offset = 0;
	bool has_offset = false;
};

void PlanCutter::CutCopy(shared_ptr<DistributedQuery> query, const PlannedCut &planned, Undo &undo) {
	auto &place = Find(planned.cut.node);
	auto keys = KeysOfCut(planned);
	ExportedPlan exported;
	{
		TaskLimit task_limit(*place);
		exported = ExportForReader(planned, place, keys, undo);
	}
	auto last = planned.cut.exchange == DH_EXCHANGE_HASH ? LastColumn::HASH : LastColumn::NONE;
	Replace(std::move(query), place->children[0], std::move(exported), last, undo);
}

void PlanCutter::CutSort(shared_ptr<DistributedQuery> query, const DhCut &cut, Undo &undo) {
	auto &place = Find(cut.node);
	auto exported = ExportSort(optimizer.context, place->Cast<LogicalOrder>(), scans, undo);
	Replace(std::move(query), place, std::move(exported), LastColumn::SORT_KEY, undo);
}

void PlanCutter::CutAggregate(shared_ptr<DistributedQuery> query, const PlannedCut &planned, Undo &undo) {
	auto &cut = planned.cut;
	auto &place = Find(cut.node);
	auto &aggregate = place->Cast<LogicalAggregate>();
	auto exported = ExportPartialAggregate(optimizer.context, aggregate, scans, undo);
	auto types = exported.fragment->BindTypes(optimizer.context);
	auto groups = aggregate.groups.size();
	if (types.size() != groups + aggregate.expressions.size()) {
		throw NotImplementedException("its SQL gives other columns than the plan");
	}
	for (idx_t i = 0; i < types.size(); i++) {
		if (i < groups ? types[i] != aggregate.groups[i]->GetReturnType() : !types[i].IsAggregateState()) {
			throw NotImplementedException("its SQL gives a column the type %s", types[i].ToString());
		}
	}
	if (cut.exchange != DH_EXCHANGE_GATHER) {
		if (!std::all_of(types.begin(), types.end(), CanReachTasks)) {
			throw NotImplementedException("other tasks can't read the states of its aggregates");
		}
		auto hashed = planned.keys;
		if (cut.exchange == DH_EXCHANGE_HASH && hashed.empty()) {
			hashed.resize(groups);
			std::iota(hashed.begin(), hashed.end(), 0);
		}
		auto plain = PlainStates(optimizer.context, *exported.fragment, hashed);
		auto plain_types = plain->BindTypes(optimizer.context);
		query->AddStage(std::move(plain), std::move(plain_types));
	} else {
		query->AddStage(std::move(exported.fragment), types);
	}
	MergeStates(optimizer, root, place, std::move(query), types, undo);
}

static ShuffleKeys ColumnsAsKeys(LogicalOperator &op, const vector<DhColumn> &columns) {
	auto bindings = op.GetColumnBindings();
	ShuffleKeys keys;
	for (auto &column : columns) {
		ColumnBinding wanted {TableIndex(column.table), ProjectionIndex(column.column)};
		auto found = std::find(bindings.begin(), bindings.end(), wanted);
		if (found == bindings.end()) {
			throw NotImplementedException("a column that its rows are shuffled by is not among its own");
		}
		auto &type = op.types[NumericCast<idx_t>(found - bindings.begin())];
		keys.push_back({make_uniq<BoundColumnRefExpression>(type, wanted), false});
	}
	return keys;
}

ShuffleKeys PlanCutter::KeysOfCut(const PlannedCut &planned) {
	auto &cut = planned.cut;
	auto told = cut.exchange == DH_EXCHANGE_BROADCAST && cut.consumer < places.size();
	if (cut.exchange != DH_EXCHANGE_HASH && !told) {
		return ShuffleKeys();
	}
	if (!planned.columns.empty()) {
		return ColumnsAsKeys(*Find(cut.node), planned.columns);
	}
	auto all = KeysOf(*Find(cut.consumer), cut.side);
	if (all.empty()) {
		throw InternalException("the planner shuffles for operator %d, which has no keys", cut.consumer);
	}
	if (planned.keys.empty()) {
		return all;
	}
	ShuffleKeys keys;
	for (auto number : planned.keys) {
		auto &key = all.at(number);
		keys.push_back({key.value->Copy(), key.null_meets_none});
	}
	return keys;
}

} // namespace duckherder
