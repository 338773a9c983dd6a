#include "rewriter.hpp"

#include "duckdb/common/string_util.hpp"
#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/parser/constraints/check_constraint.hpp"
#include "duckdb/parser/parsed_data/alter_table_info.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/statement/alter_statement.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/drop_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

void StatementRewriter::Rewrite(SQLStatement &statement) {
	switch (statement.type) {
	case StatementType::CREATE_STATEMENT: {
		auto &info = *statement.Cast<CreateStatement>().info;
		Rewrite(info);
		info.SetQualifiedName(catalog.NameThere(context, info.GetQualifiedName()));
		break;
	}
	case StatementType::ALTER_STATEMENT: {
		auto &info = *statement.Cast<AlterStatement>().info;
		auto of_column = info.type == AlterType::SET_COLUMN_COMMENT;
		auto type = of_column ? CatalogType::TABLE_ENTRY : info.GetCatalogType();
		subjects.Find(info.GetQualifiedNameMutable(), type, info.if_not_found);
		Rewrite(info);
		info.SetQualifiedName(catalog.NameThere(context, info.GetQualifiedName()));
		break;
	}
	case StatementType::DROP_STATEMENT: {
		auto &info = *statement.Cast<DropStatement>().info;
		if (info.type != CatalogType::SCHEMA_ENTRY) {
			subjects.Find(info.GetQualifiedNameMutable(), info.type, info.if_not_found);
		}
		if (info.type == CatalogType::TABLE_ENTRY) {
			RenameTable(info.GetQualifiedNameMutable());
		}
		info.SetQualifiedName(info.type == CatalogType::SCHEMA_ENTRY
		                          ? catalog.SchemaThere(context, info.GetQualifiedName())
		                          : catalog.NameThere(context, info.GetQualifiedName()));
		break;
	}
	default:
		break;
	}
}

void StatementRewriter::RewriteDefault(ParsedExpression &value) {
	of_column = true;
	Rewrite(value);
	of_column = false;
}

void StatementRewriter::Rewrite(ColumnDefinition &column) {
	auto type = column.Type();
	types.Define(type);
	column.SetType(type);
	if (column.Generated()) {
		Rewrite(column.GeneratedExpressionMutable());
	} else if (column.HasDefaultValue()) {
		auto value = column.DefaultValue().Copy();
		RewriteDefault(*value);
		column.SetDefaultValue(std::move(value));
	}
}

void StatementRewriter::Rewrite(CreateInfo &info) {
	is_stored = true;
	searched.SetSubject(info.GetQualifiedName());
	if (info.type == CatalogType::INDEX_ENTRY) {
		auto &index = info.Cast<CreateIndexInfo>();
		for (auto &expression : index.parsed_expressions) {
			Rewrite(*expression);
		}
		QualifiedName table(index.table);
		if (RenameTable(table)) {
			index.table = table.Name();
			info.SetQualifiedName(QualifiedName(Identifier(), table.Schema(), info.GetQualifiedName().Name()));
		}
		return;
	}
	// The path of a schema ends in an empty name; the catalog was taken away.
	if (info.type == CatalogType::SCHEMA_ENTRY && info.GetQualifiedName().Path().size() > 2) {
		throw NotImplementedException("a driver has no schemas within schemas");
	}
	if (info.type == CatalogType::VIEW_ENTRY) {
		auto &view = info.Cast<CreateViewInfo>();
		of_view = true;
		if (view.query) {
			Rewrite(*view.query->node);
		}
		return;
	}
	if (info.type == CatalogType::TYPE_ENTRY) {
		auto &type = info.Cast<CreateTypeInfo>();
		if (!type.query) {
			types.Define(type.type, false);
		} else if (type.query->type == StatementType::SELECT_STATEMENT) {
			Rewrite(*type.query->Cast<SelectStatement>().node);
		}
		return;
	}
	of_macro = info.type == CatalogType::MACRO_ENTRY || info.type == CatalogType::TABLE_MACRO_ENTRY;
	if (of_macro) {
		for (auto &macro : info.Cast<CreateMacroInfo>().macros) {
			for (auto &type : macro->types) {
				types.Define(type, false);
			}
			for (auto &value : macro->default_parameters) {
				Rewrite(*value.second);
			}
		}
	}
	if (info.type == CatalogType::MACRO_ENTRY) {
		for (auto &macro : info.Cast<CreateMacroInfo>().macros) {
			may_have_ctes = StringUtil::Contains(StringUtil::Lower(macro->ToSQL()), "with");
			Rewrite(*macro->Cast<ScalarMacroFunction>().expression);
		}
		return;
	}
	if (info.type == CatalogType::TABLE_MACRO_ENTRY) {
		for (auto &macro : info.Cast<CreateMacroInfo>().macros) {
			may_have_ctes = StringUtil::Contains(StringUtil::Lower(macro->ToSQL()), "with");
			Rewrite(*macro->Cast<TableMacroFunction>().query_node);
		}
		return;
	}
	if (info.type != CatalogType::TABLE_ENTRY) {
		return;
	}
	auto &table = info.Cast<CreateTableInfo>();
	ColumnList columns;
	for (auto &column : table.columns.Logical()) {
		auto copy = column.Copy();
		Rewrite(copy);
		columns.AddColumn(std::move(copy));
	}
	table.columns = std::move(columns);
	for (auto &constraint : table.constraints) {
		if (constraint->type == ConstraintType::CHECK) {
			Rewrite(*constraint->Cast<CheckConstraint>().expression);
		}
	}
	is_stored = false;
	if (table.query) {
		Rewrite(*table.query->node);
	}
}

void StatementRewriter::Rewrite(AlterInfo &info) {
	is_stored = true;
	searched.SetSubject(info.GetQualifiedName());
	types.of_change = true;
	if (info.type == AlterType::SET_COMMENT || info.type == AlterType::SET_COLUMN_COMMENT) {
		RenameTable(info.GetQualifiedNameMutable());
		return;
	}
	if (info.type != AlterType::ALTER_TABLE) {
		return;
	}
	RenameTable(info.GetQualifiedNameMutable());
	auto &table = info.Cast<AlterTableInfo>();
	if (table.alter_table_type == AlterTableType::ADD_COLUMN) {
		Rewrite(table.Cast<AddColumnInfo>().new_column);
	} else if (table.alter_table_type == AlterTableType::SET_DEFAULT) {
		auto &change = table.Cast<SetDefaultInfo>();
		if (change.expression) {
			RewriteDefault(*change.expression);
		}
	} else if (table.alter_table_type == AlterTableType::ALTER_COLUMN_TYPE) {
		auto &change = table.Cast<ChangeColumnTypeInfo>();
		types.Define(change.target_type);
		if (change.expression) {
			Rewrite(*change.expression);
		}
	}
}

} // namespace duckherder
