// Where in the user's statement an error is, if DuckDB says where it is in the text that ran for it. For src/error.rs.
#include "bridge.hpp"
#include "parts_of.hpp"
#include "query_of.hpp"

#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/query_error_context.hpp"
#include "duckdb/parser/statement/select_statement.hpp"

using namespace duckdb; // NOLINT
using duckherder::Guard;
using duckherder::ToString;
using duckherder::ToText;

namespace duckherder {

//! A part of a statement, and where it is in the text.
struct Place {
	//! Parts of two texts of one statement are of the same kind.
	int kind;
	QueryLocation location;
};

class PlaceFinder {
public:
	vector<Place> places;

	void Visit(QueryNode &node) {
		ParsedExpressionIterator::EnumerateQueryNodeChildren(
		    node, [&](unique_ptr<ParsedExpression> &child) { Visit(*child); },
		    [&](TableRef &ref) { places.push_back({TABLES - static_cast<int>(ref.type), ref.query_location}); });
	}

	void Visit(ParsedExpression &expression) {
		places.push_back({static_cast<int>(expression.GetExpressionType()), expression.GetQueryLocation()});
		if (expression.GetExpressionClass() == ExpressionClass::SUBQUERY) {
			Visit(*expression.Cast<SubqueryExpression>().SubqueryMutable()->node);
		} else if (expression.GetExpressionClass() == ExpressionClass::CAST) {
			Visit(expression.Cast<CastExpression>().TargetTypeMutable());
		}
		ParsedExpressionIterator::EnumerateChildren(expression,
		                                            [&](unique_ptr<ParsedExpression> &child) { Visit(*child); });
	}

private:
	static constexpr int TABLES = -1;
};

//! The parts of the only statement in a text that may be wrong by themselves.
static vector<Place> PlacesIn(const string &sql) {
	auto parser = Parser::GetBuiltinParser();
	parser.ParseQuery(sql);
	PlaceFinder finder;
	if (parser.statements.size() != 1) {
		return {};
	}
	if (auto query = QueryOf(*parser.statements[0])) {
		finder.Visit(*query);
	}
	ForEachPartOf(
	    *parser.statements[0], [&](ParsedExpression &part) { finder.Visit(part); },
	    [&](QueryNode &query) { finder.Visit(query); });
	return std::move(finder.places);
}

static bool AreAlike(const vector<Place> &some, const vector<Place> &others) {
	return std::equal(some.begin(), some.end(), others.begin(), others.end(),
	                  [](const Place &a, const Place &b) { return a.kind == b.kind; });
}

static string PointTo(const string &message, const string &sql, const QueryLocation &location) {
	return QueryErrorContext::Format(sql, message, location.offset, location.length);
}

} // namespace duckherder

extern "C" {

//! `message` with a pointer into `user_sql`, if `pointing`, the same message, points into `sql`, and the two are one
//! statement, part by part; nothing otherwise.
bool dh_error_place(DhText message, DhText pointing, DhText sql, DhText user_sql, DhTextSink sink, void *target,
                    DhError *error) {
	return Guard(error, false, [&]() {
		auto plain = ToString(message), found = ToString(pointing), ran = ToString(sql), written = ToString(user_sql);
		auto there = duckherder::PlacesIn(ran), here = duckherder::PlacesIn(written);
		if (!duckherder::AreAlike(there, here)) {
			return true;
		}
		for (idx_t i = 0; i < there.size(); i++) {
			if (there[i].location.IsValid() && here[i].location.IsValid() &&
			    duckherder::PointTo(plain, ran, there[i].location) == found) {
				sink(target, ToText(duckherder::PointTo(plain, written, here[i].location)));
				return true;
			}
		}
		return true;
	});
}

} // extern "C"
