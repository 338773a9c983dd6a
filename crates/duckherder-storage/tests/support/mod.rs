//! A storage with the faults of one that is far away, and stores in it.
// Each file of tests uses some of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duckherder_storage::{Location, Options, Store};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A store behind a bad network.
#[derive(Debug)]
pub struct Far {
    inner: Arc<dyn ObjectStore>,
    pub latency: Duration,
    /// Of so many requests, one is refused, and one is done but not answered; 0 for none.
    pub one_fails_in: u64,
    /// Objects are written whatever a request says.
    pub forgets_conditions: bool,
    /// Objects whose names have this are not written; none, if it is empty.
    pub refuses: &'static str,
    /// So many of the next requests to write end in this way.
    fault: Mutex<Option<(Fault, u64)>>,
    requests: AtomicU64,
    /// The names of what was to be written.
    puts: Mutex<Vec<String>>,
}

/// What a storage may say instead of doing what it is asked.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// S3's 409, while another request for the same object is on its way.
    Conflict,
    /// 403: credentials that have just been replaced, or a clock that has jumped.
    Forbidden,
}

impl Fault {
    fn error(self, path: &Path) -> Error {
        let (path, source) = (path.to_string(), "as the storage says".into());
        match self {
            Self::Conflict => Error::AlreadyExists { path, source },
            Self::Forbidden => Error::PermissionDenied { path, source },
        }
    }
}

impl Far {
    fn before(inner: Arc<dyn ObjectStore>) -> Self {
        let (fault, requests, puts) = (Mutex::default(), AtomicU64::new(0), Mutex::default());
        let (latency, one_fails_in, forgets_conditions, refuses) = (Duration::ZERO, 0, false, "");
        Self { inner, latency, one_fails_in, forgets_conditions, refuses, fault, requests, puts }
    }

    pub fn new(inner: Arc<dyn ObjectStore>, latency: Duration, one_fails_in: u64) -> Arc<Self> {
        Arc::new(Self { latency, one_fails_in, ..Self::before(inner) })
    }

    /// A storage of which two writers could overwrite each other's objects.
    pub fn careless(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(Self { forgets_conditions: true, ..Self::before(inner) })
    }

    /// A storage that does not take some objects.
    pub fn without(inner: Arc<dyn ObjectStore>, refuses: &'static str) -> Arc<Self> {
        Arc::new(Self { refuses, ..Self::before(inner) })
    }

    /// Has the next requests to write fail so.
    pub fn fail(&self, fault: Fault, times: u64) {
        *self.fault.lock().unwrap() = Some((fault, times));
    }

    fn next_fault(&self) -> Option<Fault> {
        let mut fault = self.fault.lock().unwrap();
        let (next, times) = (*fault)?;
        *fault = (times > 1).then_some((next, times - 1));
        Some(next)
    }

    /// How many requests have come to where they go.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The names of what was to be written since the last call, in order.
    pub fn puts(&self) -> Vec<String> {
        let mut puts = std::mem::take(&mut *self.puts.lock().unwrap());
        puts.sort();
        puts
    }

    /// Waits, and says whether the request is refused, and whether its answer is lost.
    async fn travel(&self) -> (bool, bool) {
        tokio::time::sleep(self.latency).await;
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let fails = |which: u64| self.one_fails_in > 0 && number % self.one_fails_in == which % self.one_fails_in;
        (fails(1), fails(2))
    }
}

impl Display for Far {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "far away")
    }
}

fn refused(reason: &'static str) -> Error {
    Error::Generic { store: "far away", source: reason.into() }
}

#[async_trait::async_trait]
impl ObjectStore for Far {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (is_refused, is_lost) = self.travel().await;
        self.puts.lock().unwrap().push(path.to_string());
        if is_refused || (!self.refuses.is_empty() && path.as_ref().contains(self.refuses)) {
            return Err(refused("503 SlowDown"));
        }
        if let Some(fault) = self.next_fault() {
            return Err(fault.error(path));
        }
        let options = if self.forgets_conditions { PutOptions::default() } else { options };
        let done = self.inner.put_opts(path, payload, options).await;
        if is_lost { Err(refused("the connection was cut")) } else { done }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(refused("no multipart uploads here"))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.travel().await {
            (false, false) => self.inner.get_opts(path, options).await,
            _ => Err(refused("503 SlowDown")),
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused("no copies here"))
    }
}

pub fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

pub fn location(store: &Arc<dyn ObjectStore>) -> Location {
    Location::new(Arc::clone(store), Path::from("some/prefix"), "test://place")
}

pub fn options() -> Options {
    Options { keep: Duration::from_millis(100), ..Options::default() }
}

pub fn open(store: &Arc<dyn ObjectStore>) -> Store {
    Store::open(location(store), options()).unwrap()
}

/// Names and sizes of all objects.
pub fn objects(store: &Arc<dyn ObjectStore>) -> Vec<(String, u64)> {
    let store = Arc::clone(store);
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        let listed: Vec<_> = store.list(None).collect().await;
        listed.into_iter().map(Result::unwrap).map(|meta| (meta.location.to_string(), meta.size)).collect()
    })
}
