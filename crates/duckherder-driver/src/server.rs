//! Starting and stopping a driver: its database, its threads, its port.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use duckherder_engine::Database;
use duckherder_proto::{CONNECTION_WINDOW_BYTES, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, MAX_STREAMS};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::cluster::{Change, Cluster, WORKER_TIMEOUT};
use crate::databases::{Databases, Storage};
use crate::distribute::DistributorFactory;
use crate::error::{DriverError, Result};
use crate::rejoin::rejoin;
use crate::scheduler::Scheduler;
use crate::service::{DriverService, Shared};
use crate::sessions::{SessionLimits, Sessions};
use crate::statistics::Statistics;
use crate::sync::lock;

/// Bytes of one stream that may be on their way.
pub const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// How often a silent peer is asked whether it is still there.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to answer.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Statements that may run or wait at once, each on a thread of its own.
const BLOCKING_THREADS: usize = 4096;
/// How long running calls may take to end when the driver stops.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long a driver that starts waits for workers that it knew before.
const WORKERS_GRACE: Duration = Duration::from_secs(6);
/// How often idle sessions are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);

/// How to start a driver.
pub struct DriverOptions {
    /// `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Workers in the driver's process.
    pub local_workers: usize,
    /// How long a worker in another process may be silent before it is removed.
    pub worker_timeout: Duration,
    /// A database file, or `:memory:`, of a driver with one database.
    pub database: String,
    /// A directory for databases, and all else that outlives the driver, instead.
    pub data: Option<PathBuf>,
    /// DuckDB settings of the database, for example `("threads", "4")`.
    pub settings: Vec<(String, String)>,
    pub limits: SessionLimits,
    /// Puts queries on workers (the scheduler, by default); without one all run on the driver's DuckDB.
    pub distributor: Option<DistributorFactory>,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            listen: format!("0.0.0.0:{}", duckherder_proto::DEFAULT_DRIVER_PORT),
            local_workers: 0,
            worker_timeout: WORKER_TIMEOUT,
            database: ":memory:".to_string(),
            data: None,
            settings: Vec::new(),
            limits: SessionLimits::default(),
            distributor: Some(Scheduler::factory()),
        }
    }
}

/// A running driver. Dropping it stops it.
pub struct Driver {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Mutex<Option<Running>>,
}

struct Running {
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

impl Driver {
    /// Opens the database and the port and serves on threads of its own. Callable from anywhere, also from inside an
    /// asynchronous task.
    ///
    /// # Errors
    /// The port is in use, the address unknown, or DuckDB can't open the database.
    pub fn start(options: DriverOptions) -> Result<Self> {
        let listener = listen(&options.listen)?;
        let address = listener.local_addr().map_err(DriverError::Runtime)?;
        let storage = match &options.data {
            Some(directory) => Storage::Directory(directory),
            None => Storage::Alone(&options.database),
        };
        let databases = Arc::new(Databases::open(storage, &options.settings)?);
        let cluster = Arc::new(Cluster::with_timeout(options.local_workers, options.worker_timeout));
        let distributor = options.distributor.map(|make| make(databases.instance(), &cluster, address)).transpose()?;
        let sessions = Sessions::new(Arc::clone(&databases), distributor.clone(), options.limits);
        let shared = Arc::new(Shared {
            sessions: Arc::new(sessions),
            databases,
            cluster,
            statistics: Arc::new(Statistics::default()),
            distributor,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("duckherder")
            .max_blocking_threads(BLOCKING_THREADS)
            .build()
            .map_err(DriverError::Runtime)?;
        let (stop, stop_asked) = oneshot::channel();
        let (tell_stopped, stopped) = mpsc::channel();
        let incoming = {
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).map_err(DriverError::Runtime)?;
            TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEP_ALIVE_INTERVAL))
        };
        runtime.spawn(expire_sessions(Arc::downgrade(&shared)));
        hear_of_workers(&shared);
        call_workers_back(&shared, &runtime);
        runtime.spawn(serve(incoming, Arc::clone(&shared), stop_asked, tell_stopped));
        let database = options.data.map_or(options.database, |directory| directory.display().to_string());
        tracing::info!(%address, database, local_workers = options.local_workers, "driver listens");
        let runtime = Mutex::new(Some(Running { runtime, stop, stopped }));
        Ok(Self { address, shared, runtime })
    }

    /// Where the driver listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The driver's DuckDB, with all its databases.
    pub fn database(&self) -> &Database {
        self.shared.databases.instance()
    }

    /// The driver's workers.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.shared.cluster
    }

    /// Stops: takes no more calls, lets running ones end for a few seconds, interrupts the rest. Blocks until done.
    pub fn stop(&self) {
        let Some(running) = lock(&self.runtime).take() else { return };
        // If the receiver is gone, the server has ended by itself.
        let _ = running.stop.send(());
        if running.stopped.recv_timeout(STOP_GRACE) == Err(mpsc::RecvTimeoutError::Timeout) {
            self.shared.sessions.interrupt_all(running.runtime.handle());
            // Whatever does not end even now is left behind.
            let _ = running.stopped.recv_timeout(STOP_GRACE);
        }
        end_threads(running.runtime);
        tracing::info!(address = %self.address, "driver stopped");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Has the workers of the driver's last life join, as far as they answer soon.
fn call_workers_back(shared: &Arc<Shared>, runtime: &Runtime) {
    let remembered = shared.databases.remembered();
    for name in remembered.extensions() {
        shared.cluster.needs_extension(&name);
    }
    let known = remembered.workers();
    for (id, location) in &known {
        shared.cluster.expect(id, location);
    }
    let (tell_called, called) = mpsc::channel();
    runtime.spawn(rejoin(Arc::downgrade(&shared.cluster), tell_called));
    if !known.is_empty() {
        // A worker that is gone must not keep the driver from its clients.
        let _ = called.recv_timeout(WORKERS_GRACE);
    }
}

/// Plans are made for the workers that there are; who has left for good is not remembered.
fn hear_of_workers(shared: &Arc<Shared>) {
    let heard = Arc::downgrade(shared);
    shared.cluster.listen(move |change| {
        let Some(shared) = heard.upgrade() else { return };
        match change {
            Change::Workers => shared.sessions.workers_changed(),
            Change::Left(id) => {
                let id = id.to_string();
                // It writes a file.
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = shared.databases.remembered().forget_worker(&id) {
                        tracing::error!(worker = id, %error, "a worker that has left is still remembered");
                    }
                });
            }
        }
    });
}

/// Waits until the threads have let go of the database: a process must not exit while one still closes it.
fn end_threads(runtime: Runtime) {
    // On a thread of its own, since waiting inside an asynchronous task panics.
    let ended = std::thread::spawn(move || runtime.shutdown_timeout(STOP_GRACE)).join();
    if ended.is_err() {
        tracing::error!("the driver's threads did not end");
    }
}

fn listen(address: &str) -> Result<TcpListener> {
    let failed = |source| DriverError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

async fn serve(
    incoming: TcpIncoming,
    shared: Arc<Shared>,
    stop_asked: oneshot::Receiver<()>,
    tell_stopped: mpsc::Sender<()>,
) {
    let service = FlightServiceServer::new(DriverService(shared))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, async {
            // A sender that is gone asks to stop, too.
            let _ = stop_asked.await;
        })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the driver's server failed");
    }
    // Nobody may be waiting for it.
    let _ = tell_stopped.send(());
}

async fn expire_sessions(shared: std::sync::Weak<Shared>) {
    let mut ticks = tokio::time::interval(EXPIRE_EVERY);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        // Closing connections may take a while.
        if tokio::task::spawn_blocking(move || shared.sessions.expire()).await.is_err() {
            return;
        }
    }
}
