//! A database whose queries go to workers in this process, beside the same database without.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use duckherder_driver::cluster::Cluster;
use duckherder_driver::distribute::{Distributor, ExecutionOutcome, SessionDistributor};
use duckherder_driver::scheduler::Scheduler;
use duckherder_engine::{Connection, Database, EngineError};

pub mod battery;
pub mod skew;
pub mod stages;

/// A database with a scheduler.
pub struct Herd {
    pub database: Database,
    pub scheduler: Arc<dyn Distributor>,
    /// A connection without a hook.
    pub plain: Connection,
}

/// A connection whose queries are distributed.
pub struct Session {
    pub connection: Connection,
    pub distributor: Box<dyn SessionDistributor>,
}

impl Herd {
    /// With workers in this process.
    pub fn new(workers: usize) -> Self {
        Self::open(workers, &[("threads", "4")])
    }

    pub fn open(workers: usize, settings: &[(&str, &str)]) -> Self {
        let database = Database::open(":memory:", settings).unwrap();
        let scheduler = Scheduler::new(database.clone(), Arc::new(Cluster::new(workers)), 0, None).unwrap();
        Self::with(database, Arc::new(scheduler))
    }

    pub fn with(database: Database, scheduler: Arc<dyn Distributor>) -> Self {
        let plain = database.connect().unwrap();
        Self { database, scheduler, plain }
    }

    pub fn session(&self) -> Session {
        let connection = self.database.connect().unwrap();
        let distributor = self.scheduler.open_session(&connection).unwrap();
        Session { connection, distributor }
    }

    /// Both answers are the same, in the same order; how the session ran it.
    pub fn same_ordered(&self, session: &mut Session, sql: &str) -> ExecutionOutcome {
        let (rows, outcome) = session.query(sql).unwrap_or_else(|error| panic!("{sql}\n{error}"));
        compare(sql, &rows, &rows_of(&self.plain, sql).unwrap());
        outcome
    }

    /// Both answers are the same, in any order.
    pub fn same(&self, session: &mut Session, sql: &str) -> ExecutionOutcome {
        let (mut rows, outcome) = session.query(sql).unwrap_or_else(|error| panic!("{sql}\n{error}"));
        let mut expected = rows_of(&self.plain, sql).unwrap();
        rows.sort();
        expected.sort();
        compare(sql, &rows, &expected);
        outcome
    }
}

fn compare(sql: &str, rows: &[String], expected: &[String]) {
    if let Some(difference) = first_difference(rows, expected) {
        panic!("{difference}\n{sql}");
    }
}

/// What the rows differ in, in any order.
pub fn difference(mut rows: Vec<String>, mut expected: Vec<String>) -> Option<String> {
    rows.sort();
    expected.sort();
    first_difference(&rows, &expected)
}

fn first_difference(rows: &[String], expected: &[String]) -> Option<String> {
    if rows.len() != expected.len() {
        return Some(format!("{} rows, not {}", rows.len(), expected.len()));
    }
    for (row, expected) in rows.iter().zip(expected) {
        for (number, (cell, wanted)) in row.split(" | ").zip(expected.split(" | ")).enumerate() {
            if !same_cell(cell, wanted) {
                return Some(format!("column {number}: {cell:.200} is not {wanted:.200}"));
            }
        }
    }
    None
}

/// Floating point numbers, which alone are written with an exponent, may differ in their last digits.
fn same_cell(cell: &str, wanted: &str) -> bool {
    if cell == wanted {
        return true;
    }
    match (cell.contains('e'), cell.parse::<f64>(), wanted.parse::<f64>()) {
        (true, Ok(cell), Ok(wanted)) => (cell - wanted).abs() <= 1e-8 * wanted.abs().max(1.0),
        _ => false,
    }
}

impl Session {
    pub fn query(&mut self, sql: &str) -> Result<(Vec<String>, ExecutionOutcome), EngineError> {
        self.distributor.statement_starts(sql);
        let rows = rows_of(&self.connection, sql);
        let outcome = self.distributor.statement_ended();
        Ok((rows?, outcome))
    }
}

/// The rows as text; floating point numbers rounded, since their sums depend on the order.
pub fn rows_of(connection: &Connection, sql: &str) -> Result<Vec<String>, EngineError> {
    let mut rows = Vec::new();
    for batch in connection.query(sql)? {
        rows.extend(text_of(&batch?));
    }
    Ok(rows)
}

/// A line a row.
pub fn text_of(batch: &RecordBatch) -> Vec<String> {
    (0..batch.num_rows()).map(|row| row_text(batch, row)).collect()
}

fn row_text(batch: &RecordBatch, row: usize) -> String {
    let cells: Vec<String> = batch.columns().iter().map(|column| cell_text(column.as_ref(), row)).collect();
    cells.join(" | ")
}

fn cell_text(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_string();
    }
    match column.data_type() {
        DataType::Float64 => format!("{:e}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => format!("{:.5e}", column.as_primitive::<Float32Type>().value(row)),
        _ => {
            let options = FormatOptions::default();
            ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
        }
    }
}
