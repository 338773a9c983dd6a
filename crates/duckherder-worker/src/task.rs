//! One task: a fragment over its inputs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::Schema;
use arrow_flight::FlightData;
use duckherder_engine::distribute::TaskQuery;
use duckherder_engine::{Connection, CpuMeter, EngineError, Interrupter, ResultStream};
use duckherder_proto::any::Command;
use duckherder_proto::encode::{BatchEncoder, nanoseconds};
use duckherder_proto::task::{InputsHere, RunTask, TaskInput, TaskMade, TaskMoved, TaskProgress};
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::cache::{Found, SplitCache};
use crate::connections::{TaskConnection, TaskConnections};
use crate::error::{Result, WorkerError};
use crate::files;
use crate::input::Input;
use crate::peers::Peers;
use crate::shuffle::{
    self, CollectedKeys, DivideBy, Division, HashDivision, KeyFilter, Notices, Partitions, Room, ShuffleStore, TaskKey,
};
use crate::storage::{InUse, StorageReads};

/// Messages that may wait to be sent.
const QUEUE_MESSAGES: usize = 4;
/// How often a task that is watched says how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Where the messages of a task's answer go.
type Sender = mpsc::Sender<Result<FlightData, Status>>;

/// What a task runs on, where it gets rows from, and where its own wait.
pub struct Place {
    pub connections: Arc<TaskConnections>,
    pub peers: Arc<Peers>,
    pub store: Arc<ShuffleStore>,
    pub cache: Option<Arc<SplitCache>>,
    pub storage: Arc<StorageReads>,
}

/// Runs a task; dropping the stream stops it. To be called inside the runtime.
pub fn run(place: Place, task: RunTask) -> impl Stream<Item = Result<FlightData, Status>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES);
    let cancel = Arc::new(Cancel::default());
    let on_drop = CancelOnDrop(Arc::clone(&cancel));
    let runtime = Handle::current();
    if task.watched {
        tokio::spawn(tell_progress(Arc::clone(&cancel), sender.downgrade()));
    }
    tokio::task::spawn_blocking(move || {
        let kept = Kept::of(&place, &task, &runtime);
        let running = Running { place: &place, task: &task, kept: &kept, cancel: &cancel, runtime: &runtime };
        let run = || -> Result<TaskConnection> {
            let mut connection = place.connections.open(&task, &kept.queries())?;
            let seat = place.store.seat(task.query_id);
            connection.connection.sit(&seat);
            match task.partitions {
                0 => running.send_rows(&mut connection, &sender)?,
                _ => running.keep_rows(&mut connection, &sender)?,
            }
            for input in &task.inputs {
                connection.connection.unregister_input(&input.name)?;
                connection.connection.unregister_input(&rest_of(input))?;
            }
            Ok(connection)
        };
        // Whoever waits for rows would wait for ever.
        let sent = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(EngineError::internal(format!("task {} panicked", task.task)).into()));
        let sent = sent.map_err(|error| kept.blame(&place, error));
        cancel.finish();
        match sent {
            Ok(connection) => place.connections.give_back(connection),
            Err(error) => {
                tracing::debug!(query = task.query_id, stage = task.stage, task = task.task, %error, "task failed");
                // The driver has gone if this fails.
                let _ = sender.blocking_send(Err(error.into()));
            }
        }
    });
    ReceiverStream::new(receiver).map(move |message| {
        let _alive = &on_drop;
        message
    })
}

/// Says how far the task is, as long as it sends something. It waits for nobody: rows go first.
async fn tell_progress(task: Arc<Cancel>, sender: mpsc::WeakSender<Result<FlightData, Status>>) {
    let mut told = 0.0;
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        let Some(sender) = sender.upgrade() else { return };
        if let Some(done) = task.progress().filter(|done| *done > told) {
            let message = FlightData::new().with_app_metadata(TaskProgress { done }.pack());
            if sender.try_send(Ok(message)).is_ok() {
                told = done;
            }
        }
    }
}

/// Of each input of a task, its rows if they can be read without the driver, for as long as the task runs.
struct Kept {
    inputs: Vec<Option<Here>>,
    /// What of them is in the driver's storage.
    _mounted: Option<InUse>,
    /// Of the cache's file.
    life: u64,
}

/// Rows that can be read without the driver.
enum Here {
    InCache(Found),
    /// A query of them.
    InStorage(String),
}

impl Here {
    /// A query of the rows.
    fn sql(&self) -> &str {
        match self {
            Self::InCache(found) => &found.sql,
            Self::InStorage(sql) => sql,
        }
    }
}

impl Kept {
    /// What should be in the cache and is not will be the next time.
    fn of(place: &Place, task: &RunTask, runtime: &Handle) -> Self {
        let reads_storage = task.inputs.iter().any(|input| !input.storage_sql.is_empty());
        let state = task.storage.as_ref().filter(|_| reads_storage);
        let mounted = state.and_then(|state| place.storage.open(state));
        let _inside = runtime.enter();
        let life = place.cache.as_ref().map_or(0, |cache| cache.life());
        let find = |input: &TaskInput| {
            if mounted.is_some() && !input.storage_sql.is_empty() {
                return Some(Here::InStorage(input.storage_sql.clone()));
            }
            let (cache, stored) = (place.cache.as_ref()?, &input.stored);
            let found = cache.find(stored, &rest_of(input));
            let complete = found.as_ref().is_some_and(|found| found.missing.is_empty());
            if let (false, Some(source)) = (complete, input.sources.first()) {
                stored.iter().for_each(|part| cache.want(part, &source.location));
            }
            found.map(Here::InCache)
        };
        let inputs = task.inputs.iter().map(find).collect();
        Self { inputs, _mounted: mounted, life }
    }

    /// The error with which the task ends. If the cache's file was at fault, it says nothing of the task.
    fn blame(&self, place: &Place, error: WorkerError) -> WorkerError {
        let from_cache = |here: &Here| matches!(here, Here::InCache(_));
        let used = place.cache.as_ref().filter(|_| self.inputs.iter().flatten().any(from_cache));
        match used.is_some_and(|cache| cache.mend(self.life)) {
            true => EngineError::lost(format!("its cache failed: {error}")).into(),
            false => error,
        }
    }

    /// What is read in the place of each input that is here.
    fn queries(&self) -> Vec<Option<&str>> {
        self.inputs.iter().map(|here| here.as_ref().map(Here::sql)).collect()
    }

    /// How many inputs are all here.
    fn count(&self) -> InputsHere {
        let mut count = InputsHere::default();
        for here in self.inputs.iter().flatten() {
            match here {
                Here::InCache(found) => count.cached += u32::from(found.missing.is_empty()),
                Here::InStorage(_) => count.from_storage += 1,
            }
        }
        count
    }
}

/// The name of what is missing of an input.
fn rest_of(input: &TaskInput) -> String {
    format!("{}_rest", input.name)
}

/// A task and what it works with.
struct Running<'a> {
    place: &'a Place,
    task: &'a RunTask,
    kept: &'a Kept,
    cancel: &'a Cancel,
    runtime: &'a Handle,
}

impl Running<'_> {
    /// Starts the task's fragment over its inputs.
    fn start(&self, connection: &mut TaskConnection) -> Result<ResultStream> {
        files::check(&self.task.files)?;
        connection.connection.watch(self.task.watched);
        for (input, here) in self.task.inputs.iter().zip(&self.kept.inputs) {
            let connection = &connection.connection;
            let Some(here) = here else {
                connection.register_input(&input.name, Input::open(input, self.place, self.runtime)?)?;
                continue;
            };
            connection.register_query(&input.name, here.sql())?;
            if let Here::InCache(found) = here
                && !found.missing.is_empty()
            {
                let rest = Input::open_rest(input, &found.missing, self.task.query_id, self.place, self.runtime)?;
                connection.register_input(&rest_of(input), rest)?;
            }
        }
        let rows = connection.start(&TaskQuery::from_bytes(self.task.fragment.clone()))?;
        // DuckDB forgets an interrupt that comes before the statement starts.
        self.go_on(Stop::Statement(connection.connection.interrupter()))?;
        Ok(rows)
    }

    /// From here on this can be stopped.
    fn go_on(&self, stop: Stop) -> Result<(), EngineError> {
        match self.cancel.arm(stop) {
            true => Ok(()),
            false => Err(EngineError::interrupted()),
        }
    }

    /// Measures what the task costs, if it is to be measured.
    fn meter(&self, connection: &Connection) -> Result<Option<CpuMeter>> {
        Ok(self.task.analyzed.then(|| connection.measure_cpu()).transpose()?)
    }

    fn send_rows(&self, connection: &mut TaskConnection, sender: &Sender) -> Result<()> {
        let meter = self.meter(&connection.connection)?;
        let rows = self.start(connection)?;
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
        files::check(&self.task.files)?;
        let cpu = meter.map(|meter| meter.total()).transpose()?;
        messages.push(encoder.finish_task(cpu, self.kept.count())?);
        send(&mut messages)
    }

    /// Runs a task whose rows others fetch; ends once they have.
    fn keep_rows(&self, connection: &mut TaskConnection, sender: &Sender) -> Result<()> {
        let meter = self.meter(&connection.connection)?;
        let rows = self.start(connection)?;
        let key = TaskKey { query: self.task.query_id, stage: self.task.stage, task: self.task.task };
        let stop = |partitions: &Arc<Partitions>| self.go_on(Stop::Rows(Arc::clone(partitions)));
        let store = &self.place.store;
        let room = store.room(self.task.query_id, || Room::of(&connection.connection))?;
        let by = match self.task.broadcast {
            true => DivideBy::Everywhere(self.task.collect_ranges.clone()),
            false => DivideBy::Hash(self.division()?),
        };
        let division = Division { partitions: self.task.partitions as usize, by };
        let check = || files::check(&self.task.files);
        // No rows, but how many there were: that the driver knows that all is well, and what was moved.
        let (mut encoder, schema) = BatchEncoder::new(Arc::new(Schema::empty()));
        let made = |keys: CollectedKeys| {
            if self.task.collect_bits > 0 || !self.task.collect_ranges.is_empty() {
                let made = TaskMade {
                    keys: keys.filter.map_or_else(Vec::new, |filter| filter.to_bytes()),
                    ranges: keys.ranges.unwrap_or_default(),
                };
                let message = FlightData::new().with_app_metadata(made.pack());
                // The driver has gone if this fails.
                let _ = sender.blocking_send(Ok(message));
            }
            Ok(())
        };
        let sent = shuffle::keep(store, room, key, rows, division, Notices { stop, check, made })?;
        let cpu = meter.map(|meter| meter.total()).transpose()?;
        let InputsHere { cached, from_storage } = self.kept.count();
        let moved = TaskMoved {
            rows: sent.rows,
            bytes: sent.bytes,
            spilled_bytes: sent.spilled_bytes,
            filtered_rows: sent.filtered_rows,
            cpu_ns: cpu.map(nanoseconds),
            cached,
            from_storage,
        };
        let mut messages = vec![schema];
        encoder.finish(&mut messages)?;
        if let Some(last) = messages.pop() {
            messages.push(last.with_app_metadata(moved.pack()));
        }
        for message in messages {
            // The driver has gone if this fails.
            let _ = sender.blocking_send(Ok(message));
        }
        Ok(())
    }

    /// How the rows are divided by hash.
    fn division(&self) -> Result<HashDivision, EngineError> {
        let RunTask { heavy, filter, collect_bits, collect_ranges, .. } = self.task;
        let filter = match filter.as_slice() {
            [] => None,
            bytes => Some(KeyFilter::from_bytes(bytes).ok_or_else(|| EngineError::internal("a filter is cut"))?),
        };
        Ok(HashDivision {
            heavy: heavy.clone(),
            filter: filter.map(Arc::new),
            collect_bits: *collect_bits,
            collect_ranges: collect_ranges.clone(),
        })
    }
}

/// Stops a task from another thread.
#[derive(Default)]
struct Cancel {
    state: Mutex<CancelState>,
}

#[derive(Default)]
struct CancelState {
    cancelled: bool,
    stops: Vec<Stop>,
}

/// What keeps a task busy.
enum Stop {
    Statement(Interrupter),
    /// Rows that wait for their readers.
    Rows(Arc<Partitions>),
}

impl Stop {
    fn stop(&self) {
        match self {
            Self::Statement(interrupter) => interrupter.interrupt(),
            Self::Rows(partitions) => partitions.fail(EngineError::interrupted()),
        }
    }
}

impl Cancel {
    /// From here on this can be stopped; whether it may go on.
    fn arm(&self, stop: Stop) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stops.push(stop);
        !state.cancelled
    }

    /// How much of its statement is done, from 0 to 1, if that is known.
    fn progress(&self) -> Option<f64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stops.iter().find_map(|stop| match stop {
            Stop::Statement(interrupter) => interrupter.progress(),
            Stop::Rows(_) => None,
        })
    }

    fn finish(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stops.clear();
    }

    fn cancel(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cancelled = true;
        state.stops.iter().for_each(Stop::stop);
    }
}

struct CancelOnDrop(Arc<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
