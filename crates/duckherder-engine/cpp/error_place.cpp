// Where in the user's statement an error is, if DuckDB says where it is in the text that ran for it. For src/error.rs.
#include "bridge.hpp"
#include "parts_of.hpp"
#include "query_of.hpp"

#include "duckdb/common/exception.hpp"
#include "duckdb/common/string_util.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/subquery_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"
#include "duckdb/parser/parser.hpp"
#include "duckdb/parser/query_error_context.hpp"
#include "duckdb/parser/statement/prepare_statement.hpp"
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
	auto prepares = parser.statements[0]->type == StatementType::PREPARE_STATEMENT;
	auto &statement = prepares ? *parser.statements[0]->Cast<PrepareStatement>().statement : *parser.statements[0];
	if (auto query = QueryOf(statement)) {
		finder.Visit(*query);
	}
	ForEachPartOf(
	    statement, [&](ParsedExpression &part) { finder.Visit(part); },
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

//! A longer line is not searched for a place.
static constexpr idx_t LONGEST_LINE = 8192;

//! Where in the text a message points that ends in `pointing`; an invalid location if that is not found.
static QueryLocation PlaceIn(const string &sql, const string &message, const string &pointing) {
	for (auto &place : PlacesIn(sql)) {
		if (place.location.IsValid() && PointTo(message, sql, place.location) == pointing) {
			return place.location;
		}
	}
	// What is no part by itself, or can't be parsed.
	auto length = pointing.size() - (pointing.find_last_not_of('^') + 1);
	auto line = pointing.find("\n\nLINE ", message.size());
	if (length == 0 || line == string::npos) {
		return QueryLocation();
	}
	auto number = std::strtoull(pointing.c_str() + line + strlen("\n\nLINE "), nullptr, 10);
	idx_t begin = 0;
	for (; number > 1 && begin < sql.size(); begin++) {
		number -= sql[begin] == '\n' ? 1 : 0;
	}
	auto end = MinValue(sql.find('\n', begin), sql.size());
	for (auto offset = begin; end - begin <= LONGEST_LINE && offset < end; offset++) {
		QueryLocation location(NumericCast<uint32_t>(offset), NumericCast<uint32_t>(length));
		if (PointTo(message, sql, location) == pointing) {
			return location;
		}
	}
	return QueryLocation();
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

//! `details` of an error with its place in `sql`, and `shift` bytes further on, if `pointing`, the same message as
//! `message`, points into that; nothing otherwise.
bool dh_error_position(DhText message, DhText pointing, DhText details, DhText sql, uint32_t shift, DhTextSink sink,
                       void *target, DhError *error) {
	return Guard(error, false, [&]() {
		auto location = duckherder::PlaceIn(ToString(sql), ToString(message), ToString(pointing));
		if (location.IsValid()) {
			unordered_map<string, string> placed;
			if (details.length > 0) {
				placed = StringUtil::ParseJSONMap(ToString(details), true);
			}
			location.offset += shift;
			Exception::SetQueryLocation(location, placed);
			sink(target, ToText(StringUtil::ToJSONMap(placed)));
		}
		return true;
	});
}

} // extern "C"
