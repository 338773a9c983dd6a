//! Indexes that are made while others read and write: they have the table's rows, or are not made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use duckherder_engine::{Connection, Database};

use crate::connections::{number, rows};

/// Ways to make an index of `t`.
const BUILDS: [&str; 3] =
    ["CREATE INDEX second ON t(id)", "CREATE UNIQUE INDEX second ON t(id)", "ALTER TABLE t ADD PRIMARY KEY (id)"];

/// A database with a table `t` of 1000 rows; with an index, if `indexed`.
fn database(indexed: bool) -> Connection {
    let connection = Database::open(":memory:", &[("threads", "2")]).unwrap().connect().unwrap();
    let unique = if indexed { "UNIQUE" } else { "" };
    connection
        .execute(&format!("CREATE TABLE other(i INTEGER); CREATE TABLE t(id BIGINT, v VARCHAR {unique})"))
        .unwrap();
    connection.execute("INSERT INTO t SELECT i, 'v' || i FROM range(1000) r(i)").unwrap();
    connection
}

/// Another connection, with an open transaction that reads `other`.
fn reader(connection: &Connection) -> Connection {
    let reader = connection.database().connect().unwrap();
    reader.execute("BEGIN; FROM other").unwrap();
    reader
}

#[test]
fn rows_that_an_older_transaction_sees_are_in_no_new_index() {
    let tests = [true, false].into_iter().flat_map(|indexed| BUILDS.map(|build| (indexed, build)));
    let threads = tests.map(|(indexed, build)| {
        std::thread::spawn(move || {
            let writer = database(indexed);
            let older = reader(&writer);
            writer.execute("DELETE FROM t WHERE id < 10").unwrap();
            // Keys that the deleted rows had.
            writer.execute("INSERT INTO t SELECT i, 'w' || i FROM range(5) r(i)").unwrap();
            let error = writer.execute(build).unwrap_err();
            assert_eq!(error.exception_type, "TransactionContext", "{error}");
            assert!(error.message.contains("index on table \"t\" while a transaction is open"), "{error}");
            writer.execute("DELETE FROM t WHERE id >= 500").unwrap();
            older.execute("COMMIT").unwrap();
            assert_eq!(number(&writer, "SELECT count(*) FROM t"), 495, "{build}");
            writer.execute(build).unwrap();
            assert_eq!(rows(&writer, "FROM t WHERE id = 3").unwrap(), 1, "{build}");
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

/// It builds nothing, neither then nor later.
#[test]
fn explaining_waits_for_nobody() {
    let writer = database(true);
    let _older = reader(&writer);
    writer.execute("DELETE FROM t WHERE id < 10").unwrap();
    for build in BUILDS.iter().filter(|build| build.starts_with("CREATE")) {
        let begun = Instant::now();
        assert!(rows(&writer, &format!("EXPLAIN {build}")).unwrap() > 0);
        assert!(writer.prepare(build, None).is_ok());
        assert!(begun.elapsed() < Duration::from_secs(4), "{build}: {:?}", begun.elapsed());
    }
}

#[test]
fn an_older_transaction_that_ends_is_waited_for() {
    for build in BUILDS {
        let writer = database(true);
        let older = reader(&writer);
        writer.execute("DELETE FROM t WHERE id < 10").unwrap();
        let building = std::thread::spawn(move || writer.execute(build).map(|()| writer));
        std::thread::sleep(Duration::from_millis(50));
        older.execute("COMMIT").unwrap();
        let writer = building.join().unwrap().unwrap();
        let other = reader(&writer);
        writer.execute("DELETE FROM t WHERE id >= 500").unwrap();
        other.execute("COMMIT").unwrap();
        assert_eq!(rows(&writer, "FROM t WHERE id = 100").unwrap(), 1, "{build}");
    }
}

#[test]
fn transactions_that_see_nothing_deleted_hold_up_nobody() {
    for build in BUILDS {
        let writer = database(true);
        writer.execute("DELETE FROM t WHERE id < 10").unwrap();
        let older = reader(&writer);
        writer.execute("INSERT INTO t SELECT i, 'w' || i FROM range(5) r(i)").unwrap();
        // Not even its own deletions, which are undone with it if it comes to that.
        writer.execute(&format!("BEGIN; DELETE FROM t WHERE id >= 800; {build}; COMMIT")).unwrap();
        older.execute("COMMIT").unwrap();
        writer.execute("DELETE FROM t WHERE id >= 500").unwrap();
        assert_eq!(number(&writer, "SELECT count(*) FROM t"), 495, "{build}");
        assert_eq!(rows(&writer, "FROM t WHERE id = 3").unwrap(), 1, "{build}");
        writer.execute("INSERT INTO t VALUES (900, 'again')").unwrap();
    }
}

#[test]
fn what_an_index_is_of_is_as_in_duckdb() {
    let connection = database(false);
    connection.execute("INSERT INTO t VALUES (NULL, 'none'), (2000, NULL)").unwrap();
    connection.execute("CREATE INDEX several ON t(lower(v), (id + 1), v)").unwrap();
    connection.execute("CREATE UNIQUE INDEX single ON t(id)").unwrap();
    assert_eq!(rows(&connection, "FROM t WHERE id = 2000").unwrap(), 1);
    let error = connection.execute("INSERT INTO t VALUES (2000, 'again')").unwrap_err();
    assert_eq!(error.exception_type, "Constraint", "{error}");
    connection.execute("DROP INDEX several; DROP INDEX single").unwrap();
    let error = connection.execute("ALTER TABLE t ADD PRIMARY KEY (id)").unwrap_err();
    assert_eq!(error.exception_type, "Constraint", "{error}");
    connection.execute("DELETE FROM t WHERE id IS NULL; ALTER TABLE t ADD PRIMARY KEY (id)").unwrap();
    connection
        .execute("CREATE TEMP TABLE own AS FROM t; DELETE FROM own WHERE id < 10; CREATE INDEX o ON own(id)")
        .unwrap();
    assert_eq!(rows(&connection, "FROM own WHERE id = 100").unwrap(), 1);
    let error = connection.execute("CREATE INDEX none ON t(random())").unwrap_err();
    assert_eq!(error.exception_type, "Binder", "{error}");
}

const ROWS: i64 = 300_000;

/// Makes the index `by_id` of a table `t(id)` of `ROWS` rows while another connection runs one statement after the other;
/// the numbers up to which it came.
fn built_under(statement: impl Fn(i64) -> String + Send + 'static) -> (Connection, i64) {
    let builder = Database::open(":memory:", &[("threads", "2")]).unwrap().connect().unwrap();
    builder.execute(&format!("CREATE TABLE t AS SELECT i AS id FROM range({ROWS}) r(i)")).unwrap();
    let (other, stop) = (builder.database().connect().unwrap(), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let running = std::thread::spawn(move || {
        let numbers = (0..).take_while(|_| !stopped.load(Ordering::Acquire));
        numbers.inspect(|number| other.execute(&statement(*number)).unwrap()).count()
    });
    let mut built = false;
    for _ in 0..3 {
        match builder.execute("CREATE INDEX by_id ON t(id)") {
            Ok(()) => {
                built = true;
                break;
            }
            Err(error) => {
                assert_eq!(error.exception_type, "TransactionContext", "{error}");
                // The last: by an update that was planned while the index before was there.
                let known = ["has changed meanwhile", "with outstanding updates", "while a transaction is open"];
                assert!(known.iter().any(|known| error.message.contains(known)), "{error}");
            }
        }
    }
    stop.store(true, Ordering::Release);
    let count = running.join().unwrap();
    if !built {
        builder.execute("CREATE INDEX by_id ON t(id)").unwrap();
    }
    (builder, count as i64)
}

#[test]
fn rows_that_others_append_meanwhile_are_in_the_index_or_there_is_none() {
    let (connection, count) = built_under(|number| format!("INSERT INTO t VALUES ({})", ROWS + number));
    for id in ROWS..ROWS + count {
        assert_eq!(rows(&connection, &format!("FROM t WHERE id = {id}")).unwrap(), 1, "{id}");
    }
    connection.execute(&format!("DELETE FROM t WHERE id >= {ROWS}")).unwrap();
    assert_eq!(number(&connection, "SELECT count(*) FROM t"), ROWS);
}

#[test]
fn rows_that_others_update_meanwhile_are_in_the_index_or_there_is_none() {
    // Spread over the table, so that some are where the index has been before them.
    let place = |number: i64| number * 7919 % ROWS;
    let (connection, count) =
        built_under(move |number| format!("UPDATE t SET id = {} WHERE rowid = {}", ROWS + number, place(number)));
    for number in 0..count {
        let id = ROWS + number;
        assert_eq!(rows(&connection, &format!("FROM t WHERE id = {id}")).unwrap(), 1, "{id}");
        assert_eq!(rows(&connection, &format!("FROM t WHERE id = {}", place(number))).unwrap(), 0, "{number}");
    }
    connection.execute(&format!("DELETE FROM t WHERE id >= {ROWS}")).unwrap();
    assert_eq!(number(&connection, "SELECT count(*) FROM t"), ROWS - count);
}
