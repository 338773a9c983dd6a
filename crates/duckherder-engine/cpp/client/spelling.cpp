#include "spelling.hpp"

#include "duckdb/common/string_util.hpp"
#include "duckdb/parser/expression/cast_expression.hpp"
#include "duckdb/parser/expression/function_expression.hpp"
#include "duckdb/parser/expression/type_expression.hpp"
#include "duckdb/parser/expression/window_expression.hpp"
#include "duckdb/parser/parsed_expression_iterator.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

//! Functions that are called without their names, and how the text begins there.
static const std::pair<const char *, const char *> SPELLINGS[] = {
    {"count_star", "count("},  {"date_part", "extract("}, {"list_value", "["},      {"struct_pack", "{"},
    {"to_years", "interval"},  {"to_months", "interval"}, {"to_weeks", "interval"}, {"to_days", "interval"},
    {"to_hours", "interval"},  {"to_minutes", "interval"}, {"to_seconds", "interval"},
};

static bool IsOfName(char letter) {
	return StringUtil::CharacterIsAlphaNumeric(letter) || letter == '_' || (letter & 0x80) != 0;
}

//! Where the name that the text has there ends; `offset` if there is none, or one in quotes.
static idx_t EndOfName(const string &text, idx_t offset) {
	while (offset < text.size() && IsOfName(text[offset])) {
		offset++;
	}
	return offset;
}

static bool HasAt(const string &text, idx_t offset, const string &word) {
	return offset <= text.size() && text.size() - offset >= word.size() &&
	       StringUtil::CIEquals(text.data() + offset, word.size(), word.data(), word.size());
}

bool IsSpelledAt(const string &text, idx_t offset, const Identifier &name) {
	auto &word = name.GetIdentifierName();
	if (HasAt(text, offset, word) && EndOfName(text, offset) == offset + word.size()) {
		return true;
	}
	return std::any_of(std::begin(SPELLINGS), std::end(SPELLINGS), [&](const auto &spelling) {
		return name == Identifier(spelling.first) && HasAt(text, offset, spelling.second);
	});
}

bool IsOneNameAt(const string &text, idx_t offset) {
	auto end = EndOfName(text, offset);
	if (end == offset) {
		return false;
	}
	auto next = std::find_if(text.begin() + static_cast<int64_t>(end), text.end(),
	                         [](char letter) { return !StringUtil::CharacterIsSpace(letter); });
	// Behind a comment there may be a dot.
	return next == text.end() || (*next != '.' && *next != '/' && *next != '-');
}

//! Whether the text has one or several names there, the last of which is `name`.
static bool IsNamedAt(const string &text, idx_t offset, const Identifier &name) {
	if (offset > 0 && offset < text.size() && IsOfName(text[offset]) && IsOfName(text[offset - 1])) {
		return false;
	}
	if (IsSpelledAt(text, offset, name)) {
		return EndOfName(text, offset) >= text.size() || text[EndOfName(text, offset)] != '.';
	}
	string last;
	while (offset < text.size()) {
		auto quoted = text[offset] == '"';
		auto begin = offset + (quoted ? 1 : 0);
		auto end = quoted ? MinValue<idx_t>(text.find('"', begin), text.size()) : EndOfName(text, begin);
		last = text.substr(begin, end - begin);
		offset = end + (quoted ? 1 : 0);
		if (last.empty() || offset >= text.size() || text[offset] != '.') {
			break;
		}
		offset++;
	}
	return StringUtil::CIEquals(last, name.GetIdentifierName());
}

optional<uint32_t> ShiftInText(const NamedPlaces &part, const string &text) {
	// Operators are not named where they begin. Places in an EXECUTE are those of what was prepared.
	NamedPlaces named;
	std::copy_if(part.begin(), part.end(), std::back_inserter(named),
	             [](const auto &place) { return IsWord(place.second.Name()); });
	if (named.empty() || StringUtil::Contains(StringUtil::Lower(text), "execute")) {
		return {};
	}
	auto longest = std::max_element(named.begin(), named.end(), [](const auto &a, const auto &b) {
		return a.second.Name().GetIdentifierName().size() < b.second.Name().GetIdentifierName().size();
	});
	// Wherever that is named, if all others are where they were with it.
	optional<uint32_t> found;
	for (idx_t offset = 0; offset < text.size() && offset <= longest->first.first; offset++) {
		if (!IsNamedAt(text, offset, longest->second.Name())) {
			continue;
		}
		auto shift = longest->first.first - offset;
		auto fits = std::all_of(named.begin(), named.end(), [&](const auto &place) {
			return place.first.first >= shift && IsNamedAt(text, place.first.first - shift, place.second.Name());
		});
		if (fits && found) {
			return {};
		}
		found = fits ? optional<uint32_t>(NumericCast<uint32_t>(shift)) : found;
	}
	return found;
}

//! What the text has at the expression's place.
static string TextOf(const string &text, uint32_t shift, const ParsedExpression &expression) {
	auto location = expression.GetQueryLocation();
	if (!location.IsValid() || location.offset < shift || location.offset - shift > text.size()) {
		return string();
	}
	return text.substr(location.offset - shift, location.length);
}

static bool IsNameIn(const string &text, uint32_t shift, const ParsedExpression &expression, const QualifiedName &name) {
	auto location = expression.GetQueryLocation();
	return location.IsValid() && location.offset >= shift && name.Path().size() == 1 &&
	       IsSpelledAt(text, location.offset - shift, name.Name());
}

bool IsLiteralIn(const string &text, uint32_t shift, const ParsedExpression &expression) {
	if (expression.GetExpressionClass() != ExpressionClass::CONSTANT) {
		return false;
	}
	auto unnamed = expression.Copy();
	unnamed->ClearAlias();
	return TextOf(text, shift, expression) == unnamed->ToString();
}

static bool EndsAt(const string &text, idx_t end, const string &word) {
	auto begin = end - MinValue<idx_t>(word.size(), end);
	return text.compare(begin, end - begin, word) == 0 &&
	       (begin == 0 || (!IsOfName(text[begin - 1]) && text[begin - 1] != '.'));
}

static bool BeginsAt(const string &text, idx_t begin, const string &word) {
	auto end = begin + word.size();
	return text.compare(begin, word.size(), word) == 0 &&
	       (end >= text.size() || (!IsOfName(text[end]) && text[end] != '.'));
}

bool IsOperationIn(const string &text, uint32_t shift, const ParsedExpression &value, ParsedExpression &operation) {
	auto location = value.GetQueryLocation();
	if (!location.IsValid() || location.offset < shift || operation.ToString() != value.GetAlias().GetIdentifierName() ||
	    operation.GetExpressionClass() != ExpressionClass::FUNCTION) {
		return false;
	}
	vector<string> literals;
	ParsedExpressionIterator::EnumerateChildren(operation, [&](unique_ptr<ParsedExpression> &part) {
		literals.push_back(part->GetExpressionClass() == ExpressionClass::CONSTANT ? part->ToString() : string());
	});
	auto &call = operation.Cast<FunctionExpression>();
	auto &sign = call.FunctionName().GetIdentifierName();
	idx_t end = location.offset - shift, begin = end + sign.size();
	if (!call.IsOperator() || literals.size() != 2 || literals[0].empty() || literals[1].empty() ||
	    !HasAt(text, end, sign)) {
		return false;
	}
	while (end > 0 && StringUtil::CharacterIsSpace(text[end - 1])) {
		end--;
	}
	while (begin < text.size() && StringUtil::CharacterIsSpace(text[begin])) {
		begin++;
	}
	return EndsAt(text, end, literals[0]) && BeginsAt(text, begin, literals[1]);
}

bool IsWrittenIn(const string &text, uint32_t shift, ParsedExpression &expression) {
	auto is_written = false;
	switch (expression.GetExpressionClass()) {
	case ExpressionClass::CONSTANT:
		return IsLiteralIn(text, shift, expression);
	case ExpressionClass::COLUMN_REF:
		return StringUtil::CIEquals(TextOf(text, shift, expression), expression.ToString());
	case ExpressionClass::TYPE:
		is_written = IsNameIn(text, shift, expression, expression.Cast<TypeExpression>().GetQualifiedName());
		break;
	case ExpressionClass::FUNCTION: {
		auto &call = expression.Cast<FunctionExpression>();
		is_written = call.IsOperator() || IsNameIn(text, shift, call, call.GetQualifiedName());
		break;
	}
	case ExpressionClass::WINDOW:
		is_written = IsNameIn(text, shift, expression, expression.Cast<WindowExpression>().GetQualifiedName());
		break;
	case ExpressionClass::CAST:
		is_written = IsWrittenIn(text, shift, expression.Cast<CastExpression>().TargetTypeMutable());
		break;
	case ExpressionClass::BETWEEN:
	case ExpressionClass::CASE:
	case ExpressionClass::COMPARISON:
	case ExpressionClass::CONJUNCTION:
	case ExpressionClass::OPERATOR:
		is_written = true;
		break;
	default:
		return false;
	}
	ParsedExpressionIterator::EnumerateChildren(expression, [&](unique_ptr<ParsedExpression> &part) {
		is_written = is_written && IsWrittenIn(text, shift, *part);
	});
	return is_written;
}

} // namespace duckherder
