//! Fetching what is missing, one small piece after the other, no faster than leaves room for queries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use arrow_flight::Ticket;
use arrow_flight::flight_service_client::FlightServiceClient;
use duckherder_engine::EngineError;
use duckherder_proto::MAX_MESSAGE_BYTES;
use duckherder_proto::any::Command;
use duckherder_proto::decode::{BatchStream, Received};
use duckherder_proto::error::ErrorDetail;
use duckherder_proto::task::{ReadStored, StoredGroup, StoredRows};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::pieces::{Columns, Piece};
use super::{ROW_ID, SplitCache, qualified, quoted};
use crate::error::Result;
use crate::input::{Input, Item, Source};

/// Row groups that are fetched at once.
const MOST_GROUPS: usize = 8;
/// At most so much comes in a second.
const BYTES_A_SECOND: u64 = 256 << 20;
/// Batches that may wait to be written.
const QUEUE_BATCHES: usize = 2;
/// The part of the worker's memory up to which numbers are kept as they are, to be scanned as fast as a table in memory: up
/// to one and a half times as fast as compressed. Beyond, it matters more how much has to be read from the disk.
const PLAIN_PART: u64 = 4;
/// How numbers, and texts that a dictionary does not serve, are compressed. (Texts in dictionaries are grouped and compared
/// up to twice as fast as others.)
const COMPRESSIONS: &str = "bitpacking,rle,chimp,patas,alp,alprd,roaring,fsst,zstd";
/// The rows that come, while they are written.
const ARRIVING: &str = "duckherder_cache_arriving";

/// The columns that arrive, then those rows, and how many bytes these had.
type Arriving = (SchemaRef, mpsc::Receiver<Item>, Arc<AtomicU64>);

impl SplitCache {
    /// Fetches all that waits.
    pub(super) fn fill_all(self: &Arc<Self>, runtime: &Handle) {
        loop {
            let (wanted, location, missing) = {
                let mut state = self.lock();
                let Some((wanted, location)) = state.waiting.pop_front().filter(|_| !state.closed) else {
                    state.filling = false;
                    return;
                };
                let missing = state.pieces.missing(&wanted);
                (wanted, location, missing)
            };
            let pieces = missing
                .iter()
                .flat_map(|(groups, columns)| groups.chunks(MOST_GROUPS).map(move |some| (some, columns)));
            for (groups, columns) in pieces {
                let (begun, life) = (Instant::now(), self.life());
                match self.fill(&wanted, &location, groups, columns, runtime) {
                    // Between two pieces: the driver's transaction, which a checkpoint may wait for, is not to last.
                    Ok(bytes) => std::thread::sleep(least_time(bytes).saturating_sub(begun.elapsed())),
                    Err(error) => {
                        // The rows have changed, the driver is gone, the disk is full: nobody needs it.
                        tracing::debug!(table = wanted.table, %error, "rows were not kept");
                        self.mend(life);
                        break;
                    }
                }
            }
        }
    }

    /// Fetches a piece; its bytes.
    fn fill(
        &self,
        wanted: &StoredRows,
        location: &str,
        groups: &[StoredGroup],
        columns: &Columns,
        runtime: &Handle,
    ) -> Result<u64> {
        let (table, columns_read) = (wanted.table.clone(), columns.keys().copied().collect());
        let read = ReadStored { table, columns: columns_read, groups: groups.to_vec(), query_id: 0 };
        let (schema, arriving, bytes) = runtime.block_on(self.ask(location, &read))?;
        let table = format!("piece_{}", uuid::Uuid::new_v4().simple());
        let written = self.write(&table, &schema, arriving, columns);
        if bytes.load(Ordering::Relaxed) > self.limit {
            self.refuse(&wanted.groups);
        }
        match written {
            Ok(()) => {
                let (driver, groups, columns) = (wanted.driver, groups.to_vec(), columns.clone());
                let bytes = bytes.load(Ordering::Relaxed);
                self.keep(Piece { table, driver, columns, groups, bytes })?;
                Ok(bytes)
            }
            Err(error) => {
                self.drop_tables(&[table])?;
                Err(error)
            }
        }
    }

    fn write(&self, table: &str, schema: &SchemaRef, arriving: mpsc::Receiver<Item>, columns: &Columns) -> Result<()> {
        let connection = self.database.connect()?;
        // Types are those that a task's inputs would have.
        connection.run_tasks()?;
        {
            let mut state = self.lock();
            if state.closed {
                return Err(EngineError::interrupted().into());
            }
            state.interrupter = Some(connection.interrupter());
        }
        let much = self.bytes() > self.database.resources()?.memory_limit_bytes / PLAIN_PART;
        let disabled = if much { "" } else { COMPRESSIONS };
        connection.execute(&format!("SET GLOBAL disabled_compression_methods = '{disabled}'"))?;
        let input = Input::new(Arc::clone(schema), None, vec![Source::Remote(arriving)]);
        connection.register_input(ARRIVING, input)?;
        let names: Vec<String> = columns.values().map(|name| quoted(name)).collect();
        let (names, table) = (names.join(", "), qualified(table));
        let written = connection
            .execute(&format!("CREATE TABLE {table} AS SELECT * FROM {ARRIVING} AS arriving({ROW_ID}, {names})"));
        self.lock().interrupter = None;
        connection.unregister_input(ARRIVING)?;
        written?;
        // A type that a table can't have as it came would change the answer.
        let kept = connection.prepare(&format!("SELECT * FROM {table}"), None)?.schema();
        let types =
            |schema: &SchemaRef| -> Vec<_> { schema.fields().iter().map(|field| field.data_type().clone()).collect() };
        match types(&kept) == types(schema) {
            true => Ok(()),
            false => Err(EngineError::internal(format!("{} is kept with other types", table)).into()),
        }
    }

    /// Asks the driver for rows; they come as fast as they may.
    async fn ask(&self, location: &str, read: &ReadStored) -> Result<Arriving> {
        let channel = self.peers.channel(location)?;
        let mut client = FlightServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let failed = |detail: ErrorDetail| EngineError::from(detail);
        let answer = client
            .do_get(Ticket::new(read.pack()))
            .await
            .map_err(|status| failed(ErrorDetail::from_status(&status)))?;
        let mut stream = BatchStream::new(answer.into_inner());
        let Some(Received::Schema(schema)) = stream.next().await.map_err(failed)? else {
            return Err(EngineError::new("IO", "the driver sends rows without columns").into());
        };
        let (sender, receiver) = mpsc::channel(QUEUE_BATCHES);
        let limit = self.limit;
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        tokio::spawn(async move {
            let last = loop {
                let (batch, size) = match stream.next().await {
                    Ok(Some(Received::Batch(batch, bytes))) => (batch, bytes),
                    Ok(Some(Received::Schema(_))) => continue,
                    Ok(None) => break Item::End,
                    Err(detail) => break Item::Failed(EngineError::from(detail)),
                };
                let so_far = counted.fetch_add(size, Ordering::Relaxed) + size;
                if so_far > limit {
                    break Item::Failed(EngineError::new("Out of Memory", "the rows are more than the cache may keep"));
                }
                if sender.send(Item::Batch(batch)).await.is_err() {
                    return;
                }
            };
            // Nobody writes any more if this fails.
            let _ = sender.send(last).await;
        });
        Ok((schema, receiver, bytes))
    }
}

/// How long so many bytes are to take.
fn least_time(bytes: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / BYTES_A_SECOND as f64)
}
