//! Serving rows of tables to workers in other processes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_flight::FlightData;
use duckherder_engine::EngineError;
use duckherder_proto::task::{ReadSplit, ReadStored};
use tonic::Status;

use crate::distribute::{Distributor, SplitRows};
use crate::encode::BatchEncoder;
use crate::error::{DriverError, Result};
use crate::outlet::{Outlet, OutletStream, Sent};
use crate::service::Shared;

/// Starts to stream a split of a running query.
///
/// # Errors
/// This driver distributes nothing, or knows no such split.
pub async fn rows(driver: &Shared, split: ReadSplit) -> Result<OutletStream, Status> {
    stream(driver, move |distributor| distributor.read_split(&split)).await
}

/// Starts to stream row groups to a worker that keeps them.
///
/// # Errors
/// This driver distributes nothing, or the rows have changed.
pub async fn stored(driver: &Shared, stored: ReadStored) -> Result<OutletStream, Status> {
    stream(driver, move |distributor| distributor.read_stored(&stored)).await
}

async fn stream(
    driver: &Shared,
    open: impl FnOnce(&dyn Distributor) -> Result<SplitRows, EngineError> + Send + 'static,
) -> Result<OutletStream, Status> {
    let distributor = distributor(driver)?;
    let (outlet, stream) = Outlet::new(None);
    tokio::task::spawn_blocking(move || {
        let read = || open(distributor.as_ref()).map_err(DriverError::from).and_then(|rows| pump(&outlet, rows));
        // As in `execute::start`.
        let result =
            catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(DriverError::Task("it panicked".to_string())));
        outlet.end(result.map_err(Status::from));
    });
    stream.started().await
}

/// Who knows the rows of running queries.
///
/// # Errors
/// This driver distributes nothing.
pub fn distributor(driver: &Shared) -> Result<Arc<dyn Distributor>> {
    let none = || DriverError::Invalid("this driver distributes no queries".to_string());
    driver.distributor.clone().ok_or_else(none)
}

/// Sends all but the last messages.
fn pump(outlet: &Arc<Outlet>, rows: SplitRows) -> Result<Vec<FlightData>> {
    let (mut encoder, schema) = BatchEncoder::new(rows.schema);
    let mut messages = vec![schema];
    let mut batches = rows.batches;
    loop {
        let next = batches.next().transpose()?;
        match &next {
            Some(batch) => encoder.encode(batch, &mut messages)?,
            None => encoder.finish(&mut messages)?,
        }
        if next.is_none() {
            return Ok(messages);
        }
        if matches!(outlet.send(messages.drain(..), true), Sent::Cancelled) {
            return Err(EngineError::interrupted().into());
        }
    }
}
