//! Starting and stopping a worker.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use duckherder_engine::Database;
use duckherder_proto::{CONNECTION_WINDOW_BYTES, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, MAX_STREAMS};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::attendance::Attendance;
use crate::cache::{DEFAULT_CACHE_BYTES, SplitCache};
use crate::error::{Result, WorkerError};
use crate::join::{Join, attend};
use crate::service::{Caches, WorkerService};
use crate::storage::{DEFAULT_STORAGE_CACHE_BYTES, MountedFiles};

/// Bytes of one stream that may be on their way: enough that it is not held up by its acknowledgements.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// How often a silent connection is asked whether it is still there.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Tasks that may run at once, each on a thread of its own. Tasks wait for each other: one that found no thread would
/// hold up those that have one.
const BLOCKING_THREADS: usize = 1 << 15;
/// How long running tasks may take to end when the worker stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How to start a worker.
pub struct WorkerOptions {
    /// `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Its name in logs and in the herd that it joins; in that, if it is empty, it is called by its address. (A driver that
    /// registers it knows it by the name that was given there.)
    pub id: String,
    /// Drivers to work for, instead of waiting to be registered. One that is a standby is asked until it is the driver.
    pub join: Vec<Join>,
    /// DuckDB settings of the worker's database, for example `("threads", "4")`.
    pub settings: Vec<(String, String)>,
    /// Where it keeps what it has read of the driver's tables; `None`: where temporary files go.
    pub cache_directory: Option<PathBuf>,
    /// How much of that it keeps, in bytes as rows have in memory; 0: nothing.
    pub cache_bytes: u64,
    /// How much it keeps there of a driver's object storage; 0: it reads nothing there itself.
    pub storage_cache_bytes: u64,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            listen: format!("0.0.0.0:{}", duckherder_proto::DEFAULT_WORKER_PORT),
            id: "worker-1".to_string(),
            join: Vec::new(),
            settings: Vec::new(),
            cache_directory: None,
            cache_bytes: DEFAULT_CACHE_BYTES,
            storage_cache_bytes: DEFAULT_STORAGE_CACHE_BYTES,
        }
    }
}

/// A running worker. Dropping it stops it.
pub struct Worker {
    address: SocketAddr,
    attendance: Arc<Attendance>,
    running: Mutex<Option<Running>>,
}

struct Running {
    runtime: Runtime,
    cache: Option<Arc<SplitCache>>,
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

impl Worker {
    /// Opens the port and serves on threads of its own. Callable from anywhere.
    ///
    /// # Errors
    /// The port is in use, the address unknown, or there are no threads left.
    pub fn start(options: WorkerOptions) -> Result<Self> {
        let failed = |source| WorkerError::Listen { address: options.listen.clone(), source };
        let listener = TcpListener::bind(&options.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let settings: Vec<(&str, &str)> =
            options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let endpoints = options.join.iter().map(Join::endpoint).collect::<Result<Vec<_>>>()?;
        let files = Arc::new(MountedFiles::default());
        let database = Database::open_stored(":memory:", &settings, Arc::clone(&files) as _)?;
        let attendance = Arc::new(Attendance::new(database.clone()));
        let directory = match options.cache_directory {
            Some(directory) => directory,
            None => {
                let given = database.connect()?.given_setting("temp_directory")?;
                given.map_or_else(std::env::temp_dir, PathBuf::from)
            }
        };
        let caches = Caches { directory, bytes: options.cache_bytes, storage_bytes: options.storage_cache_bytes };
        let service = WorkerService::new(database, files, Arc::clone(&attendance), caches)?;
        let cache = service.cache();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("duckherder-worker")
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_stack_size(duckherder_engine::STACK_BYTES)
            .build()
            .map_err(WorkerError::Runtime)?;
        let (stop, stop_asked) = oneshot::channel::<()>();
        let (tell_stopped, stopped) = mpsc::channel();
        let incoming = {
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).map_err(WorkerError::Runtime)?;
            TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEP_ALIVE_INTERVAL))
        };
        let service = FlightServiceServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        runtime.spawn(async move {
            let served = Server::builder()
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .max_frame_size(MAX_FRAME_BYTES)
                .max_concurrent_streams(MAX_STREAMS)
                .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
                .add_service(service)
                .serve_with_incoming_shutdown(incoming, async {
                    // An error means that the worker was dropped, which stops it as well.
                    let _ = stop_asked.await;
                })
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the worker's server failed");
            }
            // Nobody waits any more if the receiver is gone.
            let _ = tell_stopped.send(());
        });
        tracing::info!(%address, id = options.id, "worker listens");
        for (join, endpoint) in options.join.into_iter().zip(endpoints) {
            runtime.spawn(attend(join, endpoint, options.id.clone(), address.port(), Arc::clone(&attendance)));
        }
        Ok(Self { address, attendance, running: Mutex::new(Some(Running { runtime, cache, stop, stopped })) })
    }

    /// Where the worker listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Wants to leave its drivers, which give it no more tasks; waits until they need it no longer.
    pub fn drain(&self) -> impl Future<Output = ()> + Send + use<> {
        let attendance = Arc::clone(&self.attendance);
        async move { attendance.drain().await }
    }

    /// Stops: takes no more tasks, lets running ones end for a moment, drops the rest. Blocks until done.
    pub fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        if let Some(cache) = &running.cache {
            cache.close();
        }
        // If the receiver is gone, the server has ended by itself.
        let _ = running.stop.send(());
        // Whatever does not end is left behind; its streams are cut, which the driver notices.
        let _ = running.stopped.recv_timeout(STOP_GRACE);
        end_threads(running.runtime);
        tracing::info!(address = %self.address, "worker stopped");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until the threads have let go of the database: a process must not exit while one still closes it.
fn end_threads(runtime: Runtime) {
    // On a thread of its own, since waiting inside an asynchronous task panics.
    let ended = std::thread::spawn(move || runtime.shutdown_timeout(STOP_GRACE)).join();
    if ended.is_err() {
        tracing::error!("the worker's threads did not end");
    }
}
