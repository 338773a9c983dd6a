//! Rows on their way to a statement on a driver, no more of them than the driver keeps up with.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightDescriptor;
use duckherder_engine::client::{Patience, RemoteIngest, StatementText};
use duckherder_engine::{BatchSource, EngineError, Result};
use duckherder_proto::any::Command;
use duckherder_proto::segments::{self, SegmentEncoder};
use duckherder_proto::statement::{IngestResult, IngestRows};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;

use crate::call::{Line, Place, in_place};
use crate::io_error;
use crate::put::{Pieces, PutChannel};
use crate::route::Effect;
use crate::rows::StoredRows;
use crate::runtime::{runtime, wait};
use crate::transaction::TransactionState;

/// Batches (of about 8 MiB) that wait for the network.
const WAITING_BATCHES: usize = 2;

/// A running `DoPut`.
pub struct Ingest {
    schema: SchemaRef,
    encoder: SegmentEncoder,
    /// What to tell once the driver has answered, if the rows are part of a transaction.
    transaction: Option<Arc<TransactionState>>,
    messages: Option<mpsc::Sender<Pieces>>,
    answer: Option<JoinHandle<Result<IngestResult>>>,
}

impl Ingest {
    /// Begins the call; what its loss means is that of `effect`, where another driver may take over.
    ///
    /// # Errors
    /// There are no threads to do it; what the driver says comes out later.
    pub fn begin(
        line: Line,
        effect: Option<Effect>,
        place: Place,
        transaction: Arc<TransactionState>,
        statement: &StatementText,
        schema: SchemaRef,
    ) -> Result<Self> {
        let command = IngestRows {
            sql: statement.sql.clone(),
            user_sql: statement.user_sql.clone(),
            settings: statement.settings.clone(),
            in_transaction: statement.in_transaction,
        };
        let (encoder, first) = SegmentEncoder::new(Arc::clone(&schema))?;
        let first = segments::message(first.with_descriptor(FlightDescriptor::new_cmd(command.pack())));
        let (messages, waiting) = mpsc::channel(WAITING_BATCHES);
        // An empty channel takes the first message.
        messages.try_send(Pieces::More(first)).map_err(|_| EngineError::internal("an empty channel is full"))?;
        let answer = runtime()?.spawn(async move {
            let answer = line.unless_superseded(put(&line, &place, waiting)).await;
            answer.map_err(|error| match effect {
                Some(effect) if error.is_of_driver() => effect.told(error),
                _ => error,
            })
        });
        let transaction = statement.in_transaction.then_some(transaction);
        Ok(Self { schema, encoder, transaction, messages: Some(messages), answer: Some(answer) })
    }

    fn send(&mut self, pieces: Pieces, patience: &Patience) -> Result<()> {
        let Some(sender) = self.messages.clone() else {
            return Err(EngineError::internal("an ingest that has ended gets more rows"));
        };
        let sent = match sender.try_send(pieces) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(pieces)) => wait(patience, async move { Ok(sender.send(pieces).await.is_ok()) })?,
        };
        if sent {
            return Ok(());
        }
        // The call is over before the rows are: the driver has something to say.
        self.take_answer(patience)?;
        Err(io_error("the driver ended a statement before it had read all rows"))
    }

    fn take_answer(&mut self, patience: &Patience) -> Result<IngestResult> {
        self.messages = None;
        let Some(answer) = self.answer.take() else {
            return Err(EngineError::internal("an ingest is asked twice for its end"));
        };
        let call = answer.abort_handle();
        let ended = wait(patience, async { answer.await.map_err(|error| io_error(error.to_string()))? });
        if ended.is_err() {
            call.abort();
        }
        ended
    }
}

async fn put(line: &Line, place: &Place, waiting: mpsc::Receiver<Pieces>) -> Result<IngestResult> {
    let mut client = line.client_over(|channel| PutChannel::new(channel, waiting));
    // The channel puts the rows in the place of this empty stream.
    let call = in_place(futures::stream::empty(), Some(place));
    let answer = client.do_put(call).await.map_err(|status| line.error(&status))?;
    let mut answers = answer.into_inner();
    let result = answers.message().await.map_err(|status| line.error(&status))?;
    let result = result.ok_or_else(|| io_error(format!("the driver at {} gave no answer", line.address)))?;
    line.unpack(result.app_metadata)
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // An unfinished call is cancelled, so that the driver rolls the statement back.
        if let Some(answer) = self.answer.take() {
            answer.abort();
        }
    }
}

impl RemoteIngest for Ingest {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn write(&mut self, batch: RecordBatch, patience: &Patience) -> Result<()> {
        let pieces = self.encoder.encode(&batch)?;
        self.send(Pieces::More(pieces), patience)
    }

    fn finish(&mut self, patience: &Patience) -> Result<(i64, Option<Arc<dyn BatchSource>>)> {
        let last = self.encoder.finish()?;
        self.send(Pieces::Last(last), patience)?;
        let result = self.take_answer(patience)?;
        if let Some(transaction) = &self.transaction {
            transaction.answered();
        }
        if result.returned.is_empty() {
            return Ok((result.changed_rows, None));
        }
        Ok((result.changed_rows, Some(Arc::new(StoredRows::decode(&result.returned)?))))
    }
}
