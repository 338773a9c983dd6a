//! Time zones, TIMESTAMPTZ arithmetic and collations are there without a network, as in DuckDB's own wheel.

use arrow::array::AsArray;
use duckherder_engine::{Connection, Database};

/// A database that may neither fetch nor find an extension outside this program.
fn connect() -> Connection {
    let settings = [("autoinstall_known_extensions", "false"), ("autoload_known_extensions", "false")];
    Database::open(":memory:", &settings).unwrap().connect().unwrap()
}

fn text(connection: &Connection, sql: &str) -> String {
    let batch = connection.query(sql).unwrap().next().unwrap().unwrap();
    batch.column(0).as_string::<i32>().value(0).to_owned()
}

#[test]
fn icu_is_linked_into_every_database() {
    for _ in 0..2 {
        let sql = "SELECT install_mode || ' ' || extension_version || ' ' || loaded \
                   FROM duckdb_extensions() WHERE extension_name = 'icu'";
        assert_eq!(text(&connect(), sql), "STATICALLY_LINKED v2.0.0 true");
    }
}

#[test]
fn timestamps_know_daylight_saving_time() {
    let connection = connect();
    connection.execute("SET TimeZone = 'America/New_York'").unwrap();
    let sql = "SELECT (TIMESTAMPTZ '2026-03-08 01:30:00' + INTERVAL 1 HOUR)::VARCHAR";
    assert_eq!(text(&connection, sql), "2026-03-08 03:30:00-04");
    connection.execute("SET Calendar = 'japanese'").unwrap();
    assert_eq!(text(&connection, "SELECT era(TIMESTAMPTZ '2026-03-08 12:00:00')::VARCHAR"), "236");
}

#[test]
fn collations_sort_as_in_the_language() {
    let sql = "SELECT string_agg(word, ' ' ORDER BY word COLLATE sv) FROM (VALUES ('ö'), ('z'), ('o')) t(word)";
    assert_eq!(text(&connect(), sql), "o z ö");
    let sql = "SELECT string_agg(word, ' ' ORDER BY word COLLATE de) FROM (VALUES ('ö'), ('z'), ('o')) t(word)";
    assert_eq!(text(&connect(), sql), "o ö z");
}
