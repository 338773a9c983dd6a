#include "statement_rewriter.hpp"

#include "catalog.hpp"
#include "connection_state.hpp"
#include "cte_names.hpp"
#include "database_renamer.hpp"
#include "query_of.hpp"
#include "searched_names.hpp"
#include "sequences.hpp"
#include "subject_names.hpp"
#include "transaction.hpp"
#include "type_names.hpp"
#include "whole_rows.hpp"
#include "written_names.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/parser/constraints/check_constraint.hpp"
#include "duckdb/optimizer/remote_pushdown_optimizer.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/constant_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/parameter_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/expression/window_expression.hpp"
#include "duckdb/parser/parsed_data/alter_table_info.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_data/create_type_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_data/drop_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/statement/alter_statement.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/drop_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/pivotref.hpp"
#include "duckdb/parser/tableref/showref.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

//! Walks a syntax tree: types of the client's own are replaced by their definition, tables that the client registered
//! by the driver's names, and parameters are collected.
class StatementRewriter {
public:
	StatementRewriter(ClientContext &context, RemoteCatalog &catalog, NamedPlaces places)
	    : context(context), catalog(catalog), written(context, catalog, std::move(places)),
	      searched(context, catalog, written), subjects(context, catalog, written, searched),
	      types(context, catalog, written, searched) {
	}

	vector<Identifier> parameters;

	//! Of errors, the driver says where they are in the statement.
	void NoteShift() {
		ConnectionState::Get(context)->NoteShift(written.Shift());
	}

	void Rewrite(QueryNode &node) {
		unique_ptr<WholeRows> outermost;
		if (!whole_rows) {
			outermost = make_uniq<WholeRows>(context, catalog, node);
			whole_rows = outermost.get();
		}
		RewriteParts(node);
		if (outermost) {
			whole_rows = nullptr;
		}
	}

	void RewriteParts(QueryNode &node) {
		if (searched.IsNarrower()) {
			ctes.CollectWithUnread(node);
		} else {
			ctes.Collect(node);
		}
		if (auto target = TargetOf(node)) {
			if (node.type != QueryNodeType::UPDATE_QUERY_NODE) {
				subjects.CheckTarget(*target);
				checked_target = target.get();
			}
			if (node.type == QueryNodeType::INSERT_QUERY_NODE) {
				RenameTable(*target);
			} else if (target->Path().size() == 1 && ctes.Has(target->Name())) {
				// What is changed is a table, whatever the CTEs are called.
				*target = searched.InSearchedSchema(CatalogType::TABLE_ENTRY, target->Name());
			}
		}
		fills_column = searched.NameFilling(node);
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Rewrite(*child); },
		    [&](TableRef &ref) { Rewrite(ref); });
	}

	void Rewrite(SQLStatement &statement) {
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

private:
	//! DuckDB has taken the catalog away that told a macro of the driver's from a function of DuckDB's of that name. What
	//! the user has called without it, the driver looks for as this client would.
	void KeepApart(FunctionExpression &call, const QueryLocation &location, CatalogType type) {
		if (!call.IsOperator()) {
			if (!ctes.IsUnread(call)) {
				CheckNames(call.GetQualifiedName(), location, type);
			}
			CheckReach(call.GetQualifiedName(), location, type);
			KeepApart(call.GetQualifiedNameMutable(), location, type);
		}
	}

	void KeepApart(QualifiedName &call, const QueryLocation &location, CatalogType type) {
		auto own = StripCatalog(call, type);
		auto &path = call.Path();
		auto of_main = path.size() == 1 || (path.size() == 2 && path[0] == Identifier::DefaultSchema());
		// What a view calls is looked for where the view is.
		if (of_view || of_text || !of_main || (!own && written.IsWritten(path[0], location))) {
			return;
		}
		QualifiedName of_system(Identifier(SYSTEM_CATALOG), Identifier::DefaultSchema(), call.Name());
		if (!Catalog::GetEntry(context, EntryLookupInfo(type, of_system), OnEntryNotFound::RETURN_NULL)) {
			return;
		}
		if (own || (path.size() == 1 ? written.IsCalledByMore(call.Name(), location)
		                             : written.IsCalledByCatalog(call.Name(), location))) {
			auto schema = path.size() == 1 ? searched.InSearchedSchema(type, call.Name()).Schema() : call.Schema();
			call = QualifiedName(DatabaseThere(), schema, call.Name());
		}
	}

	//! A table may be called like a view of DuckDB's, which the driver would find first.
	void KeepTableApart(QualifiedName &name) {
		auto &path = name.Path();
		if (path.size() > 2 || (path.size() == 2 && path[0] != Identifier::DefaultSchema())) {
			return;
		}
		auto schema = path.size() == 1 ? searched.InSearchedSchema(CatalogType::TABLE_ENTRY, name.Name()).Schema() : name.Schema();
		for (auto &of : {QualifiedName(Identifier(SYSTEM_CATALOG), Identifier::DefaultSchema(), name.Name()),
		                 QualifiedName(catalog.GetName(), schema, name.Name())}) {
			if (!Catalog::GetEntry(context, EntryLookupInfo(CatalogType::TABLE_ENTRY, of), OnEntryNotFound::RETURN_NULL)) {
				return;
			}
		}
		name = QualifiedName(DatabaseThere(), schema, name.Name());
	}

	//! What the driver calls the catalog.
	const Identifier &DatabaseThere() {
		return RemoteTransaction::Get(context, catalog).GetSnapshot(context)->Database();
	}

	void CheckReach(const QualifiedName &name, const QueryLocation &location, CatalogType type) {
		if (of_macro && !of_text) {
			searched.CheckReach(name, location, type);
		}
	}

	//! What is stored in a view, or as a type, is looked for beside it first; of what query() is given, nothing is known.
	void CheckNames(const QualifiedName &name, const QueryLocation &location, CatalogType type) {
		if (of_text) {
			return;
		}
		if (is_stored) {
			searched.CheckDatabase(name, location, type, of_view);
		}
		if (!is_stored || of_macro) {
			searched.Check(name, location, type);
		} else if (!of_view && !of_column && name.Path().size() == 2 && name.Path()[0] == catalog.GetName()) {
			searched.Check(QualifiedName(name.Name()), location, type, []() { return true; });
		}
	}

	void CheckTable(const BaseTableRef &table, bool is_cte) {
		auto plain = table.GetQualifiedName().Path().size() == 1;
		auto may_be_cte =
		    (is_cte || (plain && may_have_ctes)) && !written.IsQualified(table.Table(), table.query_location);
		QualifiedName registered;
		if (!may_be_cte && !catalog.FindRegistered(table.Table(), registered)) {
			CheckNames(table.GetQualifiedName(), table.query_location, CatalogType::TABLE_ENTRY);
		}
	}

	bool RenameTable(QualifiedName &name) {
		QualifiedName remote;
		auto plain = name.Schema().empty() || name.Schema() == DEFAULT_SCHEMA;
		if (!plain || !catalog.FindRegistered(name.Name(), remote)) {
			return false;
		}
		name = remote;
		return true;
	}

	//! DuckDB takes the catalog's name out of what it hands over, but not everywhere: out of no PIVOT, DESCRIBE or CHECK
	//! that is stored. (Elsewhere the first name may be that of one of the driver's databases.) Whether it was there.
	bool StripCatalog(QualifiedName &name, CatalogType type = CatalogType::TABLE_ENTRY) {
		auto &path = name.Path();
		if (!is_stored || path.size() < 2 || path[0] != catalog.GetName()) {
			return false;
		}
		if (path.size() == 2 && Catalog::GetSchema(context, catalog.GetName(), path[0], OnEntryNotFound::RETURN_NULL)) {
			// It is that schema's.
			return false;
		}
		if (path.size() > 2) {
			name = name.WithCatalog(Identifier());
			return true;
		}
		auto own = searched.InSearchedSchema(type, name.Name());
		if (of_column) {
			EntryLookupInfo lookup(CatalogType::SCALAR_FUNCTION_ENTRY,
			                       QualifiedName(catalog.GetName(), Identifier(), own.Name()));
			if (auto found = searched.BesideTable().GetEntry(lookup, OnEntryNotFound::RETURN_NULL)) {
				own = QualifiedName(Identifier(), found->ParentSchema().name, own.Name());
			}
		}
		name = own;
		return true;
	}

	//! What is stored has query() and query_table() read the driver's tables by the driver's names, where these are given
	//! as constants. (Others are understood there, see named_by_client.cpp.) So it is with what describes a table, which
	//! looks for it where the session would.
	void StripCatalog(FunctionExpression &call) {
		QualifiedName described;
		if (is_stored && IsOfTable(call.FunctionName()) && !call.GetArguments().empty() &&
		    NamesByText(call.GetArguments()[0].GetExpression(), described)) {
			if (StripCatalog(described)) {
				described = described.WithCatalog(DatabaseThere());
				call.GetArgumentsMutable()[0].GetExpressionMutable() = ConstantExpression::String(described.ToString());
			} else if (catalog.IsElsewhere(context)) {
				Catalog::GetEntry(context, EntryLookupInfo(CatalogType::TABLE_ENTRY, described),
				                  OnEntryNotFound::THROW_EXCEPTION);
			}
		}
		auto is_table = call.FunctionName() == "query_table";
		if (!is_stored || (!is_table && call.FunctionName() != "query")) {
			return;
		}
		for (auto &argument : call.GetArgumentsMutable()) {
			StripCatalog(argument.GetExpressionMutable(), is_table);
		}
	}

	void StripCatalog(unique_ptr<ParsedExpression> &text, bool is_table) {
		if (is_table && text->GetExpressionClass() != ExpressionClass::CONSTANT) {
			auto is_list = text->GetExpressionType() == ExpressionType::ARRAY_CONSTRUCTOR ||
			               (text->GetExpressionClass() == ExpressionClass::FUNCTION &&
			                text->Cast<FunctionExpression>().FunctionName() == "list_value");
			if (is_list) {
				ParsedExpressionIterator::EnumerateChildren(
				    *text, [&](unique_ptr<ParsedExpression> &child) { StripCatalog(child, is_table); });
			}
			return;
		}
		if (text->GetExpressionClass() != ExpressionClass::CONSTANT) {
			return;
		}
		auto constant = text->Cast<ConstantExpression>().GetLiteral().ToValue();
		if (constant.type().id() == LogicalTypeId::VARCHAR && !constant.IsNull()) {
			auto &given = StringValue::Get(constant);
			text = ConstantExpression::String(is_table ? TableThere(given) : QueryThere(given));
		}
	}

	string TableThere(const string &given) {
		QualifiedName name;
		string error;
		if (!QualifiedName::TryParse(given, name, error) || name.Path().size() < 2) {
			return given;
		}
		StripCatalog(name);
		return name.ToString();
	}

	//! What is no query is left for DuckDB to refuse.
	string QueryThere(const string &given) {
		vector<unique_ptr<SQLStatement>> statements;
		try {
			Parser parser(context);
			parser.ParseQuery(given);
			statements = std::move(parser.statements);
		} catch (const std::exception &) {
			return given;
		}
		if (statements.size() != 1 || statements[0]->type != StatementType::SELECT_STATEMENT) {
			return given;
		}
		auto before = statements[0]->ToString();
		auto &node = *statements[0]->Cast<SelectStatement>().node;
		auto outer_text = of_text;
		of_text = true;
		Rewrite(node);
		of_text = outer_text;
		RemotePushdownOptimizer::StripCatalogName(node, catalog.GetName());
		auto after = statements[0]->ToString();
		return before == after ? given : after;
	}

	void Rewrite(TableRef &ref) {
		if (ref.type == TableReferenceType::SHOW_REF) {
			StripCatalog(ref.Cast<ShowRef>().qualified_name);
		}
		if (ref.type == TableReferenceType::PIVOT) {
			for (auto &pivot : ref.Cast<PivotRef>().pivots) {
				for (auto &expression : pivot.pivot_expressions) {
					Rewrite(*expression);
					RemotePushdownOptimizer::StripCatalogName(*expression, catalog.GetName());
				}
			}
		}
		if (ref.type != TableReferenceType::BASE_TABLE) {
			if (ref.type == TableReferenceType::SUBQUERY) {
				ctes.Collect(*ref.Cast<SubqueryRef>().subquery->node);
			} else if (ref.type == TableReferenceType::TABLE_FUNCTION) {
				auto &function = *ref.Cast<TableFunctionRef>().function;
				if (function.GetExpressionClass() == ExpressionClass::FUNCTION) {
					StripCatalog(function.Cast<FunctionExpression>());
					KeepApart(function.Cast<FunctionExpression>(), ref.query_location,
					          CatalogType::TABLE_FUNCTION_ENTRY);
				}
			}
			return;
		}
		auto &table = ref.Cast<BaseTableRef>();
		StripCatalog(table.GetQualifiedNameMutable());
		auto local = table.Table();
		auto is_cte = ctes.Has(local);
		// What a macro is called in may have CTEs of any name.
		auto plain = table.GetQualifiedName().Path().size() == 1;
		auto is_checked = &table.GetQualifiedName() == checked_target.get() || ctes.IsUnread(ref);
		if ((is_stored || searched.IsNarrower()) && !is_checked) {
			CheckTable(table, is_cte);
		}
		if (!is_cte && !(plain && may_have_ctes)) {
			CheckReach(table.GetQualifiedName(), ref.query_location, CatalogType::TABLE_ENTRY);
		}
		// DuckDB has taken the catalog away that told it from the CTE of its name. (Of a view, it does so for itself.)
		if ((is_cte || of_macro) && !of_view && !of_text && plain && written.IsQualified(local, ref.query_location)) {
			is_cte = false;
			table.SetQualifiedName(searched.InSearchedSchema(CatalogType::TABLE_ENTRY, local));
		}
		if (is_cte) {
			return;
		}
		if (RenameTable(table.GetQualifiedNameMutable())) {
			ref.alias = ref.alias.empty() ? local : ref.alias;
		} else {
			KeepTableApart(table.GetQualifiedNameMutable());
		}
	}

	void Rewrite(ParsedExpression &expression) {
		switch (expression.GetExpressionClass()) {
		case ExpressionClass::PARAMETER: {
			auto &name = expression.Cast<ParameterExpression>().Identifier();
			if (std::find(parameters.begin(), parameters.end(), name) == parameters.end()) {
				parameters.push_back(name);
			}
			break;
		}
		case ExpressionClass::CAST: {
			auto &cast = expression.Cast<CastExpression>();
			auto defined = types.Define(cast.TargetType(), of_view || of_column, !of_text);
			if (defined) {
				cast.SetTargetType(std::move(defined));
			}
			break;
		}
		case ExpressionClass::FUNCTION:
			NameSequenceForDriver(of_column || fills_column ? searched.BesideTable() : CatalogEntryRetriever(context),
			                      catalog, expression.Cast<FunctionExpression>(), is_stored, of_column);
			KeepApart(expression.Cast<FunctionExpression>(), expression.GetQueryLocation(),
			          CatalogType::SCALAR_FUNCTION_ENTRY);
			break;
		case ExpressionClass::WINDOW:
			KeepApart(expression.Cast<WindowExpression>().GetQualifiedNameMutable(), expression.GetQueryLocation(),
			          CatalogType::SCALAR_FUNCTION_ENTRY);
			break;
		case ExpressionClass::COLUMN_REF:
			if (whole_rows) {
				whole_rows->NameForDriver(expression.Cast<ColumnRefExpression>());
			}
			break;
		case ExpressionClass::SUBQUERY:
			Rewrite(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
			break;
		default:
			break;
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &child) { Rewrite(*child); });
	}

	void RewriteDefault(ParsedExpression &value) {
		of_column = true;
		Rewrite(value);
		of_column = false;
	}

	void Rewrite(ColumnDefinition &column) {
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

	void Rewrite(CreateInfo &info) {
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

	void Rewrite(AlterInfo &info) {
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

	ClientContext &context;
	RemoteCatalog &catalog;
	WrittenNames written;
	SearchedNames searched;
	SubjectNames subjects;
	TypeNames types;
	//! It becomes a part of the catalog.
	bool is_stored = false;
	CTENames ctes;
	//! What is deleted from or merged into has no place in the text, and is looked at by itself.
	optional_ptr<const QualifiedName> checked_target;
	//! What is rewritten is a column's default, or what a macro consists of.
	bool of_column = false;
	bool fills_column = false;
	bool of_macro = false;
	//! Where the names of a macro's CTEs hold is not looked into.
	bool may_have_ctes = false;
	bool of_view = false;
	//! What is rewritten is no part of the statement's text.
	bool of_text = false;
	//! Those of the outermost query that is rewritten.
	optional_ptr<const WholeRows> whole_rows;
};

vector<Identifier> RewriteForDriver(ClientContext &context, RemoteCatalog &catalog, QueryNode &node) {
	StatementRewriter rewriter(context, catalog, PlacesIn(node));
	rewriter.NoteShift();
	rewriter.Rewrite(node);
	return std::move(rewriter.parameters);
}

vector<Identifier> RewriteForDriver(ClientContext &context, RemoteCatalog &catalog, SQLStatement &statement) {
	StatementRewriter rewriter(context, catalog, PlacesIn(statement));
	rewriter.NoteShift();
	rewriter.Rewrite(statement);
	return std::move(rewriter.parameters);
}

} // namespace duckherder
