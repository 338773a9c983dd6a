//! The settings of a client's session that hold wherever its statements run.

/// What can change an answer, or whether a statement is allowed: these go with every statement, from the client to the
/// driver and on to workers in other processes. Nothing that is about resources but time, or where files are; nor what a
/// client's parser has done its work with when DuckDB renders the statement (`current_dialect`,
/// `preserve_identifier_case`).
pub const SESSION_SETTINGS: [&str; 30] = [
    "Calendar",
    "TimeZone",
    "binary_as_string",
    "default_collation",
    "default_null_order",
    "default_order",
    "dialect_compatibility_mode",
    "disable_timestamptz_casts",
    "duckherder_distribution",
    "duckherder_exchange_memory",
    "duckherder_min_split_rows",
    "enable_geoparquet_conversion",
    "enable_macro_dependencies",
    "enable_view_dependencies",
    "error_on_division_by_zero",
    "explain_output",
    "ieee_floating_point_ops",
    "ignore_unknown_crs",
    "integer_division",
    "lambda_syntax",
    "legacy_disable_null_type",
    "max_execution_time",
    "max_expression_depth",
    "old_implicit_casting",
    "order_by_non_integer_literal",
    "pivot_limit",
    "preserve_insertion_order",
    "regex_match_operator_semantics",
    "scalar_subquery_error_on_multiple_rows",
    "table_function_identifier_conversion",
];

/// Beside those, what of a client's session has no setting of DuckDB's. The schema that names without one are looked up in.
pub const SCHEMA: &str = "schema";
/// All schemas of the database in the client's search path, if they are several, with [`BETWEEN_SCHEMAS`] between them: comes
/// after the first one.
pub const SEARCH_PATH: &str = "search_path";
/// The unit separator of ASCII.
pub const BETWEEN_SCHEMAS: char = '\u{1f}';
/// The session's variables (SET VARIABLE), as the extension writes them.
pub const VARIABLES: &str = "variables";
/// Whether, `true` or `false`, the client's default database is another than the one that it has attached here.
pub const ELSEWHERE: &str = "elsewhere";
/// If errors are to say where they are in the statement beside their message, and not in it: how far, in bytes, that is
/// beyond the place in the statement's own text.
pub const POSITIONS: &str = "positions";
/// What the client calls the session's database.
pub const ALIAS: &str = "alias";
/// The last `setseed()` of the client's session: how many there have been, a colon, and the seed.
pub const SEED: &str = "seed";
