//! Queries through workers in other processes (here: servers of their own in this one), against DuckDB itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../duckherder-driver/tests/driver/herd/mod.rs"]
mod herd;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use duckherder_driver::distribute::Distributor;
use duckherder_driver::scheduler::Scheduler;
use duckherder_driver::{Driver, DriverOptions};
use duckherder_worker::{Worker, WorkerOptions};
use herd::{Herd, battery, difference, rows_of, skew, stages, text_of};
use tokio::runtime::Runtime;

struct Remote {
    herd: Herd,
    workers: Vec<Worker>,
    _driver: Driver,
    /// The connections to the workers live on it.
    _runtime: Runtime,
}

fn remote(count: usize) -> Remote {
    let slot: Arc<Mutex<Option<Arc<dyn Distributor>>>> = Arc::default();
    let keep = Arc::clone(&slot);
    let driver = Driver::start(DriverOptions {
        listen: "127.0.0.1:0".to_string(),
        distributor: Some(Box::new(move |database, cluster, address, storage| {
            let scheduler: Arc<dyn Distributor> =
                Arc::new(Scheduler::new(database.clone(), Arc::clone(cluster), address.port(), storage)?);
            *keep.lock().unwrap() = Some(Arc::clone(&scheduler));
            Ok(scheduler)
        })),
        ..DriverOptions::default()
    })
    .unwrap();
    let runtime = Runtime::new().unwrap();
    let start = || Worker::start(WorkerOptions { listen: "127.0.0.1:0".to_string(), ..WorkerOptions::default() });
    let workers: Vec<Worker> = (0..count).map(|_| start().unwrap()).collect();
    for (number, worker) in workers.iter().enumerate() {
        let location = format!("grpc://{}", worker.address());
        runtime.block_on(driver.cluster().register(&format!("w{number}"), &location)).unwrap();
    }
    let scheduler = slot.lock().unwrap().clone().unwrap();
    let herd = Herd::with(driver.database().clone(), scheduler);
    Remote { herd, workers, _driver: driver, _runtime: runtime }
}

#[test]
fn queries_through_two_workers() {
    let remote = remote(2);
    let herd = &remote.herd;
    herd.plain
        .execute(
            "CREATE TABLE t AS SELECT i AS id, i % 7 AS g, (i * 37) % 1000 AS v, 'name ' || (i % 13) AS s,
             (i / 8)::DECIMAL(12, 3) AS d FROM range(500000) r(i);
             CREATE TABLE small AS SELECT range AS x, 'text ' || range AS y FROM range(1000)",
        )
        .unwrap();
    let mut session = herd.session();
    for (sql, merge) in [
        ("SELECT sum(v), avg(d), count(*), min(s), stddev(v) FROM t WHERE v > 10", "AGGREGATE"),
        ("SELECT g, sum(d), max(s), list(id ORDER BY id) FROM t WHERE v < 4 GROUP BY g", "GROUP_BY"),
        ("SELECT count(*) FROM t WHERE v + id > 0", "AGGREGATE"),
        ("SELECT DISTINCT s FROM t", "DISTINCT"),
        ("SELECT mode(CASE WHEN g < 2 THEN g ELSE 3 END), sum(v) FROM t", "CONCATENATE"),
    ] {
        let outcome = herd.same(&mut session, sql);
        assert_eq!((outcome.mode.as_str(), outcome.merge_strategy.as_str()), ("ROW_GROUP_PARTITION", merge), "{sql}");
        assert_eq!(outcome.workers_used, 2, "{sql}");
    }
    for sql in [
        "SELECT id, s, d FROM t",
        "SELECT id FROM t WHERE g = 3 LIMIT 10 OFFSET 1000",
        "SELECT id, v FROM t ORDER BY v DESC, id LIMIT 10",
    ] {
        herd.same_ordered(&mut session, sql);
    }
    let outcome = herd.same(&mut session, "SELECT y, sum(x) FROM small GROUP BY y");
    assert_eq!((outcome.mode.as_str(), outcome.workers_used), ("DELEGATED", 1));
}

#[test]
fn states_come_back_as_what_they_were() {
    let remote = remote(2);
    battery::check_all(&remote.herd);
}

#[test]
fn errors_are_the_querys_and_workers_that_stop_cost_none() {
    let remote = remote(2);
    let herd = &remote.herd;
    herd.plain.execute("CREATE TABLE t AS SELECT range AS id, 'x' AS s FROM range(300000)").unwrap();
    let mut session = herd.session();
    let error = session.query("SELECT sum(s::INTEGER) FROM t").unwrap_err();
    assert_eq!(error.exception_type, "Conversion", "{error}");
    for worker in remote.workers.iter().rev() {
        worker.stop();
        // By the other one, and at last by the driver.
        herd.same(&mut session, "SELECT sum(id) FROM t WHERE id > 3");
        herd.same(&mut session, "SELECT count(*) FROM t x JOIN t y ON x.id = y.id + 1");
    }
}

/// One worker runs its tasks one after the other, while DuckDB takes little of one before it has seen the next begin.
#[test]
fn parts_larger_than_every_buffer_come_in_order() {
    let (done, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let remote = remote(2);
        let herd = &remote.herd;
        let make = "CREATE TABLE wide AS SELECT range AS id, repeat('x', 150) || range AS s FROM range(1_000_000)";
        herd.plain.execute(make).unwrap();
        let mut session = herd.session();
        session.connection.execute("SET duckherder_distribution = 'always'").unwrap();
        session.distributor.statement_starts("");
        let mut next = 0;
        for batch in session.connection.query("SELECT id, s FROM wide").unwrap() {
            let batch = batch.unwrap();
            let ids = batch.column(0).as_primitive::<Int64Type>();
            assert!(ids.values().iter().zip(next..).all(|(id, expected)| *id == expected));
            next += batch.num_rows() as i64;
        }
        done.send((next, session.distributor.statement_ended())).unwrap();
    });
    let (rows, outcome) = told.recv_timeout(Duration::from_secs(60)).expect("an end");
    assert_eq!(rows, 1_000_000);
    assert_eq!((outcome.mode.as_str(), outcome.tasks > 2, outcome.workers_used), ("ROW_GROUP_PARTITION", true, 2));
}

#[test]
fn stages_that_shuffle_between_workers() {
    let remote = remote(3);
    stages::make_tables(&remote.herd);
    stages::check(&remote.herd, &mut remote.herd.session(), 35);
}

/// Workers keep the plans of tasks that come again, whatever rows these then read.
#[test]
fn repeated_queries_see_the_rows_that_are_there() {
    let remote = remote(2);
    let herd = &remote.herd;
    herd.plain
        .execute("CREATE TABLE t AS SELECT i AS id, i % 1000 AS v, 'n' || (i % 7) AS s FROM range(300000) r(i)")
        .unwrap();
    let session = herd.session();
    session.connection.execute("SET duckherder_distribution = 'always'").unwrap();
    for change in
        ["SELECT 1", "DELETE FROM t WHERE id % 3 = 0", "UPDATE t SET v = v + 5000, s = NULL WHERE id % 10 = 1"]
    {
        herd.plain.execute(change).unwrap();
        for sql in [
            "SELECT s, sum(v), count(*) FROM t GROUP BY s",
            "SELECT s, count(DISTINCT v) FROM t GROUP BY s",
            "SELECT sum(n) FROM (SELECT row_number() OVER (PARTITION BY v ORDER BY id) AS n FROM t)",
            "SELECT count(*) FROM t a JOIN t b ON a.id = b.v",
            "SELECT s, v FROM t WHERE v > 990 ORDER BY v, s",
        ] {
            let expected = rows_of(&herd.plain, sql).unwrap();
            for run in 0..5 {
                let rows = session.connection.start(sql, None, true).unwrap().unwrap();
                let rows = rows.flat_map(|batch| text_of(&batch.unwrap())).collect();
                assert_eq!(difference(rows, expected.clone()), None, "run {run} after {change}: {sql}");
            }
        }
    }
}

#[test]
fn a_key_with_most_rows_is_everybodys_work() {
    let remote = remote(4);
    skew::make_tables(&remote.herd);
    // A driver that takes long to send a table whole: rows are rather shuffled.
    remote.herd.plain.execute("SET threads = 1").unwrap();
    skew::check(&remote.herd, &mut remote.herd.session(), true);
    skew::check_balance(&mut remote.herd.session());
}
