#include "parts_of.hpp"

#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/parser/constraints/check_constraint.hpp"
#include "duckdb/parser/parsed_data/alter_table_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/statement/alter_statement.hpp"
#include "duckdb/parser/statement/create_statement.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

using ExpressionVisitor = std::function<void(ParsedExpression &)>;

static void Visit(LogicalType &type, const ExpressionVisitor &visit) {
	if (type.id() == LogicalTypeId::UNBOUND) {
		auto expression = UnboundType::GetTypeExpression(type)->Copy();
		visit(*expression);
		type = LogicalType::UNBOUND(std::move(expression));
	}
}

static void Visit(ColumnDefinition &column, const ExpressionVisitor &visit) {
	auto type = column.Type();
	Visit(type, visit);
	column.SetType(type);
	if (column.Generated()) {
		visit(column.GeneratedExpressionMutable());
	} else if (column.HasDefaultValue()) {
		auto value = column.DefaultValue().Copy();
		visit(*value);
		column.SetDefaultValue(std::move(value));
	}
}

void ForEachPartOf(CreateTableInfo &table, const ExpressionVisitor &visit) {
	ColumnList columns;
	for (auto &column : table.columns.Logical()) {
		auto copy = column.Copy();
		Visit(copy, visit);
		columns.AddColumn(std::move(copy));
	}
	table.columns = std::move(columns);
	for (auto &constraint : table.constraints) {
		if (constraint->type == ConstraintType::CHECK) {
			visit(*constraint->Cast<CheckConstraint>().expression);
		}
	}
}

static void Visit(AlterTableInfo &info, const ExpressionVisitor &visit) {
	switch (info.alter_table_type) {
	case AlterTableType::ADD_COLUMN:
		Visit(info.Cast<AddColumnInfo>().new_column, visit);
		break;
	case AlterTableType::SET_DEFAULT:
		if (info.Cast<SetDefaultInfo>().expression) {
			visit(*info.Cast<SetDefaultInfo>().expression);
		}
		break;
	case AlterTableType::ALTER_COLUMN_TYPE: {
		auto &change = info.Cast<ChangeColumnTypeInfo>();
		Visit(change.target_type, visit);
		if (change.expression) {
			visit(*change.expression);
		}
		break;
	}
	default:
		break;
	}
}

void ForEachPartOf(SQLStatement &statement, const ExpressionVisitor &visit,
                   const std::function<void(QueryNode &)> &query) {
	if (statement.type == StatementType::ALTER_STATEMENT) {
		auto &info = *statement.Cast<AlterStatement>().info;
		if (info.type == AlterType::ALTER_TABLE) {
			Visit(info.Cast<AlterTableInfo>(), visit);
		}
		return;
	}
	if (statement.type != StatementType::CREATE_STATEMENT) {
		return;
	}
	auto &info = *statement.Cast<CreateStatement>().info;
	if (info.type == CatalogType::TABLE_ENTRY) {
		ForEachPartOf(info.Cast<CreateTableInfo>(), visit);
	} else if (info.type == CatalogType::MACRO_ENTRY || info.type == CatalogType::TABLE_MACRO_ENTRY) {
		for (auto &macro : info.Cast<CreateMacroInfo>().macros) {
			if (macro->type == MacroType::SCALAR_MACRO) {
				visit(*macro->Cast<ScalarMacroFunction>().expression);
			} else {
				query(*macro->Cast<TableMacroFunction>().query_node);
			}
		}
	}
}

} // namespace duckherder
