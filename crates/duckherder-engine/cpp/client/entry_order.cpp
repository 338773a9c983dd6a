#include "entry_order.hpp"

#include "parts_of.hpp"
#include "query_of.hpp"

#include "duckdb/parser/constraints/foreign_key_constraint.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/table_function_ref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! What an entry names, by the names alone: that may be more than it is made of, which only moves what comes first.
class NamedThings {
public:
	explicit NamedThings(const CreateInfo &info) {
		CreateStatement statement;
		statement.info = info.Copy();
		if (auto query = QueryOf(statement)) {
			Look(*query);
		}
		ForEachPartOf(
		    statement, [&](ParsedExpression &part) { Look(part); }, [&](QueryNode &query) { Look(query); });
		if (info.type == CatalogType::TABLE_ENTRY) {
			for (auto &constraint : info.Cast<CreateTableInfo>().constraints) {
				if (constraint->type != ConstraintType::FOREIGN_KEY) {
					continue;
				}
				// The table that is referred to knows of it, too.
				auto &reference = constraint->Cast<ForeignKeyConstraint>().info;
				if (reference.type == ForeignKeyType::FK_TYPE_FOREIGN_KEY_TABLE) {
					tables.insert(reference.table);
				}
			}
		}
	}

	identifier_set_t functions;
	//! And views.
	identifier_set_t tables;

private:
	void Look(QueryNode &node) {
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &part) { Look(*part); },
		    [&](TableRef &ref) {
			    if (ref.type == TableReferenceType::BASE_TABLE) {
				    tables.insert(ref.Cast<BaseTableRef>().Table());
			    } else if (ref.type == TableReferenceType::TABLE_FUNCTION) {
				    Look(*ref.Cast<TableFunctionRef>().function);
			    }
		    });
	}

	void Look(ParsedExpression &expression) {
		if (expression.GetExpressionClass() == ExpressionClass::FUNCTION) {
			functions.insert(expression.Cast<FunctionExpression>().FunctionName());
		} else if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
			Look(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &part) { Look(*part); });
	}
};

class EntryOrder {
public:
	explicit EntryOrder(vector<unique_ptr<CreateInfo>> entries_p) : entries(std::move(entries_p)) {
		for (idx_t i = 0; i < entries.size(); i++) {
			auto &name = entries[i]->GetQualifiedName().Name();
			auto type = entries[i]->type;
			if (type == CatalogType::TABLE_ENTRY || type == CatalogType::VIEW_ENTRY) {
				tables[name].push_back(i);
			} else if (type == CatalogType::MACRO_ENTRY || type == CatalogType::TABLE_MACRO_ENTRY) {
				functions[name].push_back(i);
			}
		}
		for (idx_t i = 0; i < entries.size(); i++) {
			Place(i);
		}
	}

	vector<unique_ptr<CreateInfo>> ordered;

private:
	using ByName = identifier_map_t<vector<idx_t>>;

	void Place(idx_t i) {
		auto entry = std::move(entries[i]);
		if (!entry) {
			return;
		}
		NamedThings named(*entry);
		Place(named.functions, functions);
		Place(named.tables, tables);
		ordered.push_back(std::move(entry));
	}

	void Place(const identifier_set_t &names, const ByName &known) {
		for (auto &name : names) {
			auto found = known.find(name);
			if (found == known.end()) {
				continue;
			}
			for (auto i : found->second) {
				Place(i);
			}
		}
	}

	//! Null once it has its place.
	vector<unique_ptr<CreateInfo>> entries;
	ByName functions;
	ByName tables;
};

vector<unique_ptr<CreateInfo>> InOrder(vector<unique_ptr<CreateInfo>> entries) {
	return std::move(EntryOrder(std::move(entries)).ordered);
}

} // namespace duckherder
