// What a statement's text has at the places of its parts, seen without parsing it. Who does not see it here has to parse:
// nothing of this says that something is written otherwise.
#pragma once

#include "named_places.hpp"

#include "duckdb/parser/parsed_expression.hpp"

namespace duckherder {

//! How far the places in `part` are beyond those in the text: each name, or what DuckDB's parser makes it of, is found there.
//! Nothing if that is so at no shift, or at several. See ShiftOf.
duckdb::optional<uint32_t> ShiftInText(const NamedPlaces &part, const duckdb::string &text);
//! Whether the text has that name there, or what DuckDB's parser makes it of: "count(" of count_star.
bool IsSpelledAt(const duckdb::string &text, duckdb::idx_t offset, const duckdb::Identifier &name);
//! Whether the text has a name there that no other one follows.
bool IsOneNameAt(const duckdb::string &text, duckdb::idx_t offset);
//! Whether the expression is a literal that the text has at its place.
bool IsLiteralIn(const duckdb::string &text, uint32_t shift, const duckdb::ParsedExpression &expression);
//! Whether `value`, which is named after the operation, is that of two literals that the text has there.
bool IsOperationIn(const duckdb::string &text, uint32_t shift, const duckdb::ParsedExpression &value,
                   duckdb::ParsedExpression &operation);
//! Whether all that DuckDB may have written otherwise in an expression is in the text at its place.
bool IsWrittenIn(const duckdb::string &text, uint32_t shift, duckdb::ParsedExpression &expression);

} // namespace duckherder
