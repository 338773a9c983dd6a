#include "written_names.hpp"

#include "connection_state.hpp"
#include "spelling.hpp"

#include "duckdb/common/string_util.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

WrittenNames::WrittenNames(ClientContext &context, const RemoteCatalog &catalog, NamedPlaces part)
    : context(context), catalog(catalog), text(ConnectionState::Get(context)->BoundText(context)),
      executes(StringUtil::Contains(StringUtil::Lower(text), "execute")), part(std::move(part)) {
}

void WrittenNames::Parse() {
	if (places) {
		return;
	}
	places = WrittenPlaces(context);
	shift = shift ? shift : ShiftOf(part, *places);
	for (auto &place : *places) {
		if (place.second.Path().size() > 1) {
			qualified.insert(place);
		}
	}
}

void WrittenNames::Seek() {
	if (!is_sought) {
		is_sought = true;
		shift = ShiftInText(part, text);
	}
	if (!shift) {
		Parse();
	}
}

QueryLocation WrittenNames::InText(const QueryLocation &location) {
	if (!location.IsValid()) {
		return location;
	}
	Seek();
	return shift && location.offset >= *shift ? QueryLocation(location.offset - *shift, location.length)
	                                          : QueryLocation();
}

uint32_t WrittenNames::Shift() {
	if (executes || text.empty() || part.empty()) {
		return 0;
	}
	Seek();
	return shift ? *shift : 0;
}

optional<Identifier> WrittenNames::FirstName(const QueryLocation &location) {
	auto place = InText(location);
	if (!place.IsValid()) {
		return {};
	}
	if (!executes && IsOneNameAt(text, place.offset)) {
		return {};
	}
	Parse();
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
	Parse();
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
	auto place = InText(location);
	return place.IsValid() && !executes && IsSpelledAt(text, place.offset, name);
}

} // namespace duckherder
