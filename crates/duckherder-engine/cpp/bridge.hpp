// What crosses between Rust and C++: plain structs, and the guard that turns every exception into a value.
// Mirrored in src/ffi.rs; a change here is a change there.
#pragma once

#include "duckdb/common/error_data.hpp"
#include "duckdb/common/string.hpp"

#include <cstdint>
#include <cstring>
#include <functional>

extern "C" {
struct ArrowSchema;
struct ArrowArray;

//! A borrowed UTF-8 text, not NUL-terminated.
struct DhText {
	const char *data;
	size_t length;
};

//! An error on its way to Rust; the texts are malloc'ed and freed with dh_error_free. `type` null means no error.
struct DhError {
	char *type;
	char *message;
	//! Of an internal error of DuckDB's, the calls that led to it; null for others.
	char *trace = nullptr;
	//! What DuckDB says beside the message (subtype, name, candidates), as a JSON object of texts; null if nothing.
	char *details = nullptr;
};

//! Hands one text to Rust; the text is borrowed for the duration of the call.
typedef void (*DhTextSink)(void *sink, DhText text);

void dh_error_free(DhError *error);
}

namespace duckherder {

inline duckdb::string ToString(DhText text) {
	return duckdb::string(text.data, text.length);
}

inline DhText ToText(const duckdb::string &text) {
	return DhText {text.data(), text.size()};
}

//! Writes an error for Rust.
void SetError(DhError *error, const duckdb::ErrorData &data);
//! Raises the DuckDB exception that `error` describes and frees it; does nothing if there is none.
void ThrowIfError(DhError &error);

//! Runs `body`; an exception becomes `*error` and `fallback` the result. No exception leaves C++ towards Rust.
template <class RESULT, class BODY>
RESULT Guard(DhError *error, RESULT fallback, BODY &&body) {
	try {
		return body();
	} catch (const std::exception &exception) {
		SetError(error, duckdb::ErrorData(exception));
	} catch (...) {
		SetError(error, duckdb::ErrorData("unknown exception"));
	}
	return fallback;
}

} // namespace duckherder
