//! Sessions: statements, transactions, ingest, one connection for several streams.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Client, driver, within};
use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow_flight::error::FlightError;
use duckherder_driver::{Driver, DriverOptions, SessionLimits};
use duckherder_proto::actions::{
    Catalog, DescribeCatalog, Empty, EndSession, EntryKind, ListStatistics, QueryStatistics,
};
use duckherder_proto::statement::{PrepareStatement, ResultKind, Setting};
use duckherder_proto::transaction::TransactionMark;
use futures::StreamExt;

fn numbers(from: i64, to: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("v", Arc::new(Int64Array::from_iter_values(from..to)) as _)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_prepared_and_run() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let (schema, prepared) = client.prepare("SELECT 42 AS a, 'x' AS b").await.unwrap();
    assert_eq!(schema.field(0).metadata()["duckdb.type"], "INTEGER");
    assert_eq!(schema.field(1).name(), "b");
    assert!(prepared.read_only && prepared.kind == i32::from(ResultKind::Query));
    let batches = client.stream(prepared.statement_id, &[]).await.unwrap().collect().await.unwrap();
    assert_eq!(batches[0].num_rows(), 1);

    client.query("CREATE TABLE t(v BIGINT)").await.unwrap();
    let (_, insert) = client.prepare("INSERT INTO t SELECT unnest([$1, $1 + 1])").await.unwrap();
    assert_eq!(insert.parameters, ["1"]);
    let batches = client.stream(insert.statement_id, &[parameter(7)]).await.unwrap().collect().await.unwrap();
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 2);
    assert_eq!(client.number("SELECT sum(v)::BIGINT FROM t").await, 15);

    let error = client.prepare("SELECT * FROM missing").await.unwrap_err();
    assert_eq!(error.exception_type, "Catalog");
    assert!(error.message.contains("missing"), "{}", error.message);
    let error = client.stream(99, &[]).await.err().unwrap();
    assert_eq!(error.exception_type, "Invalid Input");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_prepared_and_run_in_one_call() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let (told, rows) = client.run("SELECT 42 AS a", true).await.unwrap();
    assert_eq!((told.statement_id, told.read_only), (0, true));
    assert_eq!(rows.collect().await.unwrap()[0].num_rows(), 1);

    let (told, rows) = client.run("CREATE SEQUENCE s", false).await.unwrap();
    assert_eq!((told.statement_id, told.read_only), (0, false));
    assert!(rows.collect().await.unwrap().iter().all(|batch| batch.num_rows() == 0));

    // What changes something is not run by a call for what only reads, in a transaction as outside.
    for in_transaction in [false, true] {
        let mut client = Client::connect(&driver).await;
        client.in_transaction = in_transaction;
        for sql in ["CREATE TABLE t (v BIGINT)", "SELECT nextval('s')"] {
            let (told, rows) = client.run(sql, true).await.unwrap();
            assert!(told.statement_id > 0 && !told.read_only, "{sql}");
            assert!(rows.collect().await.unwrap().iter().all(|batch| batch.num_rows() == 0), "{sql}");
        }
        assert_eq!(client.number("SELECT count(*) FROM duckdb_tables() WHERE table_name = 't'").await, 0);
    }
    assert_eq!(client.number("SELECT nextval('s')").await, 1);
    for (sql, kind) in [("SELECT * FROM missing", "Catalog"), ("SELEC 1", "Parser")] {
        assert_eq!(client.run(sql, true).await.err().unwrap().exception_type, kind);
    }
    // The columns come at once, the error when its row is reached; the session goes on.
    let (_, rows) = client
        .run(
            "SELECT (CASE WHEN range < 3000000 THEN range::VARCHAR ELSE 'x' || range END)::BIGINT FROM range(4000000)",
            true,
        )
        .await
        .unwrap();
    assert_eq!(rows.collect().await.unwrap_err().exception_type, "Conversion");
    assert_eq!(client.number("SELECT 1::BIGINT").await, 1);
}

/// DuckDB may work for hours before it looks up.
#[tokio::test(flavor = "multi_thread")]
async fn columns_come_however_long_the_rows_take() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let endless = "SELECT count(*) FROM range(1_000_000_000) a, range(1_000_000_000) b WHERE a.range + b.range < 0";
    let (told, rows) = within(5.0, client.run(endless, true)).await.unwrap();
    assert!(told.read_only);
    drop(rows);
    assert_eq!(within(5.0, client.number("SELECT 1::BIGINT")).await, 1);
}

fn parameter(value: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("1", Arc::new(Int64Array::from_iter_values([value])) as _)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_belong_to_their_session() {
    let driver = driver();
    let mut one = Client::connect(&driver).await;
    let other = Client::connect(&driver).await;
    one.query("CREATE TABLE t(v BIGINT)").await.unwrap();
    one.in_transaction = true;
    one.query("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(one.number("SELECT count(*) FROM t").await, 1);
    assert_eq!(other.number("SELECT count(*) FROM t").await, 0);
    one.end(true).await.unwrap();
    assert_eq!(other.number("SELECT count(*) FROM t").await, 1);

    one.query("DELETE FROM t").await.unwrap();
    one.end(false).await.unwrap();
    assert_eq!(other.number("SELECT count(*) FROM t").await, 1);
    assert_eq!(one.end(true).await.unwrap_err().exception_type, "TransactionContext");
    one.end(false).await.unwrap();

    // A statement of its own must not slip into an open transaction.
    one.query("DELETE FROM t").await.unwrap();
    one.in_transaction = false;
    assert_eq!(one.query("SELECT 1").await.unwrap_err().exception_type, "TransactionContext");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_lost_is_not_begun_again() {
    let driver = driver();
    let mut client = Client::connect(&driver).await;
    client.query("CREATE TABLE t(v BIGINT)").await.unwrap();
    client.in_transaction = true;
    client.mark = Some(TransactionMark { number: 1, begun: false });
    client.query("INSERT INTO t VALUES (1)").await.unwrap();
    client.mark = Some(TransactionMark { number: 1, begun: true });
    client.query("INSERT INTO t VALUES (2)").await.unwrap();
    client.act::<Empty>(EndSession {}).await.unwrap();
    for _ in 0..2 {
        let error = client.query("INSERT INTO t VALUES (3)").await.unwrap_err();
        assert_eq!(error.exception_type, "TransactionContext");
        assert!(error.message.contains("lost the transaction"), "{}", error.message);
    }
    assert_eq!(client.end(true).await.unwrap_err().exception_type, "TransactionContext");
    client.end(false).await.unwrap();

    // An end that was never heard: the next transaction is another one.
    client.mark = Some(TransactionMark { number: 2, begun: false });
    client.query("INSERT INTO t VALUES (4)").await.unwrap();
    client.mark = Some(TransactionMark { number: 3, begun: false });
    assert_eq!(client.number("SELECT count(*) FROM t").await, 0);
    client.end(true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stream_spools_the_first() {
    let directory = std::env::temp_dir().join(format!("duckherder-spooled-{}", uuid::Uuid::new_v4()));
    let settings = vec![("temp_directory".to_string(), directory.display().to_string())];
    let driver =
        Driver::start(DriverOptions { listen: "127.0.0.1:0".to_string(), settings, ..Default::default() }).unwrap();
    let mut client = Client::connect(&driver).await;
    client.in_transaction = true;
    let (_, big) = client.prepare("SELECT range AS v, repeat('x', 100) AS t FROM range(3000000)").await.unwrap();
    let mut first = client.stream(big.statement_id, &[]).await.unwrap();
    let mut rows = first.next().await.unwrap().unwrap().num_rows();
    let mut expected = rows as i64;
    // 300 MB do not fit into what waits in memory: the rest goes to a file while these run.
    assert_eq!(within(60.0, client.number("SELECT 5::BIGINT")).await, 5);
    let second = within(10.0, client.stream(big.statement_id, &[])).await.err().map(|error| error.message);
    assert_eq!(second, None);
    // Made for the file, which has no name.
    assert!(directory.is_dir());
    while let Some(batch) = first.next().await {
        let batch = batch.unwrap();
        if batch.num_rows() > 0 {
            assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), expected);
        }
        rows += batch.num_rows();
        expected += batch.num_rows() as i64;
    }
    assert_eq!(rows, 3_000_000);
    drop(driver);
    let _ = std::fs::remove_dir(&directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_ingested() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    client.query("CREATE TABLE t(v BIGINT PRIMARY KEY, w VARCHAR DEFAULT 'd')").await.unwrap();
    let batches = (0..100).map(|at| numbers(at * 1000, (at + 1) * 1000)).collect();
    let result = client.ingest("INSERT INTO t (v) SELECT v FROM duckherder_input", batches).await.unwrap();
    assert_eq!(result.changed_rows, 100_000);
    assert_eq!(client.number("SELECT count(*) FROM t WHERE w = 'd'").await, 100_000);

    let returned = client
        .ingest("INSERT INTO t (v) SELECT v FROM duckherder_input RETURNING v, w", vec![numbers(-5, 0)])
        .await
        .unwrap();
    assert_eq!(returned.changed_rows, 5);
    assert!(!returned.returned.is_empty());

    // An error in the middle: nothing stays, the client hears of it although it has more rows to send.
    let endless = futures::stream::iter(0..).map(|at| Ok(numbers(200_000 + at, 200_001 + at)));
    let twice = futures::stream::iter([Ok(numbers(0, 1))]).chain(endless);
    let error = within(10.0, client.ingest_stream("INSERT INTO t (v) SELECT v FROM duckherder_input LIMIT 5", twice))
        .await
        .unwrap_err();
    assert_eq!(error.exception_type, "Constraint", "{}", error.message);
    assert_eq!(client.number("SELECT count(*) FROM t").await, 100_005);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_ingest_leaves_nothing() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    client.query("CREATE TABLE t(v BIGINT)").await.unwrap();
    let waiting =
        futures::stream::iter([Ok(numbers(0, 10))]).chain(futures::stream::pending::<Result<_, FlightError>>());
    let call = client.ingest_stream("INSERT INTO t SELECT v FROM duckherder_input", waiting);
    let ended = tokio::time::timeout(Duration::from_millis(500), call).await;
    assert!(ended.is_err(), "{ended:?}");
    let other = Client::connect(&driver).await;
    assert_eq!(other.number("SELECT count(*) FROM t").await, 0);
    // The session is free again.
    assert_eq!(within(20.0, client.number("SELECT count(*) FROM t")).await, 0);
}

/// `INSERT INTO dh.t SELECT ... FROM dh.s, local`: the client opens the ingest first and feeds it from a scan.
#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_may_be_fed_from_its_own_session() {
    let driver = driver();
    let mut client = Client::connect(&driver).await;
    client.query("CREATE TABLE s AS SELECT range AS v FROM range(1000000)").await.unwrap();
    client.query("CREATE TABLE t(v BIGINT)").await.unwrap();
    client.in_transaction = true;
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    send.send(Ok(numbers(-1, 0))).unwrap();
    let rows = tokio_stream::wrappers::UnboundedReceiverStream::new(receive);
    let writer = client.clone();
    let sql = "INSERT INTO t SELECT v FROM duckherder_input";
    let ingest = tokio::spawn(async move { writer.ingest_stream(sql, rows).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let scanned = within(20.0, client.query("SELECT v FROM s")).await.unwrap();
    for batch in scanned {
        let plain = RecordBatch::try_new(numbers(0, 0).schema(), batch.columns().to_vec()).unwrap();
        send.send(Ok(plain)).unwrap();
    }
    drop(send);
    assert_eq!(within(20.0, ingest).await.unwrap().unwrap().changed_rows, 1_000_001);
    client.end(true).await.unwrap();
    client.in_transaction = false;
    assert_eq!(client.number("SELECT sum(v)::BIGINT FROM t").await, 499_999_499_999);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_hold_and_reset() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    client.query("CREATE SCHEMA s").await.unwrap();
    client.query("CREATE TABLE s.t AS SELECT 7::BIGINT AS v").await.unwrap();
    let set = |value: Option<&str>| PrepareStatement {
        sql: "SELECT current_schema() AS s".to_string(),
        settings: vec![Setting { name: "schema".to_string(), value: value.map(str::to_string) }],
        ..Default::default()
    };
    for (value, expected) in [(Some("s"), "s"), (None, "main"), (Some("s"), "s")] {
        let (_, prepared) = client.prepare_command(set(value)).await.unwrap();
        let batches = client.stream(prepared.statement_id, &[]).await.unwrap().collect().await.unwrap();
        assert_eq!(batches[0].column(0).as_string::<i32>().value(0), expected);
    }
    let mut bad = set(None);
    bad.settings[0].name = "a = 1; DROP TABLE s.t; --".to_string();
    assert_eq!(client.prepare_command(bad).await.unwrap_err().exception_type, "Invalid Input");
    assert_eq!(client.number("SELECT v FROM s.t").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_is_described() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    for sql in [
        "CREATE TYPE mood AS ENUM ('a', 'b''c')",
        "CREATE SCHEMA s",
        "CREATE TABLE s.t(id INTEGER PRIMARY KEY, m mood DEFAULT 'a', g INTEGER GENERATED ALWAYS AS (id + 1))",
        "CREATE INDEX i ON s.t(m)",
        "CREATE VIEW v AS SELECT * FROM s.t",
        "CREATE SEQUENCE q",
        "CREATE MACRO m(a, b) AS a + b",
        "CREATE MACRO tm(a) AS TABLE SELECT a AS x",
        "COMMENT ON TABLE s.t IS 'about t'",
        "INSERT INTO s.t (id) SELECT range FROM range(10)",
    ] {
        client.query(sql).await.map_err(|error| format!("{sql}: {}", error.message)).unwrap();
    }
    let catalog: Catalog = client.act(DescribeCatalog::default()).await.unwrap();
    let find = |kind: EntryKind, name: &str| {
        let found = catalog.entries.iter().find(|entry| entry.kind == i32::from(kind) && entry.name == name);
        found.unwrap_or_else(|| unreachable!("no {name} in {:?}", catalog.entries)).clone()
    };
    assert_eq!(catalog.entries.len(), 8);
    let table = find(EntryKind::Table, "t");
    assert_eq!((table.schema.as_str(), table.estimated_rows), ("s", 10));
    assert_eq!(table.comment.as_deref(), Some("about t"));
    assert_eq!(table.columns.len(), 3);
    assert_eq!(table.columns[1].type_name, "ENUM('a', 'b''c')");
    assert_eq!(table.columns[1].default_sql.as_deref(), Some("'a'"));
    assert!(table.columns[0].not_null && table.columns[2].generated);
    assert_eq!(find(EntryKind::View, "v").columns.len(), 3);
    assert_eq!(find(EntryKind::Index, "i").table, "t");
    for (kind, name, sql) in [
        (EntryKind::Type, "mood", "AS ENUM ( 'a', 'b''c' )"),
        (EntryKind::ScalarMacro, "m", "(a, b) AS ((a + b))"),
        (EntryKind::TableMacro, "tm", "(a) AS TABLE (SELECT"),
        (EntryKind::Sequence, "q", "CREATE SEQUENCE"),
        (EntryKind::Schema, "s", "CREATE SCHEMA"),
    ] {
        let entry = find(kind, name);
        assert!(entry.sql.contains(sql), "{name}: {}", entry.sql);
    }
    let again: Catalog =
        client.act(DescribeCatalog { known_version: Some(catalog.version), ..Default::default() }).await.unwrap();
    assert!(again.unchanged && again.entries.is_empty());
    client.query("DROP INDEX s.i").await.unwrap();
    let changed: Catalog =
        client.act(DescribeCatalog { known_version: Some(catalog.version), ..Default::default() }).await.unwrap();
    assert_eq!((changed.unchanged, changed.entries.len()), (false, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_keep_the_users_words() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    let command = PrepareStatement {
        sql: "SELECT count_star() FROM range(10)".to_string(),
        user_sql: "select  COUNT(*) from range(10)".to_string(),
        ..Default::default()
    };
    let (_, prepared) = client.prepare_command(command).await.unwrap();
    client.stream(prepared.statement_id, &[]).await.unwrap().collect().await.unwrap();
    let statistics: QueryStatistics = client.act(ListStatistics { clear: true }).await.unwrap();
    assert_eq!(statistics.queries.len(), 1);
    assert_eq!(statistics.queries[0].sql, "select  COUNT(*) from range(10)");
    assert_eq!(statistics.queries[0].execution_mode, "LOCAL");
    let statistics: QueryStatistics = client.act(ListStatistics { clear: false }).await.unwrap();
    assert!(statistics.queries.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_bounded() {
    let limits = SessionLimits { sessions: 2, idle: Duration::from_secs(600), ..SessionLimits::default() };
    let options = DriverOptions { listen: "127.0.0.1:0".to_string(), limits, ..Default::default() };
    let driver = Driver::start(options).unwrap();
    let client = Client::connect(&driver).await;
    client.query("SELECT 1").await.unwrap();
    client.with_session("second").query("SELECT 1").await.unwrap();
    let error = client.with_session("third").query("SELECT 1").await.unwrap_err();
    assert!(error.message.contains("2 sessions"), "{}", error.message);
    client.query("SELECT 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn types_travel_with_their_columns() {
    let driver = driver();
    let client = Client::connect(&driver).await;
    client.query("CREATE TYPE mood AS ENUM ('sad', 'ok')").await.unwrap();
    client.query("CREATE TABLE t(m mood, j JSON, h HUGEINT)").await.unwrap();
    client
        .query("INSERT INTO t VALUES ('ok', '{\"a\": 1}', 170141183460469231731687303715884105727), (NULL, NULL, 0)")
        .await
        .unwrap();
    let (schema, prepared) = client.prepare("SELECT * FROM t").await.unwrap();
    let types: Vec<_> = schema.fields().iter().map(|field| field.metadata()["duckdb.type"].clone()).collect();
    assert_eq!(types, ["ENUM('sad', 'ok')", "JSON", "HUGEINT"]);
    let batches = client.stream(prepared.statement_id, &[]).await.unwrap().collect().await.unwrap();
    assert_eq!(batches[0].schema(), schema);
    client.query("CREATE TABLE u(m mood, j JSON, h HUGEINT)").await.unwrap();
    let back = client.ingest("INSERT INTO u SELECT * FROM duckherder_input", batches).await.unwrap();
    assert_eq!(back.changed_rows, 2);
    assert_eq!(client.number("SELECT count(*) FROM (FROM t INTERSECT ALL FROM u)").await, 2);
    let texts = StringArray::from(vec!["ok"]);
    let schema = Arc::new(Schema::new(vec![Field::new("m", DataType::Utf8, true)]));
    let plain = RecordBatch::try_new(schema, vec![Arc::new(texts)]).unwrap();
    assert_eq!(plain.column(0).len(), 1);
    client.ingest("INSERT INTO u (m) SELECT m FROM duckherder_input", vec![plain]).await.unwrap();
}
