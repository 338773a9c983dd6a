//! Reading one state, beside the writer that goes on.

use std::sync::Arc;

use crate::error::{Result, StorageError};
use crate::files::OpenMode;
use crate::follow::{Follower, Threads};
use crate::location::Location;
use crate::objects::Requests;
use crate::shared::Core;
use crate::store::{Options, Version};

/// The files of one state. It shuts nobody out and writes nothing; its objects stay as long as the writer has pinned the
/// state, or until its [`Options::keep`] is over.
pub struct Reader {
    core: Arc<Core>,
    version: Version,
    /// Requests need them.
    _threads: Arc<Threads>,
}

impl Reader {
    /// Finds a version's files; the last one's without a version.
    ///
    /// # Errors
    /// The storage fails, or the version is not there, or not any more.
    pub fn open(location: Location, version: Option<Version>, options: Options) -> Result<Self> {
        Follower::new(location, options)?.reader_of(version)
    }

    pub(crate) fn new(core: Arc<Core>, version: Version, threads: Arc<Threads>) -> Self {
        Self { core, version, _threads: threads }
    }

    /// The last log object of the state.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.core.lock().state.names.keys().cloned().collect()
    }

    /// Bytes of a file, if it is there.
    pub fn length(&self, name: &str) -> Option<u64> {
        let shared = self.core.lock();
        shared.id(name).and_then(|id| shared.length(id))
    }

    /// Reads up to the file's end; returns how many bytes there were. Blocks.
    ///
    /// # Errors
    /// There is no such file, or the storage fails.
    pub fn read(&self, name: &str, offset: u64, target: &mut [u8]) -> Result<usize> {
        let no_file = || StorageError::NoFile { name: name.to_string(), place: self.core.objects.shown().to_string() };
        self.core.open(name, OpenMode::default())?.ok_or_else(no_file)?.read(offset, target)
    }

    /// Reads the same files where a later state has them, if their bytes are the same: packs of before may be gone.
    pub fn look_into(&self, later: &Self) {
        let (state, packs) = {
            let shared = later.core.lock();
            (shared.state.clone(), shared.pack_bytes.clone())
        };
        let mut shared = self.core.lock();
        (shared.state, shared.pack_bytes) = (state, packs);
    }

    /// How many requests there were.
    pub fn requests(&self) -> Requests {
        self.core.objects.requests()
    }
}
