//! Starting and stopping a driver: its database, its threads, its port.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use duckherder_engine::Database;
use duckherder_proto::{CONNECTION_WINDOW_BYTES, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, MAX_STREAMS};
use futures::TryStreamExt;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::arrival::arrive;
use crate::cluster::{Change, Cluster, WORKER_TIMEOUT};
use crate::connections::note_connection;
use crate::databases::{Databases, Storage};
use crate::distribute::DistributorFactory;
use crate::error::{DriverError, Result};
use crate::gate::{Gate, Guarded};
use crate::home::{Home, StorageOptions};
use crate::rejoin::rejoin;
use crate::scheduler::{Scheduler, StorageHome};
use crate::service::Shared;
use crate::sessions::{SessionLimits, Sessions};
use crate::standby::TAKEOVER_AFTER;
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
/// How often sessions are looked for that are idle, or whose clients are gone.
const EXPIRE_EVERY: Duration = Duration::from_secs(2);

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
    /// Object storage for the same, instead.
    pub storage: Option<StorageOptions>,
    /// How long a driver must say nothing there before it counts as gone.
    pub takeover_after: Duration,
    /// Whether the place there is taken even from a driver that is there, which then ends.
    pub replace: bool,
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
            storage: None,
            takeover_after: TAKEOVER_AFTER,
            replace: false,
            settings: Vec::new(),
            limits: SessionLimits::default(),
            distributor: Some(Scheduler::factory()),
        }
    }
}

/// A running driver. Dropping it stops it.
pub struct Driver {
    shared: Arc<Shared>,
    serving: Serving,
}

/// A driver that has its port, and the place of its databases, and has not begun.
pub struct Arrived {
    options: DriverOptions,
    listener: TcpListener,
    address: SocketAddr,
    home: Option<Home>,
}

impl Arrived {
    /// Opens the databases, and serves.
    ///
    /// # Errors
    /// DuckDB can't open them.
    pub fn start(self) -> Result<Driver> {
        let shared = share(self.options, self.home, self.address)?;
        let gate = Arc::new(Gate::default());
        let runtime = threads()?;
        work(&shared, runtime.handle());
        call_workers_back(&shared, runtime.handle(), WORKERS_GRACE);
        gate.open(Arc::clone(&shared));
        let serving = Serving::start(runtime, self.listener, gate)?;
        Ok(Driver { shared, serving })
    }
}

impl Driver {
    /// Opens the database and the port and serves on threads of its own. Callable from anywhere, also from inside an
    /// asynchronous task.
    ///
    /// # Errors
    /// The port is in use, the address unknown, another driver has the databases, or DuckDB can't open them.
    pub fn start(options: DriverOptions) -> Result<Self> {
        Self::arrive(options)?.start()
    }

    /// The first part of starting. It may wait for long, whether another driver is at the same place; a process that ends
    /// meanwhile has nothing to close.
    ///
    /// # Errors
    /// The port is in use, the address unknown, or another driver has the databases.
    pub fn arrive(options: DriverOptions) -> Result<Arrived> {
        let listener = listen(&options.listen)?;
        let address = listener.local_addr().map_err(DriverError::Runtime)?;
        let home = match (&options.storage, &options.data) {
            (Some(storage), _) if options.replace => Some(Home::storage(storage, &address.to_string())?),
            (Some(storage), _) => Some(arrive(storage, &address.to_string(), options.takeover_after)?),
            (None, Some(path)) => Some(Home::directory(path, &address.to_string())?),
            (None, None) => None,
        };
        Ok(Arrived { options, listener, address, home })
    }

    /// Where the driver listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address
    }

    /// The driver's DuckDB, with all its databases.
    pub fn database(&self) -> &Database {
        self.shared.databases.instance()
    }

    /// The driver's workers.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.shared.cluster
    }

    /// Ends once another driver has taken the databases over. This one answers nobody any more then, and its process
    /// should end, without closing the databases. The same if its storage has failed. What it says of that.
    pub fn fenced(&self) -> impl Future<Output = DriverError> + Send + use<> {
        fenced(Some(Arc::clone(&self.shared)))
    }

    /// Ends with the error with which the driver's DuckDB fails, after which it answers nobody; or never.
    pub fn failure(&self) -> impl Future<Output = DriverError> + Send + use<> {
        self.serving.gate.failed()
    }

    /// Stops: takes no more calls, lets running ones end for a few seconds, interrupts the rest. Blocks until done.
    pub fn stop(&self) {
        self.serving.stop();
    }
}

/// Ends once the databases are another driver's; never, if they can't be.
pub async fn fenced(shared: Option<Arc<Shared>>) -> DriverError {
    let lost = shared.and_then(|shared| Some(shared.databases.lease()?.lost()));
    match lost {
        Some(lost) => lost.await,
        None => std::future::pending().await,
    }
}

/// A gate that callers find at a port. Dropping it stops it.
pub struct Serving {
    pub address: SocketAddr,
    gate: Arc<Gate>,
    running: Mutex<Option<Running>>,
}

struct Running {
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    stopped: mpsc::Receiver<()>,
}

impl Serving {
    /// Serves on `runtime`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn start(runtime: Runtime, listener: TcpListener, gate: Arc<Gate>) -> Result<Self> {
        let address = listener.local_addr().map_err(DriverError::Runtime)?;
        let (stop, stop_asked) = oneshot::channel();
        let (tell_stopped, stopped) = mpsc::channel();
        let incoming = {
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).map_err(DriverError::Runtime)?;
            TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEP_ALIVE_INTERVAL))
        };
        runtime.spawn(serve(incoming, Arc::clone(&gate), stop_asked, tell_stopped));
        Ok(Self { address, gate, running: Mutex::new(Some(Running { runtime, stop, stopped })) })
    }

    /// See [`Driver::stop`].
    pub fn stop(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        self.gate.end();
        // If the receiver is gone, the server has ended by itself.
        let _ = running.stop.send(());
        if running.stopped.recv_timeout(STOP_GRACE) == Err(mpsc::RecvTimeoutError::Timeout) {
            if let Some(shared) = self.gate.shared() {
                shared.sessions.interrupt_all(running.runtime.handle());
            }
            // Whatever does not end even now is left behind.
            let _ = running.stopped.recv_timeout(STOP_GRACE);
        }
        end_threads(running.runtime);
        tracing::info!(address = %self.address, "driver stopped");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Opens what calls work with.
///
/// # Errors
/// DuckDB can't open the databases.
pub fn share(options: DriverOptions, home: Option<Home>, address: SocketAddr) -> Result<Arc<Shared>> {
    let directory = options.data.as_ref().map(|directory| directory.display().to_string());
    let url = options.storage.as_ref().map(|storage| storage.url.clone());
    let shown = url.or(directory).unwrap_or_else(|| options.database.clone());
    let epoch = home.as_ref().and_then(Home::lease).map(|lease| lease.epoch());
    let workers_storage = home.as_ref().and_then(Home::store).zip(options.storage.as_ref());
    let workers_storage =
        workers_storage.map(|(store, options)| StorageHome { store: Arc::clone(store), url: options.url.clone() });
    let storage = match home {
        Some(home) => Storage::Home(home),
        None => Storage::Alone(&options.database),
    };
    let databases = Arc::new(Databases::open(storage, &settings(&options))?);
    let cluster = Arc::new(Cluster::with_timeout(options.local_workers, options.worker_timeout));
    let make = |make: DistributorFactory| make(databases.instance(), &cluster, address, workers_storage);
    let distributor = options.distributor.map(make).transpose()?;
    let sessions = Sessions::new(Arc::clone(&databases), distributor.clone(), options.limits);
    tracing::info!(%address, database = shown, epoch, local_workers = options.local_workers, "driver listens");
    Ok(Arc::new(Shared {
        sessions: Arc::new(sessions),
        databases,
        cluster,
        statistics: Arc::new(Statistics::default()),
        distributor,
    }))
}

/// The threads that serve.
///
/// # Errors
/// The system gives none.
pub fn threads() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("duckherder")
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(duckherder_engine::STACK_BYTES)
        .build()
        .map_err(DriverError::Runtime)
}

/// Begins what a driver does by itself.
pub fn work(shared: &Arc<Shared>, runtime: &Handle) {
    runtime.spawn(expire_sessions(Arc::downgrade(shared)));
    hear_of_workers(shared);
    if let Some(lease) = shared.databases.lease() {
        let (sessions, lost) = (Arc::downgrade(&shared.sessions), lease.lost());
        runtime.spawn(async move {
            lost.await;
            // What runs is for nobody any more.
            if let Some(sessions) = sessions.upgrade() {
                sessions.interrupt_all(&Handle::current());
            }
        });
    }
}

/// DuckDB's settings. Beside a database that is elsewhere, there is no place for temporary files.
fn settings(options: &DriverOptions) -> Vec<(String, String)> {
    let mut settings = options.settings.clone();
    if options.storage.is_some() && !settings.iter().any(|(name, _)| name == "temp_directory") {
        let directory = std::env::temp_dir().join(format!("duckherder-{}.tmp", std::process::id()));
        settings.push(("temp_directory".to_string(), directory.display().to_string()));
    }
    settings
}

/// Has the workers of the driver's last life join, and waits for those that do within `grace`.
pub fn call_workers_back(shared: &Arc<Shared>, runtime: &Handle, grace: Duration) {
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
        let _ = called.recv_timeout(grace);
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

/// # Errors
/// The port is in use, or the address unknown.
pub fn listen(address: &str) -> Result<TcpListener> {
    let failed = |source| DriverError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

async fn serve(
    incoming: TcpIncoming,
    gate: Arc<Gate>,
    stop_asked: oneshot::Receiver<()>,
    tell_stopped: mpsc::Sender<()>,
) {
    let connections = gate.connections();
    let incoming = incoming.map_ok(move |stream| connections.watched(stream));
    let service = FlightServiceServer::new(Guarded(gate))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let service = InterceptedService::new(service, note_connection);
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
