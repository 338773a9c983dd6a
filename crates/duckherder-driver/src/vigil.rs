//! What a standby looks at until it is its turn: a directory's lock and heartbeat, or the sign of a driver in object storage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duckherder_proto::any::PROTOCOL_VERSION;
use duckherder_storage::{LEAST_SILENCE, Location, NOTICE_LIMIT, Reader, STANDBY_EVERY, Sign as StoredSign, Watch};

use crate::directory::{self, Directory};
use crate::error::{DriverError, Result};
use crate::gate::Gate;
use crate::home::{Home, StorageOptions};
use crate::lease::{Content, Sign};
use crate::remembered::Remembered;
use crate::server::DriverOptions;
use crate::silence::Silence;
use crate::store_lease::About;

/// How often a standby looks at a directory, and at a storage, where each look is a request.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a look at a storage is tried, at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// After how long without a heartbeat it is looked whether another driver has come.
const ANOTHER_AFTER: Duration = Duration::from_secs(3);

/// A place that is watched until it is free.
pub trait Vigil: Send {
    /// How often to look.
    fn every(&self) -> Duration;

    /// Looks. The place, once it is this driver's; whom it waits for, the gate is told.
    ///
    /// # Errors
    /// It can't be seen how it is.
    fn look(&mut self, gate: &Gate) -> Result<Option<Home>>;
}

/// For the place of the options, by a standby that listens at `address`.
///
/// # Errors
/// It is no place that this version could take over.
pub fn of(options: &DriverOptions, address: &str) -> Result<Box<dyn Vigil>> {
    let after = options.takeover_after;
    Ok(match &options.storage {
        Some(storage) => Box::new(StoredVigil::begin(storage, address, after)?),
        None => Box::new(DirectoryVigil::begin(&options.data.clone().unwrap_or_default(), address, after)?),
    })
}

fn nobody(place: &str) -> DriverError {
    DriverError::Storage(format!(
        "{place} is no place of a driver's: a standby takes the place of another driver, so start that one first, or this \
         one without --standby"
    ))
}

fn check_protocol(place: &str, protocol: u32, version: &str) -> Result<()> {
    if protocol == PROTOCOL_VERSION {
        return Ok(());
    }
    Err(DriverError::Storage(format!(
        "the driver of {place} speaks Duckherder's protocol {protocol} (Duckherder {version}), this one protocol \
         {PROTOCOL_VERSION} (Duckherder {}), which its clients could not use: use the same version of both",
        env!("CARGO_PKG_VERSION")
    )))
}

struct DirectoryVigil {
    root: PathBuf,
    address: String,
    after: Duration,
    seen: Sign,
    silence: Silence,
}

impl DirectoryVigil {
    fn begin(path: &Path, address: &str, after: Duration) -> Result<Self> {
        let nobody = || nobody(&path.display().to_string());
        if !fs::exists(path).unwrap_or(false) {
            return Err(nobody());
        }
        let root = directory::root(path)?;
        let content = Content::read(&root)?.ok_or_else(nobody)?;
        check_protocol(&root.display().to_string(), content.protocol, &content.version)?;
        Remembered::check(&root.join(&content.place))?;
        let address = address.to_string();
        Ok(Self { root, address, after, seen: Sign::default(), silence: Silence::new(LOOK_EVERY * 3) })
    }
}

impl Vigil for DirectoryVigil {
    fn every(&self) -> Duration {
        LOOK_EVERY
    }

    fn look(&mut self, gate: &Gate) -> Result<Option<Home>> {
        let Some(sign) = Sign::read(&self.root)? else {
            return Err(DriverError::Storage(format!("{} is no driver's any more", self.root.display())));
        };
        let silent = self.silence.goes_on(sign == self.seen);
        if sign.content != self.seen.content {
            let Content { address, epoch, .. } = &sign.content;
            tracing::info!(driver = address, epoch, "standing by");
            gate.wait_for(address);
        }
        self.seen = sign;
        let driver = &self.seen.content.address;
        if let Some(directory) = Directory::open_if_free(&self.root, &self.address)? {
            tracing::warn!(driver, "the driver has ended: taking over");
            return Ok(Some(Home::Directory(directory)));
        }
        if silent < self.after {
            return Ok(None);
        }
        self.silence.ends();
        tracing::warn!(driver, after = ?self.after, "the driver is silent: taking over from it");
        Ok(Directory::wrest(&self.root, &self.seen.content, &self.address)?.map(Home::Directory))
    }
}

/// A driver shows a heartbeat while a standby tells it that it waits.
struct StoredVigil {
    options: StorageOptions,
    address: String,
    after: Duration,
    watch: Watch,
    /// When the driver was told last.
    announced: Option<Instant>,
    seen: Option<StoredSign>,
    /// Whether the driver has shown a heartbeat.
    beats: bool,
    silence: Silence,
}

impl StoredVigil {
    fn begin(options: &StorageOptions, address: &str, after: Duration) -> Result<Self> {
        if after < LEAST_SILENCE {
            return Err(DriverError::Storage(format!(
                "a driver whose databases are in object storage must be silent for at least {} s before its place is \
                 taken: use a longer --takeover-after",
                LEAST_SILENCE.as_secs()
            )));
        }
        // Whoever stops a standby does not want to wait for longer.
        let patience = options.timeout.min(PATIENCE);
        let location = || Location::parse_for_reading(&options.url, patience);
        let watch = Watch::new(location()?, patience)?;
        let sign = watch.look(None)?.ok_or_else(|| nobody(&options.url))?;
        let About { protocol, version, .. } = About::of_text(&sign.about, &options.url)?;
        check_protocol(&options.url, protocol, &version)?;
        Remembered::check_stored(&Reader::open(location()?, None, options.of_driver(address))?, &options.url)?;
        let (options, address) = (options.clone(), address.to_string());
        let silence = Silence::new(ASK_EVERY * 3);
        Ok(Self { options, address, after, watch, announced: None, seen: None, beats: false, silence })
    }

    /// Nothing of what was seen says anything about now.
    fn forget(&mut self) {
        (self.seen, self.beats) = (None, false);
    }

    fn announce(&mut self) -> Result<()> {
        let since = self.announced.map(|announced| announced.elapsed());
        if since.is_some_and(|since| since < STANDBY_EVERY) {
            return Ok(());
        }
        if since.is_none_or(|since| since > STANDBY_EVERY * 2) {
            // The driver may have come to think that nobody waits.
            self.forget();
        }
        self.watch.announce()?;
        self.announced = Some(Instant::now());
        Ok(())
    }

    fn see(&mut self, gate: &Gate) -> Result<Option<Home>> {
        self.announce()?;
        let known = self.seen.as_ref().filter(|seen| self.silence.lasts < ANOTHER_AFTER && !seen.left);
        let sign = self.watch.look(known.map(|seen| seen.epoch))?;
        let sign = sign.ok_or_else(|| DriverError::Storage(format!("{} is no driver's any more", self.options.url)))?;
        let before = self.seen.replace(sign.clone());
        let silent = self.silence.goes_on(before.as_ref() == Some(&sign));
        let About { address: driver, .. } = About::of_text(&sign.about, &self.options.url)?;
        if before.as_ref().is_none_or(|before| before.epoch != sign.epoch) {
            tracing::info!(driver, epoch = sign.epoch, "standing by");
            gate.wait_for(&driver);
            self.beats = false;
        } else if before.as_ref() != Some(&sign) {
            self.beats = true;
        }
        let after = if self.beats { self.after } else { self.after.max(NOTICE_LIMIT) };
        if sign.left {
            tracing::warn!(driver, "the driver has ended: taking over");
        } else if silent < after {
            return Ok(None);
        } else {
            tracing::warn!(driver, ?after, "the driver is silent: taking over from it");
        }
        self.silence.ends();
        let location = Location::parse(&self.options.url, self.options.timeout)?;
        let store = self.watch.take_over(Some(&sign), location, self.options.of_driver(&self.address))?;
        if store.is_none() {
            tracing::info!(driver, "it is there after all, or another driver was quicker");
        }
        Ok(store.map(|store| Home::Store(Arc::new(store))))
    }
}

impl Vigil for StoredVigil {
    fn every(&self) -> Duration {
        ASK_EVERY
    }

    fn look(&mut self, gate: &Gate) -> Result<Option<Home>> {
        let seen = self.see(gate);
        if seen.is_err() {
            self.forget();
            self.silence.ends();
        }
        seen
    }
}
