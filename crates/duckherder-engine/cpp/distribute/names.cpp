#include "names.hpp"

#include "arrow_source.hpp"
#include "fragment.hpp"

#include "duckdb/common/optional.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/planner/expression/bound_cast_expression.hpp"
#include "duckdb/planner/expression/bound_columnref_expression.hpp"
#include "duckdb/planner/expression/bound_function_expression.hpp"
#include "duckdb/planner/expression_iterator.hpp"
#include "duckdb/planner/logical_operator_visitor.hpp"
#include "duckdb/planner/operator/logical_cteref.hpp"
#include "duckdb/planner/operator/logical_materialized_cte.hpp"
#include "duckdb/planner/operator/logical_projection.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

class TableNames {
public:
	void Collect(LogicalOperator &op) {
		switch (op.type) {
		case LogicalOperatorType::LOGICAL_PROJECTION:
		case LogicalOperatorType::LOGICAL_GET:
		case LogicalOperatorType::LOGICAL_CTE_REF:
			for (auto &index : op.GetTableIndex()) {
				operators.emplace(index.index, &op);
			}
			break;
		case LogicalOperatorType::LOGICAL_MATERIALIZED_CTE:
			ctes.emplace(op.Cast<LogicalMaterializedCTE>().table_index.index, op.children[0].get());
			break;
		default:
			break;
		}
		for (auto &child : op.children) {
			Collect(*child);
		}
	}

	void Rename(LogicalOperator &op) {
		if (op.type == LogicalOperatorType::LOGICAL_GET && !IsExchange(op.Cast<LogicalGet>())) {
			// Filters that DuckDB moves into a scan are named by it.
			op.Cast<LogicalGet>().names = ColumnNames(op.Cast<LogicalGet>());
		}
		LogicalOperatorVisitor::EnumerateExpressions(
		    op, [&](unique_ptr<Expression> *expression) { Rename(**expression); });
		for (auto &child : op.children) {
			Rename(*child);
		}
	}

private:
	void Rename(Expression &expression) {
		expression.SetQueryLocation(QueryLocation());
		if (expression.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF) {
			auto name = NameOf(expression.Cast<BoundColumnRefExpression>().Binding());
			if (name) {
				expression.SetAlias(*name);
			}
			return;
		}
		ExpressionIterator::EnumerateChildren(expression, [&](Expression &child) { Rename(child); });
		if (expression.GetExpressionClass() != ExpressionClass::BOUND_FUNCTION) {
			return;
		}
		auto &function = expression.Cast<BoundFunctionExpression>();
		auto &name = function.Function().GetName().GetIdentifierName();
		if (BoundCastExpression::IsCast(expression)) {
			// DuckDB would name the column that the value was of by what only the fragment calls it.
			auto &source = BoundCastExpression::ChildMutable(function);
			auto is_column = source->GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF;
			if (is_column && !NameOf(source->Cast<BoundColumnRefExpression>().Binding())) {
				source->ClearAlias();
			}
		} else if (std::none_of(name.begin(), name.end(), [](char c) { return StringUtil::CharacterIsAlpha(c); })) {
			// A fragment calls an operator as a function.
			function.IsOperatorMutable() = true;
		}
	}

	optional<Identifier> NameOf(const ColumnBinding &binding) const {
		auto found = operators.find(binding.table_index.index);
		if (found == operators.end()) {
			return {};
		}
		auto column = binding.column_index.GetIndex();
		if (found->second->type == LogicalOperatorType::LOGICAL_PROJECTION) {
			auto &source = *found->second->expressions.at(column);
			return source.GetExpressionClass() == ExpressionClass::BOUND_COLUMN_REF
			           ? NameOf(source.Cast<BoundColumnRefExpression>().Binding())
			           : optional<Identifier>();
		}
		if (found->second->type == LogicalOperatorType::LOGICAL_CTE_REF) {
			auto definition = ctes.find(found->second->Cast<LogicalCTERef>().cte_index.index);
			return definition == ctes.end() ? optional<Identifier>()
			                                : NameOf(definition->second->GetColumnBindings().at(column));
		}
		auto &get = found->second->Cast<LogicalGet>();
		auto &id = get.GetColumnIds().at(column);
		if (id.IsVirtualColumn() || IsExchange(get)) {
			return {};
		}
		return ColumnNames(get).at(id.GetPrimaryIndex());
	}

	//! Rows of a stage; splits arrive in the same way, with the table's names.
	static bool IsExchange(const LogicalGet &get) {
		return get.function.GetName() == Identifier(EXCHANGE_FUNCTION) &&
		       StringUtil::StartsWith(StringValue::Get(get.parameters.at(0)), EXCHANGE_PREFIX);
	}

	unordered_map<idx_t, LogicalOperator *> operators;
	//! The definitions of CTEs.
	unordered_map<idx_t, LogicalOperator *> ctes;
};

void NameAsTables(LogicalOperator &plan) {
	TableNames names;
	names.Collect(plan);
	names.Rename(plan);
}

} // namespace duckherder
