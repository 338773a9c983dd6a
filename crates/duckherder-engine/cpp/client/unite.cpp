#include "unite.hpp"

#include "transaction.hpp"

#include "duckdb/catalog/catalog_search_path.hpp"
#include "duckdb/main/client_data.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/statement/explain_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

class DatabaseUniter {
public:
	explicit DatabaseUniter(ClientContext &context) : context(context) {
	}

	bool Unite(QueryNode &node) {
		Walk(node);
		if (!lead || !several || !NamesAreClear()) {
			return false;
		}
		for (auto &column : columns) {
			auto &path = column.get().ColumnNamesMutable();
			path.erase(path.begin(), path.begin() + NumericCast<int64_t>(QualifierLength(path)));
		}
		for (auto &table : tables) {
			Rename(table.get());
		}
		return true;
	}

private:
	void Walk(QueryNode &node) {
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Walk(*child); }, [&](TableRef &ref) { Walk(ref); });
	}

	void Walk(TableRef &ref) {
		if (ref.type != TableReferenceType::BASE_TABLE) {
			names.push_back(ref.alias);
			return;
		}
		auto &table = ref.Cast<BaseTableRef>();
		auto &path = table.GetQualifiedName().Path();
		names.push_back(ref.alias.empty() ? table.Table() : ref.alias);
		auto catalog = path.size() == 2 || path.size() == 3 ? Find(path[0]) : nullptr;
		if (!catalog) {
			return;
		}
		if (!lead) {
			lead = catalog;
		} else if (catalog != lead) {
			several = true;
			if (!catalog->IsOfDriver(*lead)) {
				apart = true;
			}
			if (IsDefault(*catalog)) {
				// What is not qualified is looked up there.
				lead = catalog;
			}
		}
		tables.push_back(table);
	}

	void Walk(ParsedExpression &expression) {
		if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
			Walk(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		} else if (expression.GetExpressionClass() == ExpressionClass::COLUMN_REF) {
			auto &column = expression.Cast<ColumnRefExpression>();
			if (column.ColumnNames().size() >= 3 && Find(column.ColumnNames()[0])) {
				columns.push_back(column);
			}
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &child) { Walk(*child); });
	}

	optional_ptr<RemoteCatalog> Find(const Identifier &name) {
		auto catalog = Catalog::GetCatalogEntry(context, name);
		return catalog ? dynamic_cast<RemoteCatalog *>(catalog.get()) : nullptr;
	}

	bool IsDefault(RemoteCatalog &catalog) {
		return ClientData::Get(context).catalog_search_path->GetDefault().GetCatalog() == catalog.GetName();
	}

	//! Whether a table's own name is enough for each column that names its attachment, too.
	bool NamesAreClear() {
		if (apart) {
			return false;
		}
		for (auto &column : columns) {
			auto &path = column.get().ColumnNames();
			auto length = QualifierLength(path);
			if (length == 0 || std::count(names.begin(), names.end(), path[length]) != 1) {
				return false;
			}
		}
		for (auto &table : tables) {
			QualifiedName registered;
			auto &path = table.get().GetQualifiedName().Path();
			if (Find(path[0])->FindRegistered(path.back(), registered)) {
				return false;
			}
		}
		return true;
	}

	//! How many names come before that of the table: of `s.t.c` and `s.main.t.c`; 0 if there is no such table.
	idx_t QualifierLength(const vector<Identifier> &column) {
		for (auto &table : tables) {
			auto &path = table.get().GetQualifiedName().Path();
			if (!table.get().alias.empty() && table.get().alias != path.back()) {
				continue;
			}
			auto length = path.size() - 1;
			// `s.main.t` may be called `s.t`, and the other way round.
			for (idx_t names_before : {length, idx_t(1), idx_t(2)}) {
				if (column.size() > names_before + 1 && column[0] == path[0] && column[names_before] == path.back() &&
				    (names_before == 1 || column[1] == SchemaOf(path))) {
					return names_before;
				}
			}
		}
		return 0;
	}

	Identifier SchemaOf(const vector<Identifier> &path) {
		return path.size() == 3 ? path[1] : ClientData::Get(context).catalog_search_path->GetDefaultSchema(path[0]);
	}

	void Rename(BaseTableRef &table) {
		auto path = table.GetQualifiedName().Path();
		auto &catalog = *Find(path[0]);
		if (&catalog == lead.get()) {
			return;
		}
		if (table.alias.empty()) {
			table.alias = path.back();
		}
		auto database = RemoteTransaction::Get(context, catalog).GetSnapshot(context)->Database();
		table.SetQualifiedName(QualifiedName({lead->GetName(), database, SchemaOf(path)}, path.back()));
	}

	ClientContext &context;
	optional_ptr<RemoteCatalog> lead;
	//! Several attachments, and not all of one driver.
	bool several = false;
	bool apart = false;
	vector<reference<BaseTableRef>> tables;
	vector<reference<ColumnRefExpression>> columns;
	//! By which columns may name what is read.
	vector<Identifier> names;
};

bool UniteDatabases(ClientContext &context, SQLStatement &statement) {
	switch (statement.type) {
	case StatementType::SELECT_STATEMENT:
		return DatabaseUniter(context).Unite(*statement.Cast<SelectStatement>().node);
	case StatementType::EXPLAIN_STATEMENT:
		return UniteDatabases(context, *statement.Cast<ExplainStatement>().stmt);
	default:
		return false;
	}
}

} // namespace duckherder
