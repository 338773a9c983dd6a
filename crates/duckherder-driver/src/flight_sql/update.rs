//! Running statements for what they change.
//!
//! Many clients send every statement as a query, `CREATE TABLE` too, and never fetch its rows. So a statement that
//! has none runs when it is asked for, and its count waits for whoever fetches it.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use duckherder_proto::statement::ResultKind;

use crate::alone::may_write_files;
use crate::encode::BatchEncoder;
use crate::error::Result;
use crate::session::{Prepared, SessionCore};
use crate::statistics::Statistics;

/// Runs a prepared statement once for each row of parameter values, all of them or none; the rows changed.
///
/// # Errors
/// There is no such statement, or what DuckDB says of it.
pub fn run(core: &mut SessionCore, id: u64, rows: &[RecordBatch], statistics: &Statistics) -> Result<i64> {
    let mut prepared = core.take(id)?;
    let changed = run_taken(core, &mut prepared, rows, statistics);
    core.put_back(id, prepared);
    changed
}

fn run_taken(
    core: &mut SessionCore,
    prepared: &mut Prepared,
    rows: &[RecordBatch],
    statistics: &Statistics,
) -> Result<i64> {
    let in_transaction = core.connection.in_transaction();
    let many = rows.iter().map(RecordBatch::num_rows).sum::<usize>() > 1;
    let (sql, writes_files) = (prepared.user_sql.clone(), may_write_files(&prepared.sql));
    core.measured(sql, statistics, |core| {
        // What has failed is rolled back before it is run once more.
        core.run_or_alone(
            in_transaction,
            || !writes_files,
            |core| {
                let own_transaction = many && !in_transaction;
                core.join_transaction(own_transaction)?;
                let changed = prepared.count_changes(core, rows);
                if own_transaction {
                    core.end_transaction(changed.is_ok())?;
                }
                changed
            },
        )
    })
}

/// Runs a statement that returns no rows right now, with the parameters bound to it, and keeps its count. Others
/// wait to be fetched.
///
/// # Errors
/// There is no such statement, or what DuckDB says of it.
pub fn run_if_without_rows(core: &mut SessionCore, id: u64, statistics: &Statistics) -> Result<()> {
    let prepared = core.statement(id)?;
    if prepared.statement.kind() == ResultKind::Query {
        return Ok(());
    }
    let bound = prepared.bound.clone();
    let changed = run(core, id, &bound, statistics)?;
    core.statement(id)?.changed_rows = Some(changed);
    Ok(())
}

/// The rows of a statement that has run already: its count, or none.
///
/// # Errors
/// Arrow can't encode them.
pub fn finished_rows(schema: SchemaRef, kind: ResultKind, changed_rows: i64) -> Result<Vec<FlightData>> {
    let (mut encoder, first) = BatchEncoder::new(Arc::clone(&schema));
    let mut messages = vec![first];
    if kind == ResultKind::ChangedRows {
        let count = Int64Array::from(vec![changed_rows]);
        encoder.encode(&RecordBatch::try_new(schema, vec![Arc::new(count)])?, &mut messages)?;
    }
    encoder.finish(&mut messages)?;
    Ok(messages)
}
