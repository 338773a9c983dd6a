//! What DuckDB is told for the plans of tasks: rows that will arrive, values in a part of a file.

use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use duckherder_engine::{BatchSource, Connection, Database, EngineError};

fn connect() -> Connection {
    Database::open(":memory:", &[("threads", "2")]).unwrap().connect().unwrap()
}

/// The first row's values as one text.
fn text(connection: &Connection, sql: &str) -> String {
    let batch = connection.query(sql).unwrap().next().unwrap().unwrap();
    let values = batch.columns().iter().map(|column| column.as_string::<i32>().value(0).to_string());
    values.collect::<Vec<_>>().join(" ")
}

/// No rows, but an estimate of how many.
struct Expected(Option<u64>);

impl BatchSource for Expected {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
    }
    fn poll_next(&self, _: usize, _: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, EngineError>>> {
        Poll::Ready(None)
    }
    fn estimated_rows(&self) -> Option<u64> {
        self.0
    }
}

#[test]
fn an_input_says_how_many_rows_will_come() {
    let connection = connect();
    for (given, planned) in [(Some(5_000_000), "~5,000,000 rows"), (Some(0), "~1,000 rows"), (None, "~1,048,576 rows")]
    {
        connection.register_input("exchange_0", Arc::new(Expected(given))).unwrap();
        let plan = text(&connection, "EXPLAIN SELECT v FROM exchange_0");
        assert!(plan.contains(planned), "{given:?}: {plan}");
        connection.unregister_input("exchange_0").unwrap();
    }
}

/// A part of one file as a task reads it, joined with all of another.
fn part(folder: &str, files: &str, row_groups: (i64, i64)) -> String {
    let (first, last) = row_groups;
    format!(
        "(SELECT c0 AS k, c1 AS v FROM duckherder_files(0::UBIGINT, 'read_parquet',
         ['{folder}/a.parquet', '{folder}/b.parquet'], NULL, 'k BIGINT, v BIGINT', [{files}],
         [0::UBIGINT, 1::UBIGINT], {first}, {last}, NULL)) p"
    )
}

#[test]
fn a_part_of_a_file_says_which_values_it_has() {
    let folder = std::env::temp_dir().join(format!("duckherder-planning-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.to_str().unwrap();
    let connection = connect();
    let copy = |name: &str, first: i64, key: &str| {
        let sql = format!(
            "COPY (SELECT {key} AS k, range % 10 AS v FROM range({first}, {first} + 20480)) TO '{path}/{name}.parquet'
             (ROW_GROUP_SIZE 2048)"
        );
        connection.execute(&sql).unwrap();
    };
    copy("a", 0, "range");
    copy("b", 20480, "range");
    copy("whole", 0, "range");
    let (a, b) = (format!("'{path}/a.parquet'"), format!("'{path}/b.parquet'"));
    let whole = format!("read_parquet('{path}/whole.parquet') w");
    let plan = |part: &str| text(&connection, &format!("EXPLAIN SELECT count(*) FROM {part} JOIN {whole} USING (k)"));
    // The third and the fourth of its row groups.
    let planned = plan(&part(path, &a, (2, 3)));
    assert!(planned.contains("k >= 4096") && planned.contains("k <= 8191"), "{planned}");
    // Up to the last one.
    let planned = plan(&part(path, &a, (8, -1)));
    assert!(planned.contains("k >= 16384"), "{planned}");
    // Where nothing is left out, nothing is said.
    let planned = plan(&part(path, &format!("{a}, {b}"), (-1, -1)));
    assert!(!planned.contains("k >= "), "{planned}");
    // The second file has nothing that the other side has.
    let sql = format!("SELECT count(*)::VARCHAR FROM {} JOIN {whole} USING (k)", part(path, &b, (-1, -1)));
    assert_eq!(text(&connection, &sql), "0");
    for (row_groups, rows) in [((2, 3), 4096), ((8, -1), 4096), ((0, 0), 2048)] {
        let sql = format!("SELECT count(*)::VARCHAR FROM {} JOIN {whole} USING (k)", part(path, &a, row_groups));
        assert_eq!(text(&connection, &sql), rows.to_string());
    }
    // A file of the same name with other rows: what was remembered of it is not believed.
    copy("a", 0, "range + 100");
    let sql = format!("SELECT min(k)::VARCHAR, max(k)::VARCHAR FROM {}", part(path, &a, (2, 3)));
    assert_eq!(text(&connection, &sql), "4196 8291");
    let planned = plan(&part(path, &a, (2, 3)));
    assert!(planned.contains("k >= 4196"), "{planned}");
    // NULLs are not between the least and the greatest.
    copy("a", 0, "CASE WHEN range % 5 = 0 THEN NULL ELSE range END");
    for (kind, rows) in [("JOIN", 3277), ("LEFT JOIN", 4096), ("SEMI JOIN", 3277), ("ANTI JOIN", 819)] {
        let sql = format!("SELECT count(*)::VARCHAR FROM {} {kind} {whole} ON p.k = w.k", part(path, &a, (2, 3)));
        assert_eq!(text(&connection, &sql), rows.to_string(), "{kind}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
