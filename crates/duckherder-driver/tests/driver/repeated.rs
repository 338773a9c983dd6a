//! Distributed queries that a session repeats, and that therefore keep their plans and their tasks' plans: every answer
//! is the one of the rows that are there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::herd::{Herd, Session, difference, rows_of, text_of};
use duckherder_driver::distribute::ExecutionOutcome;

const T: &str = "CREATE TABLE t AS SELECT i AS id, i % 7 AS g, (i * 37) % 1000 AS v, 'name ' || (i % 13) AS s,
    TIMESTAMPTZ '2020-01-01 00:00:00+00' + INTERVAL (i) MINUTE AS moment FROM range(500_000) r(i)";

/// Several stages that the driver reads, merged states, rows as they are, one task, what statistics of the table may
/// answer, and stages that read what others shuffle, of which one can't keep its plan and one sorts its rows.
const QUERIES: [&str; 11] = [
    "SELECT g FROM t UNION SELECT k FROM small UNION ALL SELECT id FROM t WHERE v = 7",
    "SELECT g, sum(v), count(*), max(s) FROM t WHERE v > 10 GROUP BY g",
    "SELECT sum(v * 2), avg(v) FROM t",
    "SELECT id, s FROM t WHERE v = 37 AND g < 3",
    "SELECT count(*), min(id), max(id), max(v) FROM t",
    "SELECT count(*) FROM t WHERE s IS NULL",
    "SELECT k, sum(w) FROM small GROUP BY k",
    "SELECT g, count(DISTINCT v) FROM t GROUP BY g",
    "SELECT sum(n), max(m) FROM (SELECT n, row_number() OVER (PARTITION BY n ORDER BY id) AS m FROM (
        SELECT id, row_number() OVER (PARTITION BY v ORDER BY id) AS n FROM t WHERE g = 1))",
    "SELECT count(*), sum(w) FROM t JOIN small ON v = w WHERE v < 20",
    "SELECT DISTINCT v, g FROM t WHERE v < 50 ORDER BY v DESC, g",
];

fn filled() -> Herd {
    let herd = Herd::new(4);
    herd.plain.execute(T).unwrap();
    herd.plain.execute("CREATE TABLE small AS SELECT i % 3 AS k, i AS w FROM range(1000) r(i)").unwrap();
    herd
}

/// Its queries of several tables are distributed as well.
fn session_of(herd: &Herd) -> Session {
    let session = herd.session();
    session.connection.execute("SET duckherder_distribution = 'always'").unwrap();
    session
}

/// As a client's statement comes, which may find the plan of the last time.
fn ask(session: &mut Session, sql: &str) -> (Vec<String>, ExecutionOutcome) {
    session.distributor.statement_starts(sql);
    let rows = session.connection.start(sql, None, true).unwrap().unwrap();
    let rows = rows.flat_map(|batch| text_of(&batch.unwrap())).collect();
    (rows, session.distributor.statement_ended())
}

fn same(herd: &Herd, session: &mut Session, sql: &str, when: &str) -> ExecutionOutcome {
    let (rows, outcome) = ask(session, sql);
    if let Some(difference) = difference(rows, rows_of(&herd.plain, sql).unwrap()) {
        panic!("{when}: {difference}\n{sql}");
    }
    outcome
}

/// Often enough for a plan, and for plans of its tasks.
fn warm(herd: &Herd, session: &mut Session) {
    for sql in QUERIES {
        for _ in 0..5 {
            same(herd, session, sql, "while plans are made");
        }
    }
}

#[test]
fn every_run_is_distributed_and_counted() {
    let herd = filled();
    let mut session = session_of(&herd);
    for sql in QUERIES {
        let first = same(&herd, &mut session, sql, "first");
        assert!(first.tasks > 0 || sql.ends_with("IS NULL"), "{sql}");
        for number in 1..8 {
            let again = same(&herd, &mut session, sql, "again");
            assert_eq!((again.mode, again.tasks), (first.mode.clone(), first.tasks), "run {number} of {sql}");
            assert_eq!((again.merge_strategy, again.workers_used), (first.merge_strategy.clone(), first.workers_used));
        }
    }
}

#[test]
fn whatever_changes_in_between_is_seen() {
    let herd = filled();
    let writer = herd.database.connect().unwrap();
    let mut session = session_of(&herd);
    for change in [
        "INSERT INTO t SELECT 500_000 + i, 9, 5000, 'new', NULL FROM range(1000) r(i)",
        "INSERT INTO t SELECT 600_000 + i, 9, 5000, 'new', NULL FROM range(300_000) r(i)",
        "UPDATE t SET v = -1, s = NULL WHERE id % 1000 = 7",
        "DELETE FROM t WHERE id < 200_000",
        "CHECKPOINT",
        "DELETE FROM t WHERE id % 3 = 0; CHECKPOINT",
        "ALTER TABLE t ALTER v TYPE VARCHAR; ALTER TABLE t ALTER v TYPE BIGINT",
        "ALTER TABLE t ADD COLUMN extra INTEGER DEFAULT 3",
        "DROP TABLE t; CREATE TABLE t AS SELECT i AS id, 1.5 AS g, i AS v, 'x' AS s FROM range(400_000) r(i)",
        "DROP TABLE small; CREATE VIEW small AS SELECT g AS k, v AS w FROM t",
        "TRUNCATE t",
        "BEGIN; INSERT INTO t SELECT i, 2, i, 'y' FROM range(300_000) r(i); COMMIT",
        "BEGIN; INSERT INTO t SELECT i, 2, i, 'z' FROM range(300_000) r(i); ROLLBACK",
    ] {
        warm(&herd, &mut session);
        writer.execute(change).unwrap();
        for sql in QUERIES {
            same(&herd, &mut session, sql, change);
            same(&herd, &mut session, sql, change);
        }
    }
}

#[test]
fn an_open_transaction_sees_its_own_rows_and_nobody_else_does() {
    let herd = filled();
    let mut session = session_of(&herd);
    let mut other = session_of(&herd);
    let sql = "SELECT sum(v * 2), avg(v) FROM t";
    warm(&herd, &mut session);
    warm(&herd, &mut other);
    let (before, _) = ask(&mut session, sql);
    session.connection.execute("BEGIN").unwrap();
    session.connection.execute("INSERT INTO t (id, v) VALUES (1, 1_000_000)").unwrap();
    let (within, _) = ask(&mut session, sql);
    assert_ne!(within, before);
    for _ in 0..3 {
        assert_eq!(ask(&mut session, sql).0, within);
        assert_eq!(ask(&mut other, sql).0, before);
    }
    session.connection.execute("COMMIT").unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&mut session, sql).0, within);
        assert_eq!(ask(&mut other, sql).0, within);
    }
}

#[test]
fn settings_hold_for_tasks_whose_plan_was_kept() {
    let herd = filled();
    let mut session = session_of(&herd);
    let sql = "SELECT date_part('hour', moment) AS hour, count(*) FROM t WHERE id < 100 GROUP BY 1";
    for zone in ["UTC", "Asia/Tokyo", "America/New_York", "UTC"] {
        session.connection.execute(&format!("SET TimeZone = '{zone}'")).unwrap();
        herd.plain.execute(&format!("SET TimeZone = '{zone}'")).unwrap();
        for _ in 0..5 {
            same(&herd, &mut session, sql, zone);
        }
    }
}

#[test]
fn what_another_client_prepares_is_seen_too() {
    let herd = filled();
    let mut session = session_of(&herd);
    let sql = "SELECT w FROM small WHERE w < 3 ORDER BY w";
    let changes =
        [("SET GLOBAL default_order = 'DESC'", ["2", "1", "0"]), ("RESET GLOBAL default_order", ["0", "1", "2"])];
    for (change, expected) in changes {
        (0..5).for_each(|_| drop(ask(&mut session, sql)));
        rows_of(&herd.plain, change).unwrap();
        assert_eq!(ask(&mut session, sql).0, expected, "{change}");
    }
    let count = "SELECT count(*) FROM small";
    rows_of(&herd.plain, "BEGIN").unwrap();
    rows_of(&herd.plain, "INSERT INTO small VALUES (1, 1)").unwrap();
    (0..5).for_each(|_| assert_eq!(ask(&mut session, count).0, ["1000"]));
    rows_of(&herd.plain, "COMMIT").unwrap();
    assert_eq!(ask(&mut session, count).0, ["1001"]);
}

#[test]
fn a_plan_outlives_an_interrupted_run() {
    let herd = filled();
    let mut session = session_of(&herd);
    let sql = "SELECT g, sum(hash(id::VARCHAR || s) % 100) FROM t GROUP BY g";
    let (expected, _) = ask(&mut session, sql);
    for round in 0..12_u64 {
        let interrupter = session.connection.interrupter();
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(round * 2));
            interrupter.interrupt();
        });
        let rows = session.connection.start(sql, None, true);
        let rows = rows.and_then(|rows| rows.unwrap().collect::<Result<Vec<_>, _>>());
        stopper.join().unwrap();
        if let Ok(batches) = rows {
            let rows: Vec<String> = batches.iter().flat_map(text_of).collect();
            assert_eq!(difference(rows, expected.clone()), None);
        }
        assert_eq!(difference(ask(&mut session, sql).0, expected.clone()), None, "round {round}");
    }
}

#[test]
fn many_sessions_repeat_while_one_writes() {
    let herd = filled();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let mut session = session_of(&herd);
                scope.spawn(move || {
                    for _ in 0..150 {
                        // Twenty rows come or go at once.
                        let (rows, _) = ask(&mut session, "SELECT count(*) % 20, count(id) % 20 FROM t");
                        assert_eq!(rows, ["0 | 0"]);
                    }
                })
            })
            .collect();
        let connection = herd.database.connect().unwrap();
        let stop = &stop;
        let writer = scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                connection.execute("INSERT INTO t (id) SELECT 1_000_000 + i FROM range(20) r(i)").unwrap();
                std::thread::sleep(Duration::from_millis(15));
                connection.execute("DELETE FROM t WHERE id >= 1_000_000").unwrap();
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        let ended: Vec<_> = readers.into_iter().map(|reader| reader.join().is_ok()).collect();
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        assert!(ended.iter().all(|ok| *ok));
    });
}
