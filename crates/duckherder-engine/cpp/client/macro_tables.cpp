#include "macro_tables.hpp"

#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

class TableQualifier {
public:
	TableQualifier(Snapshot &snapshot, const Identifier &catalog) : snapshot(snapshot), catalog(catalog) {
	}

	void Qualify(QueryNode &node) {
		CollectCTEs(node);
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Qualify(*child); }, [&](TableRef &ref) { Qualify(ref); });
	}

	void Qualify(ParsedExpression &expression) {
		if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
			Qualify(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &child) { Qualify(*child); });
	}

private:
	//! A name that a CTE has is not a table's.
	void CollectCTEs(QueryNode &node) {
		for (auto &entry : node.cte_map.map) {
			ctes.insert(entry.first);
			if (entry.second->query_node) {
				CollectCTEs(*entry.second->query_node);
			}
		}
	}

	void Qualify(TableRef &ref) {
		if (ref.type == TableReferenceType::SUBQUERY) {
			CollectCTEs(*ref.Cast<SubqueryRef>().subquery->node);
		}
		if (ref.type != TableReferenceType::BASE_TABLE) {
			return;
		}
		auto &name = ref.Cast<BaseTableRef>().GetQualifiedNameMutable();
		auto plain = name.Schema().empty();
		if (!name.Catalog().empty() || (plain && ctes.find(name.Name()) != ctes.end())) {
			return;
		}
		auto schema_name = plain ? Identifier::DefaultSchema() : name.Schema();
		auto schema = snapshot.FindSchema(schema_name);
		if (schema && (schema->Describe(EntryKind::TABLE, name.Name()) || schema->Describe(EntryKind::VIEW, name.Name()))) {
			name = QualifiedName(catalog, schema_name, name.Name());
		}
	}

	Snapshot &snapshot;
	const Identifier &catalog;
	identifier_set_t ctes;
};

void QualifyTables(CreateMacroInfo &info, Snapshot &snapshot, const Identifier &catalog) {
	for (auto &macro : info.macros) {
		TableQualifier qualifier(snapshot, catalog);
		if (macro->type == MacroType::SCALAR_MACRO) {
			qualifier.Qualify(*macro->Cast<ScalarMacroFunction>().expression);
		} else {
			qualifier.Qualify(*macro->Cast<TableMacroFunction>().query_node);
		}
	}
}

} // namespace duckherder
