#include "views_of_files.hpp"

#include "query_of.hpp"

#include "duckdb/common/string_util.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/tableref/basetableref.hpp"

#include <set>

using namespace duckdb; // NOLINT

namespace duckherder {

class FileFinder {
public:
	FileFinder(ClientContext &context, Snapshot &snapshot) : context(context), snapshot(snapshot) {
	}

	bool Opens(const EntryDescription &view) {
		if (!looked_at.insert(&view).second) {
			return false;
		}
		Parser parser(context);
		parser.ParseQuery(view.sql);
		auto query = parser.statements.size() == 1 ? QueryOf(*parser.statements[0]) : nullptr;
		return query && Opens(*query);
	}

private:
	bool Opens(QueryNode &query) {
		auto opens = false;
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    query, [&](unique_ptr<ParsedExpression> &) {},
		    [&](TableRef &ref) {
			    opens = opens || ref.type == TableReferenceType::TABLE_FUNCTION ||
			            (ref.type == TableReferenceType::BASE_TABLE && Opens(ref.Cast<BaseTableRef>().Table()));
		    });
		return opens;
	}

	//! Of views, any of that name: which one is meant is the driver's to know.
	bool Opens(const Identifier &table) {
		if (StringUtil::Contains(table.GetIdentifierName(), ".")) {
			return true;
		}
		vector<reference<const EntryDescription>> views;
		for (auto &entry : snapshot.Definitions()) {
			if (entry.get().kind == EntryKind::VIEW && entry.get().name == table) {
				views.push_back(entry);
			}
		}
		return std::any_of(views.begin(), views.end(), [&](const EntryDescription &view) { return Opens(view); });
	}

	ClientContext &context;
	Snapshot &snapshot;
	std::set<const EntryDescription *> looked_at;
};

bool OpensFiles(ClientContext &context, Snapshot &snapshot, const EntryDescription &view) {
	return FileFinder(context, snapshot).Opens(view);
}

} // namespace duckherder
