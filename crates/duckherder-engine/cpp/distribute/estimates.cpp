#include "estimates.hpp"

#include "duckdb/common/types.hpp"
#include "duckdb/optimizer/relation_statistics/relation_statistics_helper.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"

#include <algorithm>
#include <limits>

using namespace duckdb; // NOLINT

namespace duckherder {

//! A text or a BLOB, a list beside what is in it: how long they are nobody knows before they are read.
static constexpr idx_t TEXT_BYTES = 20;
static constexpr idx_t LIST_ELEMENTS = 4;

static idx_t TypeBytes(const LogicalType &type) {
	if (StructType::IsStruct(type)) {
		idx_t bytes = 0;
		for (auto &child : StructType::GetChildTypes(type)) {
			bytes += TypeBytes(child.second);
		}
		return bytes;
	}
	if (type.id() == LogicalTypeId::LIST) {
		return sizeof(list_entry_t) + LIST_ELEMENTS * TypeBytes(ListType::GetChildType(type));
	}
	auto physical = type.InternalType();
	return TypeIsConstantSize(physical) ? GetTypeIdSize(physical) : TEXT_BYTES;
}

idx_t RowBytes(const vector<LogicalType> &types) {
	idx_t bytes = 0;
	for (auto &type : types) {
		bytes += TypeBytes(type);
	}
	return bytes;
}

idx_t ReadBytes(const LogicalGet &get) {
	idx_t bytes = 0;
	for (auto &index : get.GetColumnIds()) {
		if (!index.IsEmptyColumn()) {
			bytes += TypeBytes(get.GetColumnType(index));
		}
	}
	return bytes;
}

static bool IsText(const Expression &expression) {
	return expression.GetReturnType().InternalType() == PhysicalType::VARCHAR;
}

static void CountIn(const Expression &expression, Operations &found) {
	bool computes;
	switch (expression.GetExpressionClass()) {
	case ExpressionClass::BOUND_COLUMN_REF:
	case ExpressionClass::BOUND_CONSTANT:
	case ExpressionClass::BOUND_PARAMETER:
	case ExpressionClass::BOUND_REF:
		computes = false;
		break;
	default:
		computes = true;
	}
	bool text = IsText(expression);
	ExpressionIterator::EnumerateChildren(expression, [&](const Expression &child) {
		text |= IsText(child);
		CountIn(child, found);
	});
	found.all += computes;
	found.of_texts += computes && text;
}

Operations CountOperations(LogicalOperator &op) {
	Operations found;
	LogicalOperatorVisitor::EnumerateExpressions(
	    op, [&](unique_ptr<Expression> *expression) { CountIn(**expression, found); });
	if (op.type == LogicalOperatorType::LOGICAL_GET) {
		auto &get = op.Cast<LogicalGet>();
		for (auto &entry : get.table_filters) {
			auto &index = get.GetColumnIds()[entry.GetIndex().GetIndex()];
			found.all++;
			found.of_texts += !index.IsVirtualColumn() && get.GetColumnType(index).InternalType() == PhysicalType::VARCHAR;
		}
	}
	return found;
}

//! Adds the columns that the expression is made of.
static void FindColumns(const Expression &expression, column_binding_set_t &found) {
	if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
		found.insert(expression.Cast<BoundColumnRefExpression>().Binding());
	}
	ExpressionIterator::EnumerateChildren(expression, [&](const Expression &child) { FindColumns(child, found); });
}

//! Where the columns of a plan come from.
class Origins {
public:
	explicit Origins(const LogicalOperator &plan) {
		Add(plan);
	}

	//! How many rows together the operators have, at most, that make these columns: no more values of them are there.
	double MostRows(const column_binding_set_t &columns) {
		for (auto &column : columns) {
			if (!Find(column)) {
				return std::numeric_limits<double>::infinity();
			}
		}
		double rows = 1;
		for (auto &entry : found) {
			auto &op = entry.second.get();
			// One more for the NULLs of an outer join.
			rows *= op.has_estimated_cardinality ? static_cast<double>(op.estimated_cardinality) + 1
			                                     : std::numeric_limits<double>::infinity();
		}
		return rows;
	}

private:
	void Add(const LogicalOperator &op) {
		for (auto &index : op.GetTableIndex()) {
			operators.emplace(index, op);
		}
		for (auto &child : op.children) {
			Add(*child);
		}
	}

	bool Find(const ColumnBinding &column) {
		auto maker = operators.find(column.table_index);
		if (maker == operators.end()) {
			return false;
		}
		auto &op = maker->second.get();
		if (op.type != LogicalOperatorType::LOGICAL_PROJECTION || op.expressions[column.column_index]->IsVolatile()) {
			found.emplace(column.table_index, op);
			return true;
		}
		column_binding_set_t below;
		FindColumns(*op.expressions[column.column_index], below);
		return std::all_of(below.begin(), below.end(), [&](const ColumnBinding &part) { return Find(part); });
	}

	unordered_map<TableIndex, reference<const LogicalOperator>> operators;
	unordered_map<TableIndex, reference<const LogicalOperator>> found;
};

vector<optional_idx> DistinctValues(RelationStatsExtractor &statistics, LogicalAggregate &aggregate) {
	vector<optional_idx> values;
	auto below = aggregate.groups.empty() ? nullptr : statistics.Extract(*aggregate.children[0]);
	for (auto &group : aggregate.groups) {
		values.emplace_back();
		if (below && group->GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
			auto known = below->GetColumnStats(group->Cast<BoundColumnRefExpression>().Binding());
			if (known && known->distinct_count.source != DistinctCountSource::CARDINALITY) {
				values.back() = known->distinct_count.distinct_count;
			}
		}
	}
	return values;
}

//! How many different rows of these columns an operator gives.
static optional_idx DistinctOf(RelationStatsExtractor &statistics, LogicalOperator &op,
                               const column_binding_set_t &columns) {
	auto below = statistics.Extract(op);
	if (!below) {
		return optional_idx();
	}
	vector<DistinctCount> counts;
	for (auto &column : columns) {
		auto known = below->GetColumnStats(column);
		// What stands for a count that nobody made is the number of rows.
		if (!known || known->distinct_count.source == DistinctCountSource::CARDINALITY) {
			return optional_idx();
		}
		counts.push_back(known->distinct_count);
	}
	if (counts.empty()) {
		return 1;
	}
	auto groups = RelationStatisticsHelper::EstimateDistinctCardinality(counts, below->cardinality);
	// DuckDB multiplies what columns of one table have of different values: they are no more together than its rows.
	auto most = Origins(op).MostRows(columns);
	return most < static_cast<double>(groups) ? LossyNumericCast<idx_t>(most) : groups;
}

optional_idx DistinctGroups(RelationStatsExtractor &statistics, LogicalAggregate &aggregate) {
	if (aggregate.groups.empty()) {
		return 1;
	}
	column_binding_set_t columns;
	for (auto &group : aggregate.groups) {
		FindColumns(*group, columns);
	}
	return DistinctOf(statistics, *aggregate.children[0], columns);
}

vector<optional_idx> DistinctRows(RelationStatsExtractor &statistics, LogicalSetOperation &operation) {
	vector<optional_idx> rows;
	if (operation.setop_all || operation.type == LogicalOperatorType::LOGICAL_UNION) {
		return rows;
	}
	for (auto &child : operation.children) {
		auto bindings = child->GetColumnBindings();
		rows.push_back(DistinctOf(statistics, *child, column_binding_set_t(bindings.begin(), bindings.end())));
	}
	return rows;
}

} // namespace duckherder
