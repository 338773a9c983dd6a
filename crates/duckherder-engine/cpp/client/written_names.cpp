#include "written_names.hpp"

#include "connection_state.hpp"

#include "duckdb/common/string_util.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

//! What count(*) is to DuckDB.
static const Identifier COUNT_STAR("count_star");
static const string COUNT = "count(";

WrittenNames::WrittenNames(ClientContext &context, const RemoteCatalog &catalog, NamedPlaces part)
    : context(context), catalog(catalog), text(ConnectionState::Get(context)->BoundText(context)),
      executes(StringUtil::Contains(StringUtil::Lower(text), "execute")), part(std::move(part)) {
}

void WrittenNames::Parse() {
	if (places) {
		return;
	}
	places = WrittenPlaces(context);
	shift = ShiftOf(part, *places);
	for (auto &place : *places) {
		if (place.second.Path().size() > 1) {
			qualified.insert(place);
		}
	}
}

QueryLocation WrittenNames::InText(const QueryLocation &location) {
	if (!location.IsValid()) {
		return location;
	}
	Parse();
	return shift && location.offset >= *shift ? QueryLocation(location.offset - *shift, location.length)
	                                          : QueryLocation();
}

//! Whether the text has the name there, or another one and a dot.
static bool BeginsWith(const string &text, idx_t offset, const string &name) {
	offset += offset < text.size() && text[offset] == '"' ? 1 : 0;
	if (offset + name.size() <= text.size() && StringUtil::CIEquals(text.substr(offset, name.size()), name)) {
		return true;
	}
	auto end = offset;
	while (end < text.size() && (StringUtil::CharacterIsAlphaNumeric(text[end]) || text[end] == '_')) {
		end++;
	}
	end += end < text.size() && text[end] == '"' ? 1 : 0;
	return end > offset && end < text.size() && text[end] == '.';
}

bool WrittenNames::IsInPlace() {
	if (!is_in_place) {
		is_in_place = std::all_of(part.begin(), part.end(), [&](const auto &place) {
			return BeginsWith(text, place.first.first, place.second.Name().GetIdentifierName());
		});
	}
	return *is_in_place;
}

optional<Identifier> WrittenNames::FirstName(const QueryLocation &location) {
	auto place = InText(location);
	if (!place.IsValid()) {
		return {};
	}
	auto found = qualified.find({place.offset, place.length});
	return found == qualified.end() ? optional<Identifier>() : optional<Identifier>(found->second.Path()[0]);
}

bool WrittenNames::IsPlaceOf(const Identifier &name, const QueryLocation &location) {
	auto place = InText(location);
	auto here = place.IsValid() && place.offset < text.size() ? text.substr(place.offset, place.length) : "";
	return StringUtil::Contains(StringUtil::Lower(here), StringUtil::Lower(name.GetIdentifierName()));
}

bool WrittenNames::IsQualified(const Identifier &name, const QueryLocation &location) {
	if (!location.IsValid() || InText(location).IsValid()) {
		return static_cast<bool>(FirstName(location));
	}
	auto some = false, others = false;
	for (auto &place : *places) {
		auto is_it = place.second.Name() == name;
		some = some || (is_it && place.second.Path().size() > 1);
		others = others || (is_it && place.second.Path().size() == 1);
	}
	if (some && others) {
		throw BinderException("\"%s\" is named with and without more names: run the statement by itself",
		                      name.GetIdentifierName());
	}
	return some;
}

bool WrittenNames::IsOfCatalog(const Identifier &name, const QueryLocation &location) {
	auto is_known = !location.IsValid() || InText(location).IsValid();
	if ((executes && is_known) || IsPlaceOf(name, location)) {
		auto first = FirstName(location);
		return first && *first == catalog.GetName();
	}
	Parse();
	return std::any_of(qualified.begin(), qualified.end(), [&](const auto &entry) {
		return entry.second.Name() == name && entry.second.Path()[0] == catalog.GetName();
	});
}

bool WrittenNames::IsSubjectOfCatalog(const Identifier &name) const {
	auto subjects = WrittenSubjects(context);
	return std::any_of(subjects.begin(), subjects.end(), [&](const QualifiedName &subject) {
		return subject.Name() == name && subject.Path().size() > 1 && subject.Path()[0] == catalog.GetName();
	});
}

bool WrittenNames::IsCalledBy(const Identifier &name, const QueryLocation &location,
                              const std::function<bool(const optional<Identifier> &first)> &such) {
	auto place = InText(location);
	if ((executes && (place.IsValid() || !location.IsValid())) || IsPlaceOf(name, location)) {
		return such(FirstName(location));
	}
	if (name == COUNT_STAR && place.IsValid() && place.offset < text.size() &&
	    StringUtil::CIEquals(text.substr(place.offset, COUNT.size()), COUNT)) {
		return such({});
	}
	auto all = AreCalls(context, name, [&](const QualifiedName &call) {
		return such(call.Path().size() > 1 ? optional<Identifier>(call.Path()[0]) : optional<Identifier>());
	});
	if (!all) {
		throw BinderException("\"%s\" is called both as DuckDB's function and as one of \"%s\": run the statement by itself",
		                      name.GetIdentifierName(), catalog.GetName().GetIdentifierName());
	}
	return *all;
}

bool WrittenNames::IsCalledByMore(const Identifier &name, const QueryLocation &location) {
	return IsCalledBy(name, location, [](const optional<Identifier> &first) { return static_cast<bool>(first); });
}

bool WrittenNames::IsCalledByCatalog(const Identifier &name, const QueryLocation &location) {
	return IsCalledBy(name, location,
	                  [&](const optional<Identifier> &first) { return first && *first == catalog.GetName(); });
}

bool WrittenNames::IsWritten(const Identifier &name, const QueryLocation &location) {
	auto place = IsInPlace() ? location : InText(location);
	auto &word = name.GetIdentifierName();
	return place.IsValid() && !executes && place.offset + word.size() <= text.size() &&
	       StringUtil::CIEquals(text.substr(place.offset, word.size()), word);
}

} // namespace duckherder
