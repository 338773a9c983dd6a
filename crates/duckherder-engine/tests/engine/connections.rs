//! What the engine promises, against the embedded DuckDB.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use duckherder_engine::{BatchSource, Connection, Database, EngineError};
use duckherder_proto::DUCKDB_TYPE_METADATA;
use duckherder_proto::statement::ResultKind;

fn connect() -> Connection {
    Database::open(":memory:", &[("threads", "2")]).unwrap().connect().unwrap()
}

pub fn rows(connection: &Connection, sql: &str) -> Result<usize, EngineError> {
    connection.query(sql)?.map(|batch| batch.map(|batch| batch.num_rows())).sum()
}

pub fn number(connection: &Connection, sql: &str) -> i64 {
    let batch = connection.query(sql).unwrap().next().unwrap().unwrap();
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

#[test]
fn rows_stream_in_order_and_completely() {
    let connection = connect();
    let mut expected = 0;
    for batch in connection.query("SELECT range AS v FROM range(1000000)").unwrap() {
        for value in batch.unwrap().column(0).as_primitive::<Int64Type>().values() {
            assert_eq!(*value, expected);
            expected += 1;
        }
    }
    assert_eq!(expected, 1_000_000);
}

#[test]
fn errors_keep_their_type() {
    let connection = connect();
    for (sql, kind) in [
        ("SELECT * FROM nowhere", "Catalog"),
        ("SELECT nothing", "Binder"),
        ("SELEC 1", "Parser"),
        ("SELECT 'x'::INTEGER", "Conversion"),
    ] {
        let error = rows(&connection, sql).unwrap_err();
        assert_eq!(error.exception_type, kind, "{sql}: {error}");
    }
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)").unwrap();
    connection.execute("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(rows(&connection, "INSERT INTO t VALUES (1)").unwrap_err().exception_type, "Constraint");
}

#[test]
fn statements_tell_their_columns_and_parameters() {
    let connection = connect();
    connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (m mood, d DECIMAL(18, 3))").unwrap();
    let statement = connection.prepare("SELECT m, d, NULL::JSON AS j FROM t WHERE d = $limit", None).unwrap();
    let types: Vec<&str> = statement
        .schema()
        .fields()
        .iter()
        .map(|field| field.metadata()[DUCKDB_TYPE_METADATA].clone().leak() as &str)
        .collect();
    assert_eq!(types, ["ENUM('sad', 'ok')", "DECIMAL(18,3)", "JSON"]);
    assert_eq!(statement.parameters(), ["limit"]);
    assert_eq!(statement.kind(), ResultKind::Query);
    assert!(statement.read_only());
    let insert = connection.prepare("INSERT INTO t VALUES ('ok', 1)", None).unwrap();
    assert_eq!(insert.kind(), ResultKind::ChangedRows);
    assert!(!insert.read_only());
    assert_eq!(number(&connection, "SELECT count(*) FROM t"), 0, "preparing runs nothing");
}

#[test]
fn parameters_are_values() {
    let connection = connect();
    let schema = Schema::new(vec![Field::new("1", DataType::Utf8, true), Field::new("2", DataType::Int64, true)]);
    let row = |text: Option<&str>, value: i64| {
        let columns: Vec<Arc<dyn Array>> =
            vec![Arc::new(StringArray::from(vec![text])), Arc::new(Int64Array::from(vec![value]))];
        RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap()
    };
    let mut statement = connection.prepare("SELECT $1, $2 + 1", Some(&row(Some("it's"), 1))).unwrap();
    for (text, value) in [(Some("'; DROP TABLE t"), 41), (None, 1)] {
        let batch = statement.execute(Some(&row(text, value))).unwrap().next().unwrap().unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().iter().next().unwrap(), text);
        assert_eq!(batch.column(1).as_primitive::<Int64Type>().value(0), value + 1);
    }
    let missing = connection.prepare("SELECT $1::INTEGER", None).unwrap().execute(None).err().unwrap();
    assert_eq!(missing.exception_type, "Invalid Input", "{missing}");
}

#[test]
fn an_interrupt_stops_a_statement_soon() {
    let connection = connect();
    let interrupter = connection.interrupter();
    let begun = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let thread = std::thread::spawn(move || {
        // Again and again: DuckDB forgets an interrupt that comes before the statement has begun.
        while !ended.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(100));
            interrupter.interrupt();
        }
    });
    let error = rows(&connection, "SELECT count(*) FROM range(100000000) a, range(1000) b WHERE a.range % 7 = b.range")
        .unwrap_err();
    assert_eq!(error.exception_type, "INTERRUPT");
    assert!(begun.elapsed() < Duration::from_secs(10));
    over.store(true, Ordering::Release);
    thread.join().unwrap();
}

#[test]
fn a_dropped_stream_leaves_the_connection_usable() {
    let connection = connect();
    let mut stream = connection.query("SELECT * FROM range(10000000)").unwrap();
    stream.next().unwrap().unwrap();
    drop(stream);
    assert_eq!(number(&connection, "SELECT 1::BIGINT"), 1);
}

/// Two partitions, each with batches that come late.
struct Late {
    polled: AtomicUsize,
    fail: bool,
    left: [AtomicUsize; 2],
}

impl Late {
    fn new(fail: bool) -> Arc<Self> {
        Arc::new(Self { polled: AtomicUsize::new(0), fail, left: [AtomicUsize::new(3), AtomicUsize::new(3)] })
    }
}

impl BatchSource for Late {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true), Field::new("s", DataType::Utf8, true)]))
    }
    fn partitions(&self) -> usize {
        2
    }
    fn poll_next(&self, partition: usize, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, EngineError>>> {
        if self.polled.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            let waker = cx.waker().clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                waker.wake();
            });
            return Poll::Pending;
        }
        let left = &self.left[partition];
        if left.load(Ordering::SeqCst) == 0 {
            return Poll::Ready(None);
        }
        let step = 3 - left.fetch_sub(1, Ordering::SeqCst);
        if self.fail && step == 1 {
            return Poll::Ready(Some(Err(EngineError::new("IO", "the worker went away"))));
        }
        let from = (partition * 3 + step) as i64 * 5000;
        let values: Vec<i64> = (from..from + 5000).collect();
        let texts: Vec<Option<String>> =
            values.iter().map(|v| (v % 3 != 0).then(|| format!("a longer text {v}"))).collect();
        let columns: Vec<Arc<dyn Array>> = vec![Arc::new(Int64Array::from(values)), Arc::new(StringArray::from(texts))];
        Poll::Ready(Some(Ok(RecordBatch::try_new(self.schema(), columns).unwrap())))
    }
}

#[test]
fn an_input_is_a_relation_whose_order_holds() {
    let connection = connect();
    connection.register_input("exchange_0", Late::new(false)).unwrap();
    connection.execute("CREATE TABLE t AS SELECT * FROM exchange_0").unwrap();
    assert_eq!(number(&connection, "SELECT count(*) FROM t WHERE v = rowid"), 30_000);
    assert_eq!(number(&connection, "SELECT count(s) FROM t WHERE s = 'a longer text ' || v"), 20_000);
    connection.register_input("exchange_0", Late::new(false)).unwrap();
    assert_eq!(number(&connection, "SELECT count(*) FROM exchange_0"), 30_000);
    connection.unregister_input("exchange_0").unwrap();
    assert_eq!(rows(&connection, "SELECT * FROM exchange_0").unwrap_err().exception_type, "Catalog");
}

#[test]
fn an_inputs_error_is_the_statements_error() {
    let connection = connect();
    connection.register_input("exchange_0", Late::new(true)).unwrap();
    let error = rows(&connection, "SELECT sum(v) FROM exchange_0").unwrap_err();
    assert_eq!((error.exception_type.as_str(), error.message.as_str()), ("IO", "the worker went away"));
}

/// Wakes its reader before it has answered, on the reader's own thread: a channel does so when a row comes just then.
struct Hasty(AtomicUsize);

impl BatchSource for Hasty {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
    }
    fn poll_next(&self, _: usize, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, EngineError>>> {
        let polled = self.0.fetch_add(1, Ordering::SeqCst);
        if polled.is_multiple_of(2) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = RecordBatch::try_new(self.schema(), vec![Arc::new(Int64Array::from(vec![polled as i64]))]);
        Poll::Ready((polled < 10).then(|| Ok(batch.unwrap())))
    }
}

#[test]
fn a_source_may_wake_its_reader_inside_the_poll() {
    let (done, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let connection = connect();
        connection.register_input("hasty", Arc::new(Hasty(AtomicUsize::new(0)))).unwrap();
        done.send(number(&connection, "SELECT sum(v)::BIGINT FROM hasty")).unwrap();
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(1 + 3 + 5 + 7 + 9));
}

/// Every type with its extremes and a NULL, out through Arrow and back in.
#[test]
fn every_type_crosses_both_ways() {
    let connection = connect();
    connection.execute("CREATE TABLE t AS SELECT * FROM test_all_types()").unwrap();
    let stream = connection.query("SELECT * FROM t").unwrap();
    let schema = stream.schema();
    let batches: Vec<RecordBatch> = stream.map(Result::unwrap).collect();
    struct Fixed(SchemaRef, std::sync::Mutex<Vec<RecordBatch>>);
    impl BatchSource for Fixed {
        fn schema(&self) -> SchemaRef {
            self.0.clone()
        }
        fn poll_next(&self, _: usize, _: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, EngineError>>> {
            Poll::Ready(self.1.lock().unwrap().pop().map(Ok))
        }
    }
    connection.register_input("arrived", Arc::new(Fixed(schema.clone(), std::sync::Mutex::new(batches)))).unwrap();
    connection.execute("CREATE TABLE back AS SELECT * FROM arrived").unwrap();
    let mut wrong = Vec::new();
    for field in schema.fields() {
        let name = format!("\"{}\"", field.name());
        let sql = format!(
            "SELECT count(*) FROM t POSITIONAL JOIN back WHERE t.{name} IS DISTINCT FROM back.{name} \
             OR typeof(t.{name}) <> typeof(back.{name})"
        );
        match connection.query(&sql).and_then(|mut stream| stream.next().transpose()) {
            Ok(Some(batch)) if batch.column(0).as_primitive::<Int64Type>().value(0) == 0 => {}
            other => wrong.push(format!(
                "{name}: {:?}",
                other.map(|b| b.map(|b| b.column(0).as_primitive::<Int64Type>().value(0)))
            )),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_interval_that_arrow_would_falsify_is_an_error() {
    let connection = connect();
    for sql in
        ["SELECT INTERVAL 3000000 HOURS", "SELECT [{'i': INTERVAL 3000000 HOURS}]", "SELECT -INTERVAL 3000000 HOURS"]
    {
        assert_eq!(rows(&connection, sql).unwrap_err().exception_type, "Out of Range", "{sql}");
    }
    assert_eq!(rows(&connection, "SELECT INTERVAL 2000000 HOURS, NULL::INTERVAL, [INTERVAL 5 YEARS]").unwrap(), 1);
}

#[test]
fn a_statement_whose_columns_changed_is_an_error() {
    let connection = connect();
    connection.execute("CREATE TABLE t AS SELECT 1::INTEGER AS a").unwrap();
    let mut statement = connection.prepare("SELECT * FROM t", None).unwrap();
    connection.execute("CREATE OR REPLACE TABLE t AS SELECT 'text' AS a").unwrap();
    let error = statement.execute(None).unwrap().next().unwrap().unwrap_err();
    assert_eq!(error.exception_type, "TransactionContext", "{error}");
}

/// A session's variables come from whoever is connected: bytes that say that a value is a list of lists of lists, without
/// an end, are an error, not the end of the process.
#[test]
fn variables_without_a_bottom_are_an_error() {
    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = |group: &[u8]| {
            let number = group.iter().fold(0, |number: usize, byte| number << 8 | usize::from(*byte));
            [18, 12, 6, 0].map(|shift| char::from(DIGITS[number >> shift & 63]))
        };
        bytes.chunks_exact(3).flat_map(digits).collect()
    }
    // As DuckDB writes a value: its type, here LIST, whose type information has the child's type.
    let (value, list) = ([100, 0], [100, 0, 101, 101, 0, 1, 100, 0, 4, 200, 0]);
    let mut bytes = value.to_vec();
    (0..60_000).for_each(|_| bytes.extend_from_slice(&list));
    bytes.truncate(bytes.len() / 3 * 3);
    let run = move || connect().set_variables(Some(&base64(&bytes))).unwrap_err();
    let thread = std::thread::Builder::new().stack_size(duckherder_engine::STACK_BYTES);
    let error = thread.spawn(run).unwrap().join().unwrap();
    assert_eq!(error.message, "the variables of a session are nested too deeply");
}
