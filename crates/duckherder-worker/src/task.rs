//! Running one task: a connection, its inputs, the fragment, the rows on their way back.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow_flight::FlightData;
use duckherder_engine::{Connection, Database, EngineError, Interrupter};
use duckherder_proto::encode::BatchEncoder;
use duckherder_proto::statement::Setting;
use duckherder_proto::task::RunTask;
use futures::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tonic::Status;

use crate::error::{Result, WorkerError};
use crate::input::SplitInput;

/// Messages (of about 3 MiB) that may wait for the driver to take them.
const QUEUED_MESSAGES: usize = 8;
/// How often a cancelled task is interrupted until it has ended: DuckDB forgets an interrupt that comes before the
/// statement starts.
const INTERRUPT_EVERY: Duration = Duration::from_millis(20);

/// Starts a task on a blocking thread, inside the runtime; the stream carries its rows, or its error.
///
/// # Errors
/// An input is malformed, or DuckDB refuses a connection.
pub fn start(database: &Database, task: RunTask) -> Result<TaskStream> {
    let connection = database.connect()?;
    let running = Arc::new(Running {
        interrupter: connection.interrupter(),
        ended: AtomicBool::new(false),
        feeders: Mutex::default(),
    });
    let (sender, messages) = mpsc::channel(QUEUED_MESSAGES);
    let stream = TaskStream { messages, running: Arc::clone(&running) };
    for input in task.inputs {
        let name = input.name.clone();
        let (source, feeder) = SplitInput::fetch(input)?;
        running.feeders.lock().unwrap_or_else(PoisonError::into_inner).push(feeder);
        connection.register_input(&name, Arc::new(source))?;
    }
    tokio::task::spawn_blocking(move || {
        let result = run(&connection, &task.settings, &task.fragment, &sender);
        drop(connection);
        running.ended.store(true, Ordering::SeqCst);
        if let Err(error) = result {
            // A driver that is gone needs no error.
            let _ = sender.blocking_send(Err(error.into()));
        }
    });
    Ok(stream)
}

fn run(
    connection: &Connection,
    settings: &[Setting],
    fragment: &str,
    sender: &mpsc::Sender<std::result::Result<FlightData, Status>>,
) -> Result<()> {
    for Setting { name, value } in settings {
        let name = format!("\"{}\"", name.replace('"', "\"\""));
        match value {
            Some(value) => connection.execute(&format!("SET SESSION {name} = '{}'", value.replace('\'', "''")))?,
            None => connection.execute(&format!("RESET SESSION {name}"))?,
        }
    }
    let mut rows = connection.query(fragment)?;
    let (mut encoder, schema) = BatchEncoder::new(rows.schema());
    let mut messages = vec![schema];
    loop {
        let next = rows.next().transpose()?;
        match &next {
            Some(batch) => encoder.encode(batch, &mut messages)?,
            None => messages.push(encoder.finish()?),
        }
        for message in messages.drain(..) {
            sender.blocking_send(Ok(message)).map_err(|_| EngineError::interrupted())?;
        }
        if next.is_none() {
            return Ok(());
        }
    }
}

struct Running {
    interrupter: Interrupter,
    ended: AtomicBool,
    feeders: Mutex<Vec<AbortHandle>>,
}

/// The messages of a running task; dropping it stops the task.
pub struct TaskStream {
    messages: mpsc::Receiver<std::result::Result<FlightData, Status>>,
    running: Arc<Running>,
}

impl TaskStream {
    /// The stream once its first message is there: a task that fails before it fails as a call.
    ///
    /// # Errors
    /// The task's.
    pub async fn started(mut self) -> std::result::Result<StartedTask, Status> {
        match self.messages.recv().await {
            Some(first) => Ok(StartedTask { first: Some(first?), rest: self }),
            None => Err(WorkerError::Thread("it sent nothing".to_string()).into()),
        }
    }
}

impl Drop for TaskStream {
    fn drop(&mut self) {
        let running = Arc::clone(&self.running);
        for feeder in running.feeders.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            feeder.abort();
        }
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            while !running.ended.load(Ordering::SeqCst) {
                running.interrupter.interrupt();
                tokio::time::sleep(INTERRUPT_EVERY).await;
            }
        });
    }
}

/// A task that has begun to send.
pub struct StartedTask {
    first: Option<FlightData>,
    rest: TaskStream,
}

impl Stream for StartedTask {
    type Item = std::result::Result<FlightData, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => self.rest.messages.poll_recv(cx),
        }
    }
}
