//! The command line, in its three spellings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use duckherder_driver::TAKEOVER_AFTER;
use duckherder_driver::cluster::WORKER_TIMEOUT;
use duckherder_proto::{DEFAULT_DRIVER_PORT, DEFAULT_WORKER_PORT};
use duckherder_worker::{DEFAULT_CACHE_BYTES, DEFAULT_STORAGE_CACHE_BYTES};

/// Longer than a reader elsewhere reads.
const STORAGE_KEEP: Duration = Duration::from_secs(600);
const STORAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the process is to be, and how it logs.
pub struct Call {
    pub role: Role,
    pub log_format: LogFormat,
}

/// A role with its settings.
#[derive(Debug, PartialEq)]
pub enum Role {
    Driver(Driver),
    Worker(Worker),
    Backup(Backup),
    Restore(Restore),
    Status(Status),
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Parser)]
#[command(name = "duckherder", version, about = "Runs DuckDB's SQL on a driver and its workers")]
struct Duckherder {
    #[command(subcommand)]
    command: Command,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a database to clients
    Driver(Driver),
    /// Work for a driver
    Worker(Worker),
    /// Have a running driver copy a database to a file, as one transaction sees it
    Backup(Backup),
    /// Have a running driver make a database of such a copy
    Restore(Restore),
    /// List the workers of a running driver
    Status(Status),
}

#[derive(Args, Clone, Debug, PartialEq)]
#[command(group(ArgGroup::new("watched").args(["standby", "storage"]).multiple(true)))]
pub struct Driver {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value_t = format!("0.0.0.0:{DEFAULT_DRIVER_PORT}"))]
    pub listen: String,
    /// Workers in the driver's own process
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// Database file
    #[arg(long, value_name = "PATH", default_value = ":memory:")]
    pub database: String,
    /// Directory for databases, and all else that outlives the driver; made if it is missing
    #[arg(long, value_name = "DIR", conflicts_with = "database", group = "home")]
    pub data: Option<PathBuf>,
    /// The same in object storage: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIR
    #[arg(long, value_name = "URL", conflicts_with_all = ["database", "data"], group = "home")]
    pub storage: Option<String>,
    /// Wait until the driver that has DIR, or URL, ends or falls silent, and take its place
    #[arg(long, requires = "home")]
    pub standby: bool,
    /// How long the driver that has DIR, or URL, may be silent before a standby takes its place (with URL, 5 or more), or a
    /// driver without --standby that finds it at URL (7 at least, and not if it is seen to have ended)
    #[arg(long, value_name = "SECONDS", default_value = "8", value_parser = seconds, requires = "watched")]
    pub takeover_after: Duration,
    /// Take the place of the driver that has URL now, even if it is there: it ends
    #[arg(long, requires = "storage", conflicts_with_all = ["standby", "data"])]
    pub replace: bool,
    /// How many bytes of what was read there are kept on the local disk
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_STORAGE_CACHE_BYTES, requires = "storage")]
    pub storage_cache_bytes: u64,
    /// Directory of that cache's file [default: where temporary files go]
    #[arg(long, value_name = "DIR", requires = "storage")]
    pub storage_cache_directory: Option<PathBuf>,
    /// How long objects stay there that no database needs any more
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds, requires = "storage")]
    pub storage_keep: Duration,
    /// How long a request to it is tried; then the driver ends
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds, requires = "storage")]
    pub storage_timeout: Duration,
    /// How long a worker in another process may be silent before its tasks run elsewhere
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub worker_timeout: Duration,
    #[command(flatten)]
    pub resources: Resources,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct Worker {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value_t = format!("0.0.0.0:{DEFAULT_WORKER_PORT}"))]
    pub listen: String,
    /// The worker's name (worker-1, or with --join its address, by default)
    #[arg(long)]
    pub id: Option<String>,
    /// The driver to work for, and those that may take its place; without one, a client has to register the worker
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub join: Vec<String>,
    /// Where driver and workers reach this one, if not where the driver sees it call from
    #[arg(long, value_name = "HOST:PORT", requires = "join")]
    pub advertise: Option<String>,
    /// How many bytes of the driver's tables it keeps in a file, as they are in memory; 0 keeps nothing
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_CACHE_BYTES)]
    pub cache_bytes: u64,
    /// How many bytes of a driver's object storage it keeps there, too; 0: the driver sends it the rows
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_STORAGE_CACHE_BYTES)]
    pub storage_cache_bytes: u64,
    /// Directory of these files [default: where temporary files go]
    #[arg(long, value_name = "DIR")]
    pub cache_directory: Option<PathBuf>,
    #[command(flatten)]
    pub resources: Resources,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct Backup {
    /// The database's name
    pub database: String,
    /// The file, at a path that the driver sees, or an object (s3://BUCKET/KEY, gs://BUCKET/KEY, az://CONTAINER/KEY);
    /// what is there is replaced
    pub target: String,
    /// Where the driver listens
    #[arg(long, value_name = "HOST:PORT", default_value_t = format!("localhost:{DEFAULT_DRIVER_PORT}"))]
    pub driver: String,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct Restore {
    /// The new database's name
    pub database: String,
    /// The file, at a path that the driver sees, or an object (s3://BUCKET/KEY, gs://BUCKET/KEY, az://CONTAINER/KEY)
    pub source: String,
    /// Where the driver listens
    #[arg(long, value_name = "HOST:PORT", default_value_t = format!("localhost:{DEFAULT_DRIVER_PORT}"))]
    pub driver: String,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct Status {
    /// Where the driver listens
    #[arg(value_name = "HOST:PORT", default_value_t = format!("localhost:{DEFAULT_DRIVER_PORT}"))]
    pub driver: String,
}

/// A time that is worth waiting for.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is wanted".to_string())?;
    match (0.1..=86_400.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("it is from 0.1 to 86400 seconds".to_string()),
    }
}

/// What the process may use of its machine.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// DuckDB's threads (all cores by default)
    #[arg(long)]
    pub threads: Option<usize>,
    /// DuckDB's memory, for example 4GB (most of the machine's by default)
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<String>,
    /// Where temporary files go
    #[arg(long, value_name = "PATH")]
    pub temp_directory: Option<String>,
}

impl Resources {
    /// As DuckDB's settings.
    pub fn settings(&self) -> Vec<(String, String)> {
        let threads = self.threads.map(|threads| threads.to_string());
        let given = [
            ("threads", threads),
            ("memory_limit", self.memory_limit.clone()),
            ("temp_directory", self.temp_directory.clone()),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect()
    }
}

/// `distributed_server [HOST] [PORT] [WORKERS]`
#[derive(Parser)]
#[command(name = "distributed_server", version, about = "Serves a database to clients")]
struct DistributedServer {
    #[arg(default_value = "0.0.0.0")]
    host: String,
    #[arg(default_value_t = DEFAULT_DRIVER_PORT)]
    port: u16,
    #[arg(default_value_t = 0)]
    workers: usize,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

/// `distributed_worker [HOST] [PORT] [ID]`
#[derive(Parser)]
#[command(name = "distributed_worker", version, about = "Works for a driver")]
struct DistributedWorker {
    #[arg(default_value = "0.0.0.0")]
    host: String,
    #[arg(default_value_t = DEFAULT_WORKER_PORT)]
    port: u16,
    #[arg(default_value = "worker-1")]
    id: String,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

impl Call {
    /// Reads the command line, the program's name first; the name picks the spelling. Ends the process with exit
    /// code 2 if it makes no sense.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Self {
        let arguments: Vec<OsString> = arguments.collect();
        Self::try_parse(&arguments).unwrap_or_else(|error| error.exit())
    }

    fn try_parse(arguments: &[OsString]) -> Result<Self, clap::Error> {
        let name = arguments.first().and_then(|path| Path::new(path).file_stem()).and_then(|name| name.to_str());
        match name {
            Some("distributed_server") => DistributedServer::try_parse_from(arguments).map(Self::from),
            Some("distributed_worker") => DistributedWorker::try_parse_from(arguments).map(Self::from),
            _ => Duckherder::try_parse_from(arguments).map(Self::from),
        }
    }
}

impl From<Duckherder> for Call {
    fn from(call: Duckherder) -> Self {
        let role = match call.command {
            Command::Driver(driver) => Role::Driver(driver),
            Command::Worker(worker) => Role::Worker(worker),
            Command::Backup(backup) => Role::Backup(backup),
            Command::Restore(restore) => Role::Restore(restore),
            Command::Status(status) => Role::Status(status),
        };
        Self { role, log_format: call.log_format }
    }
}

impl From<DistributedServer> for Call {
    fn from(call: DistributedServer) -> Self {
        let role = Role::Driver(Driver {
            listen: host_and_port(&call.host, call.port),
            workers: call.workers,
            database: ":memory:".to_string(),
            data: None,
            standby: false,
            takeover_after: TAKEOVER_AFTER,
            replace: false,
            storage: None,
            storage_cache_bytes: DEFAULT_STORAGE_CACHE_BYTES,
            storage_cache_directory: None,
            storage_keep: STORAGE_KEEP,
            storage_timeout: STORAGE_TIMEOUT,
            worker_timeout: WORKER_TIMEOUT,
            resources: Resources::default(),
        });
        Self { role, log_format: call.log_format }
    }
}

impl From<DistributedWorker> for Call {
    fn from(call: DistributedWorker) -> Self {
        let listen = host_and_port(&call.host, call.port);
        let (id, resources) = (Some(call.id), Resources::default());
        let (cache_bytes, cache_directory) = (DEFAULT_CACHE_BYTES, None);
        let role = Role::Worker(Worker {
            listen,
            id,
            join: Vec::new(),
            advertise: None,
            cache_bytes,
            storage_cache_bytes: DEFAULT_STORAGE_CACHE_BYTES,
            cache_directory,
            resources,
        });
        Self { role, log_format: call.log_format }
    }
}

fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Role, clap::Error> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Call::try_parse(&arguments).map(|call| call.role)
    }

    #[test]
    fn spellings_mean_the_same() {
        let long = parse("duckherder driver --listen 127.0.0.1:99 --workers 2").map_err(|error| error.to_string());
        let short = parse("/opt/distributed_server 127.0.0.1 99 2").map_err(|error| error.to_string());
        assert_eq!(long, short);
        let long = parse("duckherder worker --listen [::1]:99 --id w").map_err(|error| error.to_string());
        let short = parse("distributed_worker ::1 99 w").map_err(|error| error.to_string());
        assert_eq!(long, short);
    }

    #[test]
    fn defaults() {
        let Ok(Role::Driver(driver)) = parse("distributed_server") else { unreachable!("parses") };
        assert_eq!((driver.listen.as_str(), driver.workers), ("0.0.0.0:8815", 0));
        let Ok(Role::Worker(worker)) = parse("distributed_worker") else { unreachable!("parses") };
        assert_eq!((worker.listen.as_str(), worker.id.as_deref()), ("0.0.0.0:8816", Some("worker-1")));
        let Ok(Role::Driver(driver)) = parse("duckherder driver") else { unreachable!("parses") };
        assert_eq!(driver.worker_timeout, WORKER_TIMEOUT);
    }

    #[test]
    fn resources_are_duckdbs_settings() {
        let Ok(Role::Worker(worker)) = parse("duckherder worker --threads 3 --temp-directory /big --memory-limit 1GB")
        else {
            unreachable!("parses")
        };
        let settings = [("threads", "3"), ("memory_limit", "1GB"), ("temp_directory", "/big")];
        assert_eq!(worker.resources.settings(), settings.map(|(name, value)| (name.to_string(), value.to_string())));
    }

    #[test]
    fn backups_name_database_and_file() {
        let Ok(Role::Backup(backup)) = parse("duckherder backup sales /b/sales.duckdb") else { unreachable!("parses") };
        assert_eq!((backup.database.as_str(), backup.target.as_str()), ("sales", "/b/sales.duckdb"));
        assert_eq!(backup.driver, "localhost:8815");
        assert!(matches!(parse("duckherder restore sales s.duckdb --driver h:1"), Ok(Role::Restore(_))));
    }

    #[test]
    fn workers_join() {
        let Ok(Role::Worker(worker)) = parse("duckherder worker --join d:1 --advertise w:2") else {
            unreachable!("parses")
        };
        assert_eq!((worker.id, worker.join, worker.advertise.as_deref()), (None, vec!["d:1".to_string()], Some("w:2")));
        let Ok(Role::Driver(driver)) = parse("duckherder driver --worker-timeout 0.5") else { unreachable!("parses") };
        assert_eq!(driver.worker_timeout, Duration::from_millis(500));
        let Ok(Role::Status(status)) = parse("duckherder status h:1") else { unreachable!("parses") };
        assert_eq!(status.driver, "h:1");
    }

    #[test]
    fn a_standby_waits() {
        let Ok(Role::Driver(driver)) = parse("duckherder driver --data d --standby") else { unreachable!("parses") };
        assert_eq!((driver.standby, driver.takeover_after), (true, TAKEOVER_AFTER));
        let line = "duckherder driver --data d --standby --takeover-after 2.5";
        let Ok(Role::Driver(driver)) = parse(line) else { unreachable!("parses") };
        assert_eq!(driver.takeover_after, Duration::from_millis(2500));
        let Ok(Role::Driver(driver)) = parse("duckherder driver --storage s3://b/p --standby") else {
            unreachable!("parses")
        };
        assert_eq!((driver.standby, driver.storage.as_deref()), (true, Some("s3://b/p")));
        let line = "duckherder driver --storage s3://b/p --takeover-after 20";
        let Ok(Role::Driver(driver)) = parse(line) else { unreachable!("parses") };
        assert_eq!((driver.takeover_after, driver.replace), (Duration::from_secs(20), false));
        assert!(
            matches!(parse("duckherder driver --storage s3://b/p --replace"), Ok(Role::Driver(driver)) if driver.replace)
        );
        let Ok(Role::Worker(worker)) = parse("duckherder worker --join a:1,b:2") else { unreachable!("parses") };
        assert_eq!(worker.join, ["a:1", "b:2"]);
    }

    /// It governs more than standbys.
    #[test]
    fn the_help_says_what_a_silent_driver_is_waited_for() {
        let mut command = <Duckherder as clap::CommandFactory>::command();
        let driver = command.find_subcommand_mut("driver").map(|driver| driver.render_long_help().to_string());
        let help = driver.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("before a standby takes its place (with URL, 5 or more), or a driver without --standby that finds it at URL (7 at least"), "{help}");
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for line in [
            "duckherder",
            "duckherder herd",
            "distributed_server h port",
            "duckherder driver --workers -1",
            "duckherder driver --data d --database f",
            "duckherder driver --worker-timeout 0",
            "duckherder driver --standby",
            "duckherder driver --data d --standby --takeover-after 0",
            "duckherder driver --data d --takeover-after 5",
            "duckherder driver --data d --replace",
            "duckherder driver --storage s3://b/p --standby --replace",
            "duckherder driver --data d --storage s3://b/p --standby",
            "duckherder worker --advertise w:2",
        ] {
            assert_eq!(parse(line).map_err(|error| error.exit_code()), Err(2), "{line}");
        }
    }
}
