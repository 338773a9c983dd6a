#include "bridge.hpp"

#include "duckdb/common/exception.hpp"
#include "duckdb/common/string_util.hpp"

#include <cstdlib>

using duckdb::ErrorData;
using duckdb::Exception;
using duckdb::ExceptionType;
using duckdb::string;
using duckdb::StringUtil;

namespace duckherder {

static char *Duplicate(const string &text) {
	auto copy = static_cast<char *>(malloc(text.size() + 1));
	if (copy) {
		memcpy(copy, text.c_str(), text.size() + 1);
	}
	return copy;
}

//! What DuckDB puts between the message of an internal error and the calls that led there.
static const string TRACE_HEADING = "\n\nStack Trace:\n";

void SetError(DhError *error, const ErrorData &data) {
	// An error that no statement has met has its trace beside its message.
	auto told = data;
	told.FinalizeError();
	told.AddErrorLocation(string());
	auto message = told.RawMessage();
	auto heading = message.find(TRACE_HEADING);
	auto is_internal = data.Type() == ExceptionType::INTERNAL || data.Type() == ExceptionType::FATAL;
	if (is_internal && heading != string::npos) {
		error->trace = Duplicate(message.substr(heading + TRACE_HEADING.size()));
		message.resize(heading);
	}
	error->type = Duplicate(Exception::ExceptionTypeToString(data.Type()));
	error->message = Duplicate(message);
	auto details = data.ExtraInfo();
	// A place is one in this text, not in the user's.
	for (auto of_here : {"position", "location", "stack_trace", "stack_trace_pointers"}) {
		details.erase(of_here);
	}
	if (!details.empty()) {
		error->details = Duplicate(StringUtil::ToJSONMap(details));
	}
}

void ThrowIfError(DhError &error) {
	if (!error.type) {
		return;
	}
	auto type = Exception::StringToExceptionType(error.type);
	string message = error.message ? error.message : "out of memory";
	if (type == ExceptionType::FATAL || type == ExceptionType::INTERNAL) {
		// What broke is elsewhere: the database of whoever hears of it is sound.
		message = string(error.type) + " Error elsewhere: " + message;
		type = ExceptionType::IO;
	}
	duckdb::unordered_map<string, string> details;
	if (error.details) {
		details = StringUtil::ParseJSONMap(error.details, true);
	}
	dh_error_free(&error);
	throw Exception(details, type, message);
}

} // namespace duckherder

extern "C" void dh_error_free(DhError *error) {
	free(error->type);
	free(error->message);
	free(error->trace);
	free(error->details);
	*error = DhError {nullptr, nullptr};
}

//! An error made by Rust, in memory that C++ frees.
extern "C" void dh_error_set(DhError *error, DhText type, DhText message, DhText details) {
	error->type = duckherder::Duplicate(duckherder::ToString(type));
	error->message = duckherder::Duplicate(duckherder::ToString(message));
	if (details.length > 0) {
		error->details = duckherder::Duplicate(duckherder::ToString(details));
	}
}
