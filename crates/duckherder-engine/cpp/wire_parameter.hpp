// Parameters as they travel: a literal has a type of its own.
#pragma once

#include "duckdb/planner/expression/bound_parameter_data.hpp"

namespace duckherder {

//! What tells in `duckdb.type` how DuckDB binds a parameter: 1 of `EXECUTE q(1)` is a literal, which fits what is beside
//! it, 1::INTEGER is not.
duckdb::string ParameterTypeName(const duckdb::BoundParameterData &parameter);
//! Whether a type's text is that of a literal, whose value has the type that Arrow tells.
bool IsLiteralTypeName(const duckdb::string &text);
//! The inverse of ParameterTypeName. What has no text there is bound as DuckDB binds values without one.
duckdb::BoundParameterData ReadParameter(duckdb::Value value, const duckdb::string &text);

} // namespace duckherder
