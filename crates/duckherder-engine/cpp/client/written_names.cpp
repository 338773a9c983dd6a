#include "written_names.hpp"

#include "connection_state.hpp"

#include "duckdb/common/string_util.hpp"

using namespace duckdb; // NOLINT

namespace duckherder {

WrittenNames::WrittenNames(ClientContext &context, const RemoteCatalog &catalog)
    : context(context), catalog(catalog), text(ConnectionState::Get(context)->BoundText(context)),
      executes(StringUtil::Contains(StringUtil::Lower(text), "execute")) {
}

bool WrittenNames::IsQualified(const QueryLocation &location) {
	if (!location.IsValid()) {
		return false;
	}
	if (!qualified) {
		qualified = QualifiedNames(context);
	}
	return qualified->count({location.offset, location.length}) > 0;
}

bool WrittenNames::IsCalledByMore(const Identifier &name, const QueryLocation &location) {
	auto here = location.IsValid() && location.offset < text.size() ? text.substr(location.offset, location.length) : "";
	if (executes || StringUtil::Contains(StringUtil::Lower(here), StringUtil::Lower(name.GetIdentifierName()))) {
		return IsQualified(location);
	}
	auto called_by_more = AreCallsQualified(context, name);
	if (!called_by_more) {
		throw BinderException("\"%s\" is called both as DuckDB's function and as one of \"%s\": run the statement by itself",
		                      name.GetIdentifierName(), catalog.GetName().GetIdentifierName());
	}
	return *called_by_more;
}

bool WrittenNames::IsWritten(const Identifier &name, const QueryLocation &location) const {
	auto &word = name.GetIdentifierName();
	return location.IsValid() && !executes && location.offset + word.size() <= text.size() &&
	       StringUtil::CIEquals(text.substr(location.offset, word.size()), word);
}

} // namespace duckherder
