#include "clients_entries.hpp"

#include "duckdb/catalog/catalog.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/function/scalar_macro_function.hpp"
#include "duckdb/function/table_macro_function.hpp"
#include "duckdb/parser/expression/columnref_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_view_info.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/statement/create_statement.hpp"
#include "duckdb/parser/statement/select_statement.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"
#include "duckdb/parser/tableref/showref.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! Words of which one is in the text of whatever tells of the session.
static const char *const TELLING_WORDS[] = {
    "duckdb_", "pragma_", "information_schema", "pg_",            "sqlite_", "current_database",
    "show",    "current_schema", "current_catalog", "in_search_path"};

static bool MayTell(const string &sql) {
	auto text = StringUtil::Lower(sql);
	return std::any_of(std::begin(TELLING_WORDS), std::end(TELLING_WORDS),
	                   [&](const char *word) { return StringUtil::Contains(text, word); });
}

class SessionTeller {
public:
	//! Without a snapshot, nothing tells but what is known to.
	explicit SessionTeller(const identifier_set_t &known, optional_ptr<const Snapshot> snapshot = nullptr)
	    : known(known), snapshot(snapshot), only_known(!snapshot) {
	}

	bool Tells(QueryNode &node) {
		Look(node);
		return found;
	}
	bool Tells(ParsedExpression &expression) {
		Look(expression);
		return found;
	}

private:
	static bool IsOfSession(const Identifier &function) {
		static const identifier_set_t FUNCTIONS {
		    Identifier("current_database"), Identifier("current_schema"), Identifier("current_schemas"),
		    Identifier("current_catalog"),  Identifier("in_search_path")};
		auto name = StringUtil::Lower(function.GetIdentifierName());
		return FUNCTIONS.count(function) > 0 || StringUtil::StartsWith(name, "duckdb_") ||
		       StringUtil::StartsWith(name, "pragma_");
	}

	bool ListsCatalog(const QualifiedName &table) const {
		auto name = StringUtil::Lower(table.Name().GetIdentifierName());
		auto may_list = table.Schema() == "information_schema" || table.Schema() == "pg_catalog" ||
		                StringUtil::StartsWith(name, "duckdb_") || StringUtil::StartsWith(name, "sqlite_") ||
		                StringUtil::StartsWith(name, "pg_");
		// Tables of the driver may be called so, too.
		return may_list && !snapshot->HasTable(table.Name());
	}

	void Look(QueryNode &node) {
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Look(*child); }, [&](TableRef &ref) { Look(ref); });
	}

	void Look(TableRef &ref) {
		if (ref.type == TableReferenceType::BASE_TABLE) {
			auto &name = ref.Cast<BaseTableRef>().GetQualifiedName();
			found = found || known.count(name.Name()) > 0 || (!only_known && ListsCatalog(name));
		} else if (ref.type == TableReferenceType::SHOW_REF) {
			auto &show = ref.Cast<ShowRef>();
			auto described = show.show_type == ShowType::DESCRIBE || show.show_type == ShowType::SUMMARY;
			found = found || !described || known.count(show.qualified_name.Name()) > 0;
			if (show.query) {
				Look(*show.query);
			}
		}
	}

	void Look(ParsedExpression &expression) {
		switch (expression.GetExpressionClass()) {
		case ExpressionClass::FUNCTION: {
			auto &function = expression.Cast<FunctionExpression>().FunctionName();
			found = found || known.count(function) > 0 || (!only_known && IsOfSession(function));
			break;
		}
		case ExpressionClass::COLUMN_REF: {
			auto &names = expression.Cast<ColumnRefExpression>().ColumnNames();
			found = found || (!only_known && names.size() == 1 && IsOfSession(names[0]));
			break;
		}
		case ExpressionClass::SUBQUERY:
			Look(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
			break;
		default:
			break;
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &child) { Look(*child); });
	}

	const identifier_set_t &known;
	const optional_ptr<const Snapshot> snapshot;
	const bool only_known;
	bool found = false;
};

bool ReadsEntry(QueryNode &node, const identifier_set_t &entries) {
	return !entries.empty() && SessionTeller(entries).Tells(node);
}

static bool Tells(CreateInfo &info, const identifier_set_t &known, optional_ptr<const Snapshot> snapshot) {
	SessionTeller teller(known, snapshot);
	if (info.type == CatalogType::VIEW_ENTRY) {
		auto &view = info.Cast<CreateViewInfo>();
		return view.query && teller.Tells(*view.query->node);
	}
	if (info.type != CatalogType::MACRO_ENTRY && info.type != CatalogType::TABLE_MACRO_ENTRY) {
		return false;
	}
	auto &macros = info.Cast<CreateMacroInfo>().macros;
	return std::any_of(macros.begin(), macros.end(), [&](const unique_ptr<MacroFunction> &macro) {
		return macro->type == MacroType::SCALAR_MACRO ? teller.Tells(*macro->Cast<ScalarMacroFunction>().expression)
		                                              : teller.Tells(*macro->Cast<TableMacroFunction>().query_node);
	});
}

static bool Tells(ClientContext &context, const string &sql, const identifier_set_t &known,
                  optional_ptr<const Snapshot> snapshot) {
	Parser parser(context);
	try {
		parser.ParseQuery(sql);
	} catch (const std::exception &) {
		// Whoever reads the entry hears of it.
		return false;
	}
	return parser.statements.size() == 1 && parser.statements[0]->type == StatementType::CREATE_STATEMENT &&
	       Tells(*parser.statements[0]->Cast<CreateStatement>().info, known, snapshot);
}

bool IsUnbound(const EntryDescription &entry) {
	return entry.kind == EntryKind::VIEW && entry.columns.size() == 1 && entry.columns[0].type_name.empty();
}

identifier_set_t FindClientsEntries(ClientContext &context, const Snapshot &snapshot) {
	auto entries = snapshot.Definitions();
	identifier_set_t found;
	for (auto &entry : entries) {
		if (IsUnbound(entry.get())) {
			found.insert(entry.get().name);
		}
	}
	auto names_found = [&](const string &sql) {
		auto text = StringUtil::Lower(sql);
		return std::any_of(found.begin(), found.end(), [&](const Identifier &name) {
			return StringUtil::Contains(text, StringUtil::Lower(name.GetIdentifierName()));
		});
	};
	// Until nothing new reads what was found. Few texts are parsed at all.
	for (auto before = optional_idx(); !before.IsValid() || before.GetIndex() != found.size();) {
		before = found.size();
		for (auto &entry : entries) {
			auto &description = entry.get();
			if (found.count(description.name) > 0) {
				continue;
			}
			auto looked_at = MayTell(description.sql) || names_found(description.sql);
			if (looked_at && Tells(context, description.sql, found, snapshot)) {
				found.insert(description.name);
			}
		}
	}
	return found;
}

} // namespace duckherder
