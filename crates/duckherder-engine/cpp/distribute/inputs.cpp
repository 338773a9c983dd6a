// What a fragment reads, as SQL: scans under the names of their splits, other stages under the names of their exchanges.
#include "exchange.hpp"

#include "duckdb/function/scalar/generic_common.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/query_node/select_node.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

static const string INPUT_IDENTIFIER = "duckherder.input";

static LogicalPlanSQLExportRelation CopyRelation(const LogicalPlanSQLExportRelation &relation) {
	LogicalPlanSQLExportRelation copy;
	copy.query = relation.query->Copy();
	copy.fields = relation.fields;
	return copy;
}

LogicalInput::LogicalInput(LogicalPlanSQLExportRelation relation_p, LogicalOperator &scan)
    : relation(std::move(relation_p)), bindings(scan.GetColumnBindings()), column_types(scan.types) {
	types = column_types;
	if (scan.has_estimated_cardinality) {
		SetEstimatedCardinality(scan.estimated_cardinality);
	}
}

optional_ptr<const string> LogicalInput::GetTypeBindingVerificationIdentifier() const noexcept {
	return &INPUT_IDENTIFIER;
}

LogicalPlanSQLExportResult LogicalInput::ToSQL(LogicalPlanSQLExportContext &, const LogicalPlanVerificationPath &) {
	return LogicalPlanSQLExportResult::Success(CopyRelation(relation));
}

PhysicalOperator &LogicalInput::CreatePlan(ClientContext &, PhysicalPlanGenerator &) {
	throw InternalException("an input of a fragment is not a plan of its own");
}

LogicalPlanSQLExportResult LogicalExchange::ToSQL(LogicalPlanSQLExportContext &, const LogicalPlanVerificationPath &) {
	LogicalPlanSQLExportRelation relation;
	auto node = make_uniq<SelectNode>();
	auto name = ExchangeName(stage);
	auto source = make_uniq<BaseTableRef>();
	source->SetQualifiedName(QualifiedName(Identifier(), Identifier(), name));
	// Without an alias, the column names would be taken for the arguments of a function.
	source->alias = name;
	for (idx_t i = 0; i < bindings.size(); i++) {
		unique_ptr<ParsedExpression> column = make_uniq<ColumnRefExpression>(ColumnName(i), name);
		if (column_types[i].IsAggregateState()) {
			// What cut the plan there has seen that this can be written.
			column = ExportAggregateFunction::StateToSQL(column_types[i], std::move(column));
		}
		node->select_list.push_back(std::move(column));
		// After its own columns it may have a hash.
		source->column_name_alias.push_back(ColumnName(i));
		relation.fields.push_back({bindings[i], column_types[i]});
	}
	if (bindings.empty()) {
		node->select_list.push_back(ConstantExpression::FromValue(Value()));
	}
	node->from_table = std::move(source);
	relation.query = std::move(node);
	return LogicalPlanSQLExportResult::Success(std::move(relation));
}

} // namespace duckherder
