//! Stopping: cancelled calls, vanished clients, errors in the middle, drivers that stop.

use std::time::{Duration, Instant};

use crate::common::{Client, driver, within};
use duckherder_driver::{Driver, DriverOptions};
use duckherder_proto::actions::{Empty, EndSession, InterruptSession};

/// Runs for minutes and gives nothing before it ends.
const LONG: &str = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE hash(a.range, b.range) = 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_stops_its_statement() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let (_, long) = client.prepare(LONG).await.unwrap();
    let call = client.stream(long.statement_id, &[]);
    assert!(tokio::time::timeout(Duration::from_millis(300), call).await.is_err());
    // The session's connection is free again.
    assert_eq!(within(20.0, client.number("SELECT 1::BIGINT")).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_stops_its_statement() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let (_, big) = client.prepare("SELECT range AS v FROM range(100000000000)").await.unwrap();
    let mut rows = client.stream(big.statement_id, &[]).await.unwrap();
    rows.next().await.unwrap().unwrap();
    drop(rows);
    assert_eq!(within(20.0, client.number("SELECT 1::BIGINT")).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_interrupted_from_elsewhere() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let (_, long) = client.prepare(LONG).await.unwrap();
    let mut running = tokio::spawn({
        let client = client.clone();
        async move { client.stream(long.statement_id, &[]).await.err() }
    });
    // Again and again: DuckDB forgets an interrupt that comes before the statement has begun.
    let error = within(20.0, async {
        loop {
            match tokio::time::timeout(Duration::from_millis(300), &mut running).await {
                Ok(ended) => break ended.unwrap().unwrap(),
                Err(_) => drop(client.act::<Empty>(InterruptSession {}).await.unwrap()),
            }
        }
    })
    .await;
    assert_eq!(error.exception_type, "INTERRUPT");
    assert_eq!(within(20.0, client.number("SELECT 1::BIGINT")).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_a_session_rolls_back() {
    let driver = driver();
    let mut client = Client::connect(&driver).await;
    client.query("CREATE TABLE t(v BIGINT)").await.unwrap();
    client.in_transaction = true;
    client.query("INSERT INTO t VALUES (1)").await.unwrap();
    let (_, long) = client.prepare(LONG).await.unwrap();
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.stream(long.statement_id, &[]).await.err() }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    within(20.0, client.act::<Empty>(EndSession {})).await.unwrap();
    assert!(within(20.0, running).await.unwrap().is_some());
    client.in_transaction = false;
    assert_eq!(client.number("SELECT count(*) FROM t").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_middle_surfaces() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let sql = "SELECT CASE WHEN range = 2900000 THEN error('late') ELSE range::VARCHAR END AS v FROM range(3000000)";
    let (_, late) = client.prepare(sql).await.unwrap();
    let mut rows = client.stream(late.statement_id, &[]).await.unwrap();
    let mut seen = 0;
    let error = loop {
        match rows.next().await.unwrap() {
            Ok(batch) => seen += batch.num_rows(),
            Err(error) => break error,
        }
    };
    assert!(seen > 0 && seen < 3_000_000, "{seen}");
    assert_eq!(error.exception_type, "Invalid Input", "{}", error.message);
    assert!(error.message.contains("late"), "{}", error.message);
}

#[test]
fn a_port_in_use_is_named() {
    let first = driver();
    let listen = first.address().to_string();
    let error = Driver::start(DriverOptions { listen: listen.clone(), ..Default::default() }).err().unwrap();
    assert_eq!(error.detail().exception_type, "IO");
    assert!(error.to_string().contains(&listen), "{error}");
    first.stop();
    Driver::start(DriverOptions { listen, ..Default::default() }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_does_not_wait_for_ever() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let (_, long) = client.prepare(LONG).await.unwrap();
    let running = tokio::spawn(async move { client.stream(long.statement_id, &[]).await.err() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    tokio::task::spawn_blocking(move || driver.stop()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert!(within(20.0, running).await.unwrap().is_some());
}
