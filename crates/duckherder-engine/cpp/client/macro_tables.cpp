#include "macro_tables.hpp"

#include "parts_of.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

class NameQualifier {
public:
	NameQualifier(ClientContext &context, Snapshot &snapshot, const Identifier &catalog, bool may_have_ctes)
	    : context(context), snapshot(snapshot), catalog(catalog), may_have_ctes(may_have_ctes) {
	}

	bool found_macro = false;

	void Qualify(QueryNode &node) {
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Qualify(*child); }, [&](TableRef &ref) { Qualify(ref); });
	}

	void Qualify(ParsedExpression &expression) {
		if (expression.GetExpressionClass() == ExpressionClass::FUNCTION) {
			QualifyMacro(expression.Cast<FunctionExpression>().GetQualifiedNameMutable());
		}
		if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
			Qualify(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &child) { Qualify(*child); });
	}

private:
	//! A call's catalog was taken away where the macro was made, with the schema; it is that of the driver's database where
	//! DuckDB has a function of that name, which is meant otherwise.
	void QualifyMacro(QualifiedName &name) {
		auto plain = name.Path().size() == 1;
		auto of_main = plain || name.Schema() == Identifier::DefaultSchema();
		if (name.Path().size() > 2 || (of_main && IsOfSystem(name.Name()))) {
			return;
		}
		auto schema = SchemaOf(name, {EntryKind::SCALAR_MACRO, EntryKind::TABLE_MACRO});
		if (schema) {
			found_macro = true;
			name = QualifiedName(catalog, schema->name, name.Name());
		}
	}

	//! The schema that has what is named so. A name alone is that of `main`, unless another schema has it, too: which one
	//! is meant depends on where it is looked for.
	optional_ptr<RemoteSchema> SchemaOf(const QualifiedName &name, const vector<EntryKind> &kinds) {
		auto has = [&](const RemoteSchema &schema) {
			return std::any_of(kinds.begin(), kinds.end(), [&](EntryKind kind) {
				return static_cast<bool>(schema.Describe(kind, name.Name()));
			});
		};
		auto plain = name.Schema().empty();
		auto schema = snapshot.FindSchema(plain ? Identifier::DefaultSchema() : name.Schema());
		if (!schema || !has(*schema)) {
			return nullptr;
		}
		auto others = false;
		if (plain) {
			snapshot.ScanSchemas(
			    [&](RemoteSchema &other) { others = others || (other.name != schema->name && has(other)); });
		}
		return others ? nullptr : schema;
	}

	bool IsOfSystem(const Identifier &function) {
		QualifiedName name(Identifier(SYSTEM_CATALOG), Identifier::DefaultSchema(), function);
		for (auto type : {CatalogType::SCALAR_FUNCTION_ENTRY, CatalogType::TABLE_FUNCTION_ENTRY}) {
			if (Catalog::GetEntry(context, EntryLookupInfo(type, name), OnEntryNotFound::RETURN_NULL)) {
				return true;
			}
		}
		return false;
	}

	void Qualify(TableRef &ref) {
		if (ref.type != TableReferenceType::BASE_TABLE) {
			return;
		}
		auto &name = ref.Cast<BaseTableRef>().GetQualifiedNameMutable();
		// A name alone may be that of a CTE, which is not a table's; where that holds is not looked into here.
		auto plain = name.Schema().empty();
		if (!name.Catalog().empty() || (plain && may_have_ctes)) {
			return;
		}
		if (auto schema = SchemaOf(name, {EntryKind::TABLE, EntryKind::VIEW})) {
			name = QualifiedName(catalog, schema->name, name.Name());
		}
	}

	ClientContext &context;
	Snapshot &snapshot;
	const Identifier &catalog;
	bool may_have_ctes;
};

void QualifyNames(ClientContext &context, CreateMacroInfo &info, Snapshot &snapshot, const Identifier &catalog) {
	for (auto &macro : info.macros) {
		auto may_have_ctes = StringUtil::Contains(StringUtil::Lower(macro->ToSQL()), "with");
		NameQualifier qualifier(context, snapshot, catalog, may_have_ctes);
		if (macro->type == MacroType::SCALAR_MACRO) {
			qualifier.Qualify(*macro->Cast<ScalarMacroFunction>().expression);
		} else {
			qualifier.Qualify(*macro->Cast<TableMacroFunction>().query_node);
		}
	}
}

bool QualifyCalls(ClientContext &context, CreateTableInfo &info, Snapshot &snapshot, const Identifier &catalog) {
	NameQualifier qualifier(context, snapshot, catalog, false);
	ForEachPartOf(info, [&](ParsedExpression &part) { qualifier.Qualify(part); });
	return qualifier.found_macro;
}

void QualifyCalls(ClientContext &context, CreateIndexInfo &info, Snapshot &snapshot, const Identifier &catalog) {
	NameQualifier qualifier(context, snapshot, catalog, false);
	for (auto &expression : info.parsed_expressions) {
		qualifier.Qualify(*expression);
	}
}

} // namespace duckherder
