//! Every aggregate over every type, against DuckDB itself.

use super::{Herd, Session, rows_of};

/// A table with a column of every kind, with NULLs, deleted and updated rows.
const TABLE: &str = "
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE kinds AS SELECT i AS id, (i % 9)::INTEGER AS g,
    (i % 2 = 0) AS c_boolean,
    (i % 100)::TINYINT AS c_tinyint, (i % 20000)::SMALLINT AS c_smallint, (i * 7)::INTEGER AS c_integer,
    (i * 1000000007)::BIGINT AS c_bigint, (i::HUGEINT * 1000000000000000000000) AS c_hugeint,
    (i % 200)::UTINYINT AS c_utinyint, (i % 60000)::USMALLINT AS c_usmallint, (i * 9)::UINTEGER AS c_uinteger,
    (i * 99)::UBIGINT AS c_ubigint, (i * 98)::UHUGEINT AS c_uhugeint,
    (i / 7)::FLOAT AS c_float, (i / 3)::DOUBLE AS c_double,
    ((i % 900) / 10)::DECIMAL(4, 1) AS c_decimal4, (i / 100)::DECIMAL(9, 2) AS c_decimal9,
    (i / 1000)::DECIMAL(18, 3) AS c_decimal18, (i / 1000)::DECIMAL(21, 1) AS c_decimal21,
    (i * 1.5)::DECIMAL(38, 10) AS c_decimal38,
    'text ' || (i % 1000) AS c_varchar, ('blob ' || (i % 1000))::BLOB AS c_blob, (i % 255)::BIT AS c_bit,
    DATE '2000-01-01' + (i % 9000)::INTEGER AS c_date, TIME '00:00:00' + to_seconds(i % 80000) AS c_time,
    TIMESTAMP '2000-01-01' + to_seconds(i * 61) AS c_timestamp,
    (TIMESTAMP '2000-01-01' + to_seconds(i * 61))::TIMESTAMP_S AS c_timestamp_s,
    (TIMESTAMP '2000-01-01' + to_seconds(i * 61))::TIMESTAMP_MS AS c_timestamp_ms,
    (TIMESTAMP '2000-01-01' + to_seconds(i * 61))::TIMESTAMP_NS AS c_timestamp_ns,
    (TIMESTAMP '2000-01-01' + to_seconds(i * 61))::TIMESTAMPTZ AS c_timestamptz,
    to_days((i % 500)::INTEGER) AS c_interval,
    md5((i % 5000)::VARCHAR)::UUID AS c_uuid,
    (CASE i % 3 WHEN 0 THEN 'sad' WHEN 1 THEN 'ok' ELSE 'happy' END)::mood AS c_enum,
    [i % 5, i % 7] AS c_list, {'a': i % 11, 'b': 'x' || (i % 3)} AS c_struct
FROM range(ROWS) r(i);
UPDATE kinds SET c_boolean = NULL, c_tinyint = NULL, c_integer = NULL, c_double = NULL, c_decimal18 = NULL,
    c_varchar = NULL, c_date = NULL, c_timestamp = NULL, c_hugeint = NULL WHERE id % 13 = 5;
DELETE FROM kinds WHERE id % 17 = 3;
INSERT INTO kinds (id, g) SELECT i, 77 FROM range(20) r(i);
";

/// What comes out differently each time, or depends on how the work is divided, in DuckDB as well; or overflows.
const INEXACT: [&str; 6] =
    ["reservoir_quantile", "approx_quantile", "approx_top_k", "entropy", "sum_no_overflow", "product"];
/// What depends on the order of the rows, if only where keys are equal; by the first letters of its name.
const ORDERED: [&str; 12] = [
    "any_value",
    "arbitrary",
    "arg",
    "array_agg",
    "first",
    "group_concat",
    "last",
    "list",
    "mode",
    "string_agg",
    "max_by",
    "min_by",
];

/// Of which each task has some vectors: it is types and states that are looked at, and DuckDB answers everything, too.
const ROWS: &str = "20_000";
const SETTINGS: &str = "SET duckherder_min_split_rows = 10_000; SET duckherder_distribution = 'always'";

/// Every aggregate over every type gives DuckDB's answer, of several tasks.
pub fn check_all(herd: &Herd) {
    herd.plain.execute(&TABLE.replace("ROWS", ROWS)).unwrap();
    let mut session = herd.session();
    session.connection.execute(SETTINGS).unwrap();
    let asked = check_aggregates(herd, &mut session);
    assert!(asked.calls > 500, "{} calls", asked.calls);
    assert_eq!(asked.split, asked.queries, "queries that ran as several tasks, and all");
}

/// Calls that DuckDB accepts, by aggregate.
fn calls(herd: &Herd) -> Vec<(String, Vec<String>)> {
    let names = rows_of(
        &herd.plain,
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate' ORDER BY ALL",
    )
    .unwrap();
    let columns = rows_of(
        &herd.plain,
        "SELECT column_name FROM duckdb_columns() WHERE table_name = 'kinds' AND column_name LIKE 'c\\_%' ESCAPE '\\'",
    )
    .unwrap();
    let mut found = Vec::new();
    for name in names {
        if INEXACT.contains(&name.as_str()) || name.contains("combine_aggr") || !name.is_ascii() {
            continue;
        }
        let order = if ORDERED.iter().any(|first| name.starts_with(first)) { " ORDER BY id, g" } else { "" };
        let mut accepted = Vec::new();
        for column in &columns {
            let more = match column.as_str() {
                "c_varchar" | "c_double" | "c_decimal18" | "c_timestamp" => &["", ", id", ", 0.3", ", ','", ", 3"][..],
                _ => &[""][..],
            };
            for arguments in more.iter().map(|more| format!("{column}{more}")) {
                let mut call = format!("{name}({arguments}{order})");
                if column == "c_timestamptz" {
                    // arrow-rs writes no time zones by name.
                    call = format!("{call}::VARCHAR");
                }
                if herd.plain.prepare(&format!("SELECT {call} FROM kinds"), None).is_ok() {
                    accepted.push(call);
                }
            }
        }
        if !accepted.is_empty() {
            found.push((name, accepted));
        }
    }
    found
}

/// What was asked.
#[derive(Default)]
struct Asked {
    calls: usize,
    queries: usize,
    /// Of the queries.
    split: usize,
}

fn check_aggregates(herd: &Herd, session: &mut Session) -> Asked {
    let mut asked = Asked::default();
    let mut wrong = Vec::new();
    for (name, calls) in calls(herd) {
        for part in calls.chunks(12) {
            let list = part.join(", ");
            for sql in [
                format!("SELECT {list} FROM kinds"),
                format!("SELECT g, {list} FROM kinds WHERE id % 2 = 0 GROUP BY g"),
            ] {
                let Ok(expected) = rows_of(&herd.plain, &sql) else {
                    assert!(session.query(&sql).is_err(), "{sql} fails in DuckDB");
                    continue;
                };
                match session.query(&sql) {
                    Err(error) => wrong.push(format!("{name}: {error:.200}\n  {sql:.300}")),
                    Ok((rows, outcome)) => {
                        asked.queries += 1;
                        asked.split += usize::from(outcome.tasks > 1);
                        let difference = super::difference(rows, expected);
                        wrong.extend(difference.map(|text| format!("{name}: {text}\n  {sql:.300}")));
                    }
                }
                asked.calls += part.len();
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    asked
}
