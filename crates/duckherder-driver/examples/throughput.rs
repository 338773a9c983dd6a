//! Measures one driver on this machine: bytes a second of a large result, small queries, one-row commits, ingest.
//!
//! `cargo run --release -p duckherder-driver --example throughput [rows]`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/driver/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use arrow::array::Array;

use common::{Client, driver};

/// Columns and widths of TPC-H's lineitem.
fn lineitem(rows: u64) -> String {
    format!(
        "CREATE TABLE lineitem AS SELECT range // 4 AS l_orderkey, range % 200000 AS l_partkey, range % 10000 AS \
         l_suppkey, (range % 7)::INTEGER AS l_linenumber, (range % 50)::DECIMAL(15, 2) AS l_quantity, \
         (range * 1.07)::DECIMAL(15, 2) AS l_extendedprice, 0.05::DECIMAL(15, 2) AS l_discount, 0.02::DECIMAL(15, 2) AS \
         l_tax, chr((65 + range % 3)::INTEGER) AS l_returnflag, chr((70 + range % 2)::INTEGER) AS l_linestatus, \
         DATE '1992-01-01' + (range % 2500)::INTEGER AS l_shipdate, DATE '1992-01-01' + (range % 2400)::INTEGER AS \
         l_commitdate, DATE '1992-01-01' + (range % 2300)::INTEGER AS l_receiptdate, ['DELIVER IN PERSON', \
         'COLLECT COD', 'NONE', 'TAKE BACK RETURN'][range % 4 + 1] AS l_shipinstruct, ['TRUCK', 'MAIL', 'REG AIR', \
         'AIR'][range % 4 + 1] AS l_shipmode, substr('carefully final deposits haggle across the ironic', 1, \
         (10 + range % 34)::INTEGER) AS l_comment FROM range({rows})"
    )
}

#[tokio::main]
async fn main() {
    let rows = std::env::args().nth(1).map_or(6_001_215, |rows| rows.parse().expect("a number of rows"));
    let driver = driver();
    let client = Client::connect(&driver).await;
    client.query(&lineitem(rows)).await.unwrap();

    let (_, scan) = client.prepare("SELECT * FROM lineitem").await.unwrap();
    for _ in 0..3 {
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let mut stream = client.stream(scan.statement_id, &[]).await.unwrap();
        let (mut seen, mut bytes) = (0, 0);
        while let Some(batch) = stream.next().await {
            let batch = batch.unwrap();
            seen += batch.num_rows() as u64;
            bytes += bytes_of(&batch);
        }
        assert_eq!(seen, rows);
        let seconds = began.elapsed().as_secs_f64();
        let megabytes = bytes as f64 / 1e6;
        let cpu = cpu_seconds() - cpu;
        println!("result: {megabytes:.0} MB in {seconds:.2} s, {:.0} MB/s, {cpu:.2} s of CPU", megabytes / seconds);
    }

    client.query("CREATE TABLE one AS SELECT 42 AS v").await.unwrap();
    report("one-row query", 2000, async || drop(client.query("SELECT v FROM one").await.unwrap())).await;
    let (_, one) = client.prepare("SELECT v FROM one").await.unwrap();
    let run = async || drop(client.stream(one.statement_id, &[]).await.unwrap().collect().await.unwrap());
    report("one-row query, prepared", 2000, run).await;
    report("one-row insert", 2000, async || drop(client.query("INSERT INTO one VALUES (1)").await.unwrap())).await;

    let (_, scan) = client.prepare("SELECT * FROM lineitem LIMIT 3000000").await.unwrap();
    let batches = client.stream(scan.statement_id, &[]).await.unwrap().collect().await.unwrap();
    let megabytes = batches.iter().map(bytes_of).sum::<usize>() as f64 / 1e6;
    client.query("CREATE TABLE target AS FROM lineitem WITH NO DATA").await.unwrap();
    for _ in 0..2 {
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let sql = "INSERT INTO target SELECT * FROM duckherder_input";
        let done = client.ingest(sql, batches.clone()).await.unwrap();
        let seconds = began.elapsed().as_secs_f64();
        let cpu = cpu_seconds() - cpu;
        println!(
            "ingest: {} rows in {seconds:.2} s, {:.0} MB/s, {cpu:.2} s of CPU",
            done.changed_rows,
            megabytes / seconds
        );
    }
}

fn bytes_of(batch: &arrow::array::RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap()).sum()
}

/// Processor time of this process, client and driver both.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<f64> = stat.rsplit(')').next().unwrap().split(' ').filter_map(|field| field.parse().ok()).collect();
    (fields[10] + fields[11]) / 100.0
}

async fn report(what: &str, times: u32, mut run: impl AsyncFnMut()) {
    let mut each: Vec<Duration> = Vec::new();
    let (began, cpu) = (Instant::now(), cpu_seconds());
    for _ in 0..times {
        let began = Instant::now();
        run().await;
        each.push(began.elapsed());
    }
    let total = began.elapsed();
    let cpu_each = (cpu_seconds() - cpu) * 1e6 / f64::from(times);
    each.sort();
    println!(
        "{what}: min {:?}, median {:?}, {:.0} a second, {cpu_each:.0} us of CPU",
        each[0],
        each[each.len() / 2],
        f64::from(times) / total.as_secs_f64()
    );
}
