//! One task: a fragment over its inputs.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_flight::FlightData;
use duckherder_engine::{Connection, Database, EngineError, Interrupter};
use duckherder_proto::encode::BatchEncoder;
use duckherder_proto::task::RunTask;
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::error::Result;
use crate::input::RemoteInput;
use crate::service::Drivers;

/// Messages that may wait to be sent.
const QUEUE_MESSAGES: usize = 4;

/// Runs a task; dropping the stream stops it. To be called inside the runtime.
pub fn run(
    database: Database,
    drivers: Arc<Drivers>,
    task: RunTask,
) -> impl Stream<Item = Result<FlightData, Status>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES);
    let cancel = Arc::new(Cancel::default());
    let on_drop = CancelOnDrop(Arc::clone(&cancel));
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let sent = send_rows(&database, &drivers, &task, &cancel, &runtime, &sender);
        cancel.finish();
        if let Err(error) = sent {
            tracing::debug!(query = task.query_id, task = task.task, %error, "task failed");
            // The driver has gone if this fails.
            let _ = sender.blocking_send(Err(error.into()));
        }
    });
    ReceiverStream::new(receiver).map(move |message| {
        let _alive = &on_drop;
        message
    })
}

fn send_rows(
    database: &Database,
    drivers: &Drivers,
    task: &RunTask,
    cancel: &Cancel,
    runtime: &Handle,
    sender: &mpsc::Sender<Result<FlightData, Status>>,
) -> Result<()> {
    let connection = database.connect()?;
    apply_settings(&connection, task)?;
    for input in &task.inputs {
        connection.register_input(&input.name, RemoteInput::open(input, drivers, runtime)?)?;
    }
    let rows = connection.query(&task.fragment)?;
    // DuckDB forgets an interrupt that comes before the statement starts.
    if !cancel.arm(connection.interrupter()) {
        return Err(EngineError::interrupted().into());
    }
    let (mut encoder, schema) = BatchEncoder::new(rows.schema());
    let mut messages = vec![schema];
    let send = |messages: &mut Vec<FlightData>| -> Result<()> {
        for message in messages.drain(..) {
            if sender.blocking_send(Ok(message)).is_err() {
                return Err(EngineError::interrupted().into());
            }
        }
        Ok(())
    };
    for batch in rows {
        encoder.encode(&batch?, &mut messages)?;
        send(&mut messages)?;
    }
    messages.push(encoder.finish()?);
    send(&mut messages)
}

fn apply_settings(connection: &Connection, task: &RunTask) -> Result<()> {
    for setting in &task.settings {
        let Some(value) = &setting.value else { continue };
        let (name, value) = (setting.name.replace('"', "\"\""), value.replace('\'', "''"));
        connection.execute(&format!("SET SESSION \"{name}\" = '{value}'"))?;
    }
    Ok(())
}

/// Interrupts a task from another thread.
#[derive(Default)]
struct Cancel {
    state: Mutex<CancelState>,
}

#[derive(Default)]
struct CancelState {
    cancelled: bool,
    interrupter: Option<Interrupter>,
}

impl Cancel {
    /// From here on the statement can be interrupted; whether it may go on.
    fn arm(&self, interrupter: Interrupter) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.interrupter = Some(interrupter);
        !state.cancelled
    }

    fn finish(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).interrupter = None;
    }

    fn cancel(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cancelled = true;
        if let Some(interrupter) = &state.interrupter {
            interrupter.interrupt();
        }
    }
}

struct CancelOnDrop(Arc<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
