//! A statement that a connection runs again, with the plan of the last time, gives what it would give for the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, AsArray, Int8Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use arrow::util::display::array_value_to_string;
use duckherder_engine::{Connection, Database, EngineError};

fn database() -> Database {
    Database::open(":memory:", &[("threads", "2")]).unwrap()
}

/// All rows as text.
fn ask(connection: &Connection, sql: &str) -> Result<Vec<String>, EngineError> {
    let mut rows = Vec::new();
    for batch in connection.start(sql, None, true)?.unwrap() {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
            rows.push(values.collect::<Vec<_>>().join(","));
        }
    }
    Ok(rows)
}

/// What it gives when it is asked often enough to have a plan.
fn ask_often(connection: &Connection, sql: &str) -> Vec<String> {
    let first = ask(connection, sql).unwrap();
    for _ in 0..4 {
        assert_eq!(ask(connection, sql).unwrap(), first, "{sql}");
    }
    first
}

fn change(connection: &Connection, sql: &str) {
    for batch in connection.start(sql, None, false).unwrap().unwrap() {
        batch.unwrap();
    }
}

fn insert(connection: &Connection, sql: &str, values: Vec<ArrayRef>) -> Result<i64, EngineError> {
    let columns = values.into_iter().enumerate().map(|(number, value)| ((number + 1).to_string(), value));
    let row = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, value)| (name, value, true))).unwrap();
    let mut changed = 0;
    for batch in connection.start(sql, Some(&row), false)?.unwrap() {
        changed += batch?.column(0).as_primitive::<Int64Type>().value(0);
    }
    Ok(changed)
}

#[test]
fn rows_that_came_since_are_there() {
    let database = database();
    let (reader, writer) = (database.connect().unwrap(), database.connect().unwrap());
    change(&writer, "CREATE TABLE t AS SELECT range AS v FROM range(10)");
    // All of these are answered, wholly or in part, by statistics of the table.
    let questions = [
        ("SELECT count(*) FROM t", "10", "11"),
        ("SELECT max(v) FROM t", "9", "1000"),
        ("SELECT count(v) FROM t WHERE v < 100", "10", "10"),
        ("SELECT v FROM t WHERE v > 100", "", "1000"),
        ("SELECT sum(v)::BIGINT FROM t WHERE v IS NULL OR v >= 0", "45", "1045"),
        ("SELECT v % 2, count(*) FROM t GROUP BY ALL ORDER BY ALL", "0,5 1,5", "0,6 1,5"),
    ];
    for (sql, before, _) in questions {
        assert_eq!(ask_often(&reader, sql).join(" "), before, "{sql}");
    }
    change(&writer, "INSERT INTO t VALUES (1000)");
    for (sql, _, after) in questions {
        assert_eq!(ask_often(&reader, sql).join(" "), after, "{sql}");
    }
    for (sql, change_sql) in [
        ("SELECT count(*) FROM t", "DELETE FROM t WHERE v = 1000"),
        ("SELECT max(v) FROM t", "UPDATE t SET v = 70 WHERE v = 9"),
        ("SELECT sum(v)::BIGINT FROM t WHERE v < 60", "BEGIN; INSERT INTO t VALUES (50); COMMIT"),
    ] {
        let before = ask_often(&reader, sql);
        writer.execute(change_sql).unwrap();
        let after = ask_often(&reader, sql);
        assert_ne!(before, after, "{sql} after {change_sql}");
        assert_eq!(after, ask(&database.connect().unwrap(), sql).unwrap(), "{sql} after {change_sql}");
    }
}

#[test]
fn rows_come_and_go_while_others_ask() {
    let database = database();
    let writer = database.connect().unwrap();
    change(&writer, "CREATE TABLE t AS SELECT 0::BIGINT AS v");
    let done = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (connection, done) = (database.connect().unwrap(), Arc::clone(&done));
        move || {
            let (mut last, mut asked) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let count: i64 = ask(&connection, "SELECT count(*) FROM t").unwrap()[0].parse().unwrap();
                let most: i64 = ask(&connection, "SELECT max(v) FROM t WHERE v >= 0").unwrap()[0].parse().unwrap();
                assert!(count >= last && most + 1 >= count, "{count} rows up to {most} after {last}");
                (last, asked) = (count, asked + 1);
            }
            asked
        }
    });
    for value in 1..300_i64 {
        assert_eq!(
            insert(&writer, "INSERT INTO t VALUES ($1)", vec![Arc::new(Int64Array::from(vec![value]))]).unwrap(),
            1
        );
        // What the writer itself has committed, everybody sees.
        assert_eq!(ask(&writer, "SELECT count(*), max(v) FROM t").unwrap(), [format!("{},{value}", value + 1)]);
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn a_transaction_sees_its_own_rows_and_its_own_snapshot() {
    let database = database();
    let (one, other) = (database.connect().unwrap(), database.connect().unwrap());
    change(&one, "CREATE TABLE t AS SELECT 1 AS v");
    let sql = "SELECT count(*), max(v) FROM t WHERE v < 5";
    assert_eq!(ask_often(&one, sql), ["1,1"]);
    one.execute("BEGIN").unwrap();
    assert_eq!(ask_often(&one, sql), ["1,1"]);
    change(&other, "INSERT INTO t VALUES (2)");
    assert_eq!(ask_often(&one, sql), ["1,1"]);
    change(&one, "INSERT INTO t VALUES (3)");
    assert_eq!(ask_often(&one, sql), ["2,3"]);
    one.execute("ROLLBACK").unwrap();
    assert_eq!(ask_often(&one, sql), ["2,2"]);
    assert_eq!(ask_often(&other, sql), ["2,2"]);
}

#[test]
fn names_and_settings_count_when_it_runs() {
    let database = database();
    let (one, other) = (database.connect().unwrap(), database.connect().unwrap());
    change(&one, "CREATE TABLE t AS SELECT 1 AS v");
    change(&one, "CREATE MACRO twice(x) AS 2 * x");
    change(&one, "CREATE VIEW seen AS SELECT v FROM t");
    change(&one, "SET VARIABLE mine = 1");
    for (sql, before, changed_by, change_sql, after) in [
        ("SELECT * FROM t", "1", &other, "ALTER TABLE t ADD COLUMN w INTEGER DEFAULT 7", "1,7"),
        ("SELECT twice(3)", "6", &other, "CREATE OR REPLACE MACRO twice(x) AS 2 + x", "5"),
        ("SELECT twice(v) FROM t", "3", &other, "CREATE OR REPLACE MACRO twice(x) AS 20 * x", "20"),
        ("SELECT * FROM seen", "1", &other, "CREATE OR REPLACE VIEW seen AS SELECT w FROM t", "7"),
        ("SELECT w FROM t", "7", &one, "CREATE TEMP TABLE t AS SELECT 8 AS w", "8"),
        ("SELECT 7 / 2", "3.5", &one, "SET integer_division = true", "3"),
        ("SELECT getvariable('mine')", "1", &one, "SET VARIABLE mine = 2", "2"),
        ("SELECT current_setting('schema')", "main", &one, "CREATE SCHEMA s; USE s", "s"),
    ] {
        assert_eq!(ask_often(&one, sql), [before], "{sql}");
        if change_sql.contains(';') {
            changed_by.execute(change_sql).unwrap();
        } else {
            change(changed_by, change_sql);
        }
        assert_eq!(ask_often(&one, sql), [after], "{sql} after {change_sql}");
    }
    other.execute("DROP VIEW seen; DROP TABLE t").unwrap();
    assert!(ask(&other, "SELECT * FROM t").is_err());
}

#[test]
fn what_a_transaction_defines_counts_from_its_end() {
    let database = database();
    let (one, other) = (database.connect().unwrap(), database.connect().unwrap());
    change(&one, "CREATE MACRO number() AS 1");
    assert_eq!(ask_often(&one, "SELECT number()"), ["1"]);
    change(&other, "BEGIN");
    change(&other, "CREATE OR REPLACE MACRO number() AS 2");
    assert_eq!(ask_often(&one, "SELECT number()"), ["1"]);
    assert_eq!(ask_often(&other, "SELECT number()"), ["2"]);
    change(&other, "COMMIT");
    assert_eq!(ask_often(&one, "SELECT number()"), ["2"]);
}

#[test]
fn what_changes_by_itself_does() {
    let connection = database().connect().unwrap();
    change(&connection, "CREATE SEQUENCE s");
    change(
        &connection,
        "CREATE TABLE t (v INTEGER, n BIGINT DEFAULT nextval('s'), made TIMESTAMP DEFAULT now()::TIMESTAMP)",
    );
    for _ in 0..6 {
        change(&connection, "INSERT INTO t (v) VALUES (1)");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(ask_often(&connection, "SELECT count(DISTINCT n), max(n), count(DISTINCT made) FROM t"), ["6,6,6"]);
    for sql in [
        "SELECT now()::VARCHAR",
        "SELECT current_timestamp::VARCHAR",
        "SELECT txid_current()",
        "SELECT random()",
        "SELECT uuid()::VARCHAR",
    ] {
        let mut seen: Vec<_> = (0..6).map(|_| ask(&connection, sql).unwrap().remove(0)).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 6, "{sql}");
    }
}

#[test]
fn each_insert_has_its_own_values() {
    let connection = database().connect().unwrap();
    change(&connection, "CREATE TABLE t (id BIGINT, note VARCHAR, day DATE)");
    let sql = "INSERT INTO t VALUES ($1, $2, $3)";
    let text = |value: Option<&str>| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    for value in 0..5_i32 {
        let note = (value != 3).then(|| format!("note {value}"));
        let id: ArrayRef = match value {
            0 => Arc::new(Int8Array::from(vec![0])),
            1 => Arc::new(Int64Array::from(vec![10_000_000_000])),
            2 => text(Some("2")),
            4 => Arc::new(Int32Array::from(vec![None])),
            _ => Arc::new(Int32Array::from(vec![value])),
        };
        let changed = insert(&connection, sql, vec![id, text(note.as_deref()), text(Some("2026-11-22"))]);
        assert_eq!(changed.unwrap(), 1, "{value}");
    }
    let wrong = insert(&connection, sql, vec![text(Some("x")), text(None), text(None)]).unwrap_err();
    assert_eq!(wrong.exception_type, "Conversion");
    assert_eq!(
        ask(&connection, "SELECT * FROM t").unwrap(),
        [
            "0,note 0,2026-11-22",
            "10000000000,note 1,2026-11-22",
            "2,note 2,2026-11-22",
            "3,,2026-11-22",
            ",note 4,2026-11-22"
        ]
    );
    for _ in 0..4 {
        let missing = connection.start("INSERT INTO t (id) VALUES ($1)", None, false).err().unwrap();
        assert_eq!(missing.exception_type, "Invalid Input");
    }
}

#[test]
fn an_insert_that_fails_leaves_nothing() {
    let connection = database().connect().unwrap();
    change(&connection, "CREATE TABLE t (id BIGINT PRIMARY KEY, v INTEGER CHECK (v > 0))");
    let number = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let small = |value: i32| Arc::new(Int32Array::from(vec![value])) as ArrayRef;
    let sql = "INSERT INTO t VALUES ($1, $2)";
    for id in 0..4 {
        assert_eq!(insert(&connection, sql, vec![number(id), small(1)]).unwrap(), 1);
        assert_eq!(insert(&connection, sql, vec![number(id), small(1)]).unwrap_err().exception_type, "Constraint");
        assert_eq!(insert(&connection, sql, vec![number(id + 10), small(0)]).unwrap_err().exception_type, "Constraint");
    }
    assert_eq!(ask(&connection, "SELECT count(*), max(id) FROM t").unwrap(), ["4,3"]);
    // The same plan inside a transaction, which can take it back.
    change(&connection, "BEGIN");
    for id in 4..8 {
        assert_eq!(insert(&connection, sql, vec![number(id), small(1)]).unwrap(), 1);
    }
    assert_eq!(ask(&connection, "SELECT count(*) FROM t").unwrap(), ["8"]);
    change(&connection, "ROLLBACK");
    assert_eq!(ask(&connection, "SELECT count(*) FROM t").unwrap(), ["4"]);
}

#[test]
fn a_query_that_was_left_half_way_runs_again() {
    let connection = database().connect().unwrap();
    change(&connection, "CREATE TABLE t AS SELECT range AS v FROM range(1000000)");
    let sql = "SELECT v FROM t WHERE v % 2 = 0";
    for _ in 0..4 {
        let mut stream = connection.start(sql, None, true).unwrap().unwrap();
        stream.next().unwrap().unwrap();
    }
    assert_eq!(ask(&connection, sql).unwrap().len(), 500_000);
    assert_eq!(ask_often(&connection, "SELECT sum(v)::BIGINT FROM t"), ["499999500000"]);
}
