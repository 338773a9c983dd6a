#include "cte_names.hpp"

#include "duckdb/common/string_util.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/tableref/subqueryref.hpp"
#include "searched_names.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

void CTENames::Collect(const QueryNode &node) {
	for (auto &entry : node.cte_map.map) {
		names.insert(entry.first);
		if (entry.second->query_node) {
			Collect(*entry.second->query_node);
		}
	}
}

void CTENames::CollectWithUnread(QueryNode &node) {
	auto add = [&](const QueryNode &query) {
		Collect(query);
		FindUnread(query);
	};
	add(node);
	// What is in a subquery is visited before it.
	ParsedExpressionIterator::EnumerateQueryNodeChildren(
	    node, [](unique_ptr<ParsedExpression> &) {},
	    [&](TableRef &ref) {
		    if (ref.type == TableReferenceType::SUBQUERY) {
			    add(*ref.Cast<SubqueryRef>().subquery->node);
		    }
	    });
}

static bool IsPartOfWord(char c) {
	return StringUtil::CharacterIsAlphaNumeric(c) || c == '_' || static_cast<unsigned char>(c) > 127;
}

//! Whether the text has that word somewhere, be it a name or a part of a text.
static bool Mentions(const string &text, const string &word) {
	for (auto found = text.find(word); found != string::npos; found = text.find(word, found + 1)) {
		auto end = found + word.size();
		if ((found == 0 || !IsPartOfWord(text[found - 1])) && (end == text.size() || !IsPartOfWord(text[end]))) {
			return true;
		}
	}
	return false;
}

//! Whether a CTE may do more than give rows: it is run then, whoever reads it.
static bool MayChange(const QueryNode &node) {
	auto text = StringUtil::Lower(node.ToString());
	static const char *const WORDS[] = {"insert", "update", "delete", "truncate", "merge", "copy"};
	return std::any_of(std::begin(WORDS), std::end(WORDS), [&](const char *word) { return Mentions(text, word); });
}

//! Whether anything in the query, but the CTE itself, may read the CTE: where its name is, be it that of a column.
static bool MayBeRead(const QueryNode &query, const Identifier &cte) {
	auto rest = query.Copy();
	auto found = rest->cte_map.map.find(cte);
	if (!IsWord(cte) || found == rest->cte_map.map.end()) {
		return true;
	}
	rest->cte_map.map.erase(found);
	return Mentions(StringUtil::Lower(rest->ToString()), StringUtil::Lower(cte.GetIdentifierName()));
}

void CTENames::FindUnread(const QueryNode &node) {
	if (node.cte_map.map.empty()) {
		return;
	}
	auto read = node.Copy();
	// What only unread ones read is unread: each is looked for anew once another one is gone.
	for (auto again = true; again;) {
		again = false;
		for (auto &entry : node.cte_map.map) {
			auto left = read->cte_map.map.find(entry.first);
			auto &query = entry.second->query_node;
			if (left == read->cte_map.map.end() || !query || MayChange(*query) || MayBeRead(*read, entry.first)) {
				continue;
			}
			NoteUnread(*query);
			read->cte_map.map.erase(left);
			again = true;
		}
	}
}

void CTENames::NoteUnread(QueryNode &node) {
	ParsedExpressionIterator::EnumerateQueryNodeChildren(
	    node, [&](unique_ptr<ParsedExpression> &child) { NoteUnread(*child); },
	    [&](TableRef &ref) { unread.insert(&ref); });
}

void CTENames::NoteUnread(ParsedExpression &expression) {
	unread.insert(&expression);
	if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
		NoteUnread(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
	}
	ParsedExpressionIterator::EnumerateChildren(expression,
	                                            [&](unique_ptr<ParsedExpression> &child) { NoteUnread(*child); });
}

} // namespace duckherder
