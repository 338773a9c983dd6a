#include "written_names.hpp"

#include "connection_state.hpp"

#include "duckdb/common/string_util.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

//! What count(*) is to DuckDB.
static const Identifier COUNT_STAR("count_star");

WrittenNames::WrittenNames(ClientContext &context, const RemoteCatalog &catalog)
    : context(context), catalog(catalog), text(ConnectionState::Get(context)->BoundText(context)),
      executes(StringUtil::Contains(StringUtil::Lower(text), "execute")) {
}

optional<Identifier> WrittenNames::FirstName(const QueryLocation &location) {
	if (!location.IsValid()) {
		return {};
	}
	if (!qualified) {
		qualified = QualifiedNames(context);
	}
	auto found = qualified->find({location.offset, location.length});
	return found == qualified->end() ? optional<Identifier>() : optional<Identifier>(found->second);
}

bool WrittenNames::IsQualified(const QueryLocation &location) {
	return static_cast<bool>(FirstName(location));
}

bool WrittenNames::IsCalledBy(const Identifier &name, const QueryLocation &location,
                              const std::function<bool(const optional<Identifier> &first)> &such) {
	auto here = location.IsValid() && location.offset < text.size() ? text.substr(location.offset, location.length) : "";
	if (executes || StringUtil::Contains(StringUtil::Lower(here), StringUtil::Lower(name.GetIdentifierName()))) {
		return such(FirstName(location));
	}
	if (name == COUNT_STAR && StringUtil::StartsWith(StringUtil::Lower(here), "count(")) {
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
