//! What tasks see, what they can be stopped by, and whose settings they follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::herd::{Herd, rows_of};

fn herd_with_t(workers: usize) -> Herd {
    let herd = Herd::new(workers);
    herd.plain.execute("CREATE TABLE t AS SELECT i AS id, i % 10 AS g, i AS v FROM range(300000) r(i)").unwrap();
    herd
}

#[test]
fn money_that_moves_is_never_lost() {
    let herd = Herd::new(4);
    herd.plain
        .execute("CREATE TABLE accounts AS SELECT i AS id, 100::BIGINT AS money FROM range(200000) r(i)")
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2u64)
        .map(|writer| {
            let (connection, stop) = (herd.database.connect().unwrap(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let (mut moves, mut next) = (0u32, writer * 7919 + 1);
                while !stop.load(Ordering::Relaxed) {
                    next = next * 6364136223846793005 % 1_000_003;
                    let (from, to) = (next % 100_000 * 2 + writer, (next * 31) % 100_000 * 2 + writer);
                    // The row itself moves as well, to the end of the table.
                    let sql = format!(
                        "BEGIN; UPDATE accounts SET money = money - 7 WHERE id = {from};
                         UPDATE accounts SET money = money + 7 WHERE id = {to};
                         INSERT INTO accounts SELECT -id - 1, money FROM accounts WHERE id = {from};
                         DELETE FROM accounts WHERE id = {from};
                         UPDATE accounts SET id = -id - 1 WHERE id = -1 - {from}; COMMIT"
                    );
                    if connection.execute(&sql).is_err() {
                        connection.execute("ROLLBACK").ok();
                    }
                    moves += 1;
                    if moves % 50 == 0 {
                        connection.execute("CHECKPOINT").ok();
                    }
                }
                moves
            })
        })
        .collect();
    let mut session = herd.session();
    let began = Instant::now();
    let mut sums = 0;
    while began.elapsed() < Duration::from_secs(8) || sums < 20 {
        let (rows, outcome) =
            session.query("SELECT sum(money), count(*) FROM accounts WHERE money > -1000000").unwrap();
        assert_eq!(outcome.workers_used, 4);
        let (sum, count) = rows[0].split_once(" | ").unwrap();
        // 20,000,000 as the bytes of a HUGEINT.
        assert!(sum == "002d3101000000000000000000000000", "{sum} after {sums} sums");
        assert_eq!(count, "200000");
        sums += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let moves: u32 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    assert!(moves > 0);
}

#[test]
fn a_transaction_reads_its_own_writes_and_its_own_snapshot() {
    let herd = herd_with_t(3);
    let mut session = herd.session();
    let count = "SELECT count(*), max(v) FROM t WHERE v >= 0";
    session.connection.execute("BEGIN").unwrap();
    let before = session.query(count).unwrap();
    assert_eq!(before.1.mode, "ROW_GROUP_PARTITION");
    herd.plain
        .execute("INSERT INTO t SELECT i, 1, i FROM range(400000, 900000) r(i); DELETE FROM t WHERE id < 1000")
        .unwrap();
    assert_eq!(session.query(count).unwrap().0, before.0);
    session.connection.execute("INSERT INTO t VALUES (-1, -1, 5000000)").unwrap();
    let (rows, outcome) = session.query(count).unwrap();
    assert_eq!((rows[0].as_str(), outcome.mode.as_str()), ("300001 | 5000000", "LOCAL"));
    session.connection.execute("ROLLBACK").unwrap();
    let outcome = herd.same(&mut session, count);
    assert_eq!(outcome.mode, "ROW_GROUP_PARTITION");
}

#[test]
fn an_interrupt_stops_the_tasks() {
    let herd = herd_with_t(2);
    let mut session = herd.session();
    let interrupter = session.connection.interrupter();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        interrupter.interrupt();
        Instant::now()
    });
    let slow = "SELECT sum(levenshtein(repeat(v::VARCHAR, 60), repeat((v + 1)::VARCHAR, 60))) FROM t";
    let error = session.query(slow).unwrap_err();
    let stopped = stopper.join().unwrap().elapsed();
    assert_eq!(error.exception_type, "INTERRUPT", "{error}");
    assert!(stopped < Duration::from_secs(5), "{stopped:?}");
    herd.same(&mut session, "SELECT sum(v) FROM t WHERE v > 5");
}

#[test]
fn a_failing_task_fails_the_query_with_its_own_error() {
    let herd = herd_with_t(4);
    let mut session = herd.session();
    for (sql, kind) in [
        ("SELECT sum(CASE WHEN v = 250000 THEN error('found it')::INTEGER ELSE 1 END) FROM t", "Invalid Input"),
        ("SELECT sum((v * 100000)::INTEGER) FROM t", "Conversion"),
        ("SELECT id, ('x' || v)::INTEGER FROM t WHERE v > 299998", "Conversion"),
    ] {
        let error = session.query(sql).unwrap_err();
        assert_eq!(error.exception_type, kind, "{error}");
        assert_eq!(error.exception_type, rows_of(&herd.plain, sql).unwrap_err().exception_type);
    }
    herd.same(&mut session, "SELECT sum(v) FROM t WHERE v > 5");
}

#[test]
fn tasks_follow_the_settings_of_the_session() {
    let herd = herd_with_t(2);
    let mut session = herd.session();
    for sql in ["SET TimeZone = 'Asia/Tokyo'", "SET VARIABLE limit_v = 77", "SET default_collation = 'NOCASE'"] {
        session.connection.execute(sql).unwrap();
        herd.plain.execute(sql).unwrap();
    }
    for sql in [
        "SELECT max((TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_minutes(v))::VARCHAR) FROM t",
        "SELECT count(*) FROM t WHERE v < getvariable('limit_v')",
        "SELECT count(*) FROM t WHERE 'A' || g = 'a3'",
    ] {
        herd.same(&mut session, sql);
    }
}

#[test]
fn odd_tables() {
    let herd = Herd::new(3);
    herd.plain
        .execute(
            "CREATE TABLE empty (i INTEGER);
             CREATE SCHEMA other; CREATE TABLE other.\"Strange \"\" name\" AS SELECT range AS \"Some col\" FROM range(200000);
             CREATE TABLE hidden AS SELECT range AS rowid, 1 AS one FROM range(200000);
             CREATE TABLE keyed (id INTEGER PRIMARY KEY, v INTEGER); INSERT INTO keyed SELECT range, range FROM range(200000);
             CREATE TABLE generated (a INTEGER, b INTEGER GENERATED ALWAYS AS (a * 2), c INTEGER);
             INSERT INTO generated SELECT range, range + 1 FROM range(200000);
             CREATE TABLE gone AS SELECT range AS i FROM range(200000); DELETE FROM gone",
        )
        .unwrap();
    let mut session = herd.session();
    for (sql, mode) in [
        ("SELECT sum(i), count(*) FROM empty", "LOCAL"),
        ("SELECT sum(\"Some col\") FROM other.\"Strange \"\" name\" WHERE \"Some col\" > 3", "NATURAL_PARTITION"),
        ("SELECT sum(rowid) FROM hidden WHERE rowid > 7", "LOCAL"),
        ("SELECT v FROM keyed WHERE id = 4711", "LOCAL"),
        ("SELECT sum(v) FROM keyed WHERE id > 4711", "NATURAL_PARTITION"),
        ("SELECT sum(b), sum(c), min(a) FROM generated WHERE c > 5", "NATURAL_PARTITION"),
        ("SELECT count(*) FROM keyed WHERE rowid > 5", "LOCAL"),
        ("SELECT count(*) FROM keyed TABLESAMPLE 100 PERCENT (bernoulli)", "LOCAL"),
        ("SELECT sum(k.v) FROM keyed k JOIN generated g ON k.id = g.a", "LOCAL"),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM keyed WHERE v = 5)", ""),
        (
            "SELECT count(*), sum(v) FROM keyed WHERE v IN (SELECT unnest([1, 2, 3, 4, 700, 800, 900, 1000, 2000, 3000, 99999]))",
            "",
        ),
    ] {
        let outcome = herd.same(&mut session, sql);
        if !mode.is_empty() {
            assert_eq!(outcome.mode, mode, "{sql}");
        }
    }
}
