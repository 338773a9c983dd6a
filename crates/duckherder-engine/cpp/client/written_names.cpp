#include "written_names.hpp"

#include "connection_state.hpp"

#include "duckdb/common/string_util.hpp"

#include <algorithm>

using namespace duckdb; // NOLINT

namespace duckherder {

//! What count(*) is to DuckDB.
static const Identifier COUNT_STAR("count_star");
static const string COUNT = "count(";

WrittenNames::WrittenNames(ClientContext &context, const RemoteCatalog &catalog)
    : context(context), catalog(catalog), text(ConnectionState::Get(context)->BoundText(context)),
      executes(StringUtil::Contains(StringUtil::Lower(text), "execute")) {
}

void WrittenNames::Parse() {
	if (!qualified) {
		qualified = QualifiedNames(context);
	}
}

optional<Identifier> WrittenNames::FirstName(const QueryLocation &location) {
	if (!location.IsValid()) {
		return {};
	}
	Parse();
	auto found = qualified->find({location.offset, location.length});
	return found == qualified->end() ? optional<Identifier>() : optional<Identifier>(found->second.Path()[0]);
}

bool WrittenNames::IsPlaceOf(const Identifier &name, const QueryLocation &location) const {
	auto here = location.IsValid() && location.offset < text.size() ? text.substr(location.offset, location.length) : "";
	return StringUtil::Contains(StringUtil::Lower(here), StringUtil::Lower(name.GetIdentifierName()));
}

bool WrittenNames::IsQualified(const QueryLocation &location) {
	return static_cast<bool>(FirstName(location));
}

bool WrittenNames::IsOfCatalog(const Identifier &name, const QueryLocation &location) {
	if (executes || IsPlaceOf(name, location)) {
		auto first = FirstName(location);
		return first && *first == catalog.GetName();
	}
	Parse();
	return std::any_of(qualified->begin(), qualified->end(), [&](const auto &entry) {
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
	if (executes || IsPlaceOf(name, location)) {
		return such(FirstName(location));
	}
	if (name == COUNT_STAR && location.IsValid() && location.offset < text.size() &&
	    StringUtil::CIEquals(text.substr(location.offset, COUNT.size()), COUNT)) {
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

bool WrittenNames::IsWritten(const Identifier &name, const QueryLocation &location) const {
	auto &word = name.GetIdentifierName();
	return location.IsValid() && !executes && location.offset + word.size() <= text.size() &&
	       StringUtil::CIEquals(text.substr(location.offset, word.size()), word);
}

} // namespace duckherder
