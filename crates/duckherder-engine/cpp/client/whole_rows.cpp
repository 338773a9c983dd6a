#include "whole_rows.hpp"

#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/catalog/catalog_entry/table_catalog_entry.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node/insert_query_node.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

class WholeRows::Collector {
public:
	Collector(ClientContext &context, RemoteCatalog &catalog, WholeRows &rows)
	    : context(context), catalog(catalog), rows(rows) {
	}

	//! Whether the query has a column that may be a whole row.
	static bool MayHave(QueryNode &node, const Identifier &catalog) {
		auto found = false;
		std::function<void(unique_ptr<ParsedExpression> &)> look = [&](unique_ptr<ParsedExpression> &expression) {
			if (expression->GetExpressionClass() == ExpressionClass::COLUMN_REF) {
				auto &names = expression->Cast<ColumnRefExpression>().ColumnNames();
				found = found || (names.size() == 2 && names[0] == catalog);
			} else if (expression->GetExpressionClass() == ExpressionClass::SUBQUERY) {
				auto &query = *expression->Cast<SubqueryExpression>().SubqueryMutable()->node;
				found = found || MayHave(query, catalog);
			}
			ParsedExpressionIterator::EnumerateChildren(*expression, look);
		};
		ParsedExpressionIterator::EnumerateQueryNodeChildren(node, look);
		return found;
	}

	void Collect(QueryNode &node) {
		for (auto &cte : node.cte_map.map) {
			rows.taken.insert(cte.first);
		}
		if (node.type == QueryNodeType::INSERT_QUERY_NODE) {
			Add(node.Cast<InsertQueryNode>().qualified_name);
		}
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Collect(*child); }, [&](TableRef &ref) { Collect(ref); });
	}

private:
	void Collect(ParsedExpression &expression) {
		rows.taken.insert(expression.GetAlias());
		if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
			Collect(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &child) { Collect(*child); });
	}

	void Collect(TableRef &ref) {
		rows.taken.insert(ref.alias);
		rows.taken.insert(ref.column_name_alias.begin(), ref.column_name_alias.end());
		if (ref.type != TableReferenceType::BASE_TABLE) {
			return;
		}
		auto &name = ref.Cast<BaseTableRef>().GetQualifiedName();
		if (ref.alias.empty()) {
			Add(name);
		} else {
			AddColumns(SchemaOf(name), name.Name());
		}
	}

	Identifier SchemaOf(const QualifiedName &name) const {
		if (name.Path().size() > 1 && name.Schema() != catalog.GetName() && !name.Schema().empty()) {
			return name.Schema();
		}
		return ClientData::Get(context).catalog_search_path->GetDefaultSchema(catalog.GetName());
	}

	void Add(const QualifiedName &name) {
		auto schema = SchemaOf(name);
		rows.taken.insert(name.Name());
		auto added = rows.schemas.emplace(name.Name(), schema);
		if (!added.second && added.first->second != schema) {
			added.first->second = Identifier();
		}
		AddColumns(schema, name.Name());
	}

	void AddColumns(const Identifier &schema, const Identifier &name) {
		EntryLookupInfo lookup(CatalogType::TABLE_ENTRY, QualifiedName(catalog.GetName(), schema, name));
		auto entry = Catalog::GetEntry(context, lookup, OnEntryNotFound::RETURN_NULL);
		if (entry && entry->type == CatalogType::TABLE_ENTRY) {
			for (auto &column : entry->Cast<TableCatalogEntry>().GetColumns().Logical()) {
				rows.taken.insert(column.Name());
			}
		}
	}

	ClientContext &context;
	RemoteCatalog &catalog;
	WholeRows &rows;
};

WholeRows::WholeRows(ClientContext &context, RemoteCatalog &catalog, QueryNode &node) : catalog_name(catalog.GetName()) {
	if (Collector::MayHave(node, catalog_name)) {
		Collector(context, catalog, *this).Collect(node);
	}
}

void WholeRows::NameForDriver(ColumnRefExpression &column) const {
	auto &names = column.ColumnNamesMutable();
	if (names.size() != 2 || names[0] != catalog_name || taken.count(catalog_name) > 0) {
		return;
	}
	auto found = schemas.find(names[1]);
	if (found != schemas.end() && !found->second.empty() && taken.count(found->second) == 0) {
		names[0] = found->second;
	}
}

} // namespace duckherder
