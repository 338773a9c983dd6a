//! Watching a place whose writer may end, to take it over then.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::follow::Threads;
use crate::format::Sign;
use crate::location::Location;
use crate::objects::{Objects, Requests};
use crate::open::Claim;
use crate::signs;
use crate::store::{Options, Store};

/// A place that another writes. Its calls block.
pub struct Watch {
    objects: Arc<Objects>,
    threads: Threads,
    /// Which no other has.
    name: String,
    announced: u64,
    /// A writer that has shut out the one which took over with this log object (0: that was the first one), and never showed
    /// itself.
    silent: Option<(u64, String)>,
}

impl Watch {
    /// Requests are tried for `patience`. Sends nothing yet.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn new(location: Location, patience: Duration) -> Result<Self> {
        let objects = Arc::new(Objects::new(location, patience));
        let name = uuid::Uuid::new_v4().to_string();
        Ok(Self { objects, threads: Threads::start()?, name, announced: 0, silent: None })
    }

    /// Tells the writer that somebody watches, so that it shows that it is there.
    ///
    /// # Errors
    /// The storage fails.
    pub fn announce(&mut self) -> Result<()> {
        self.announced += 1;
        let (objects, text) = (Arc::clone(&self.objects), format!("{} {}", self.name, self.announced));
        self.threads.run(self.objects.shown(), async move { signs::announce(&objects, text).await })
    }

    /// What the writer shows that took over with log object `epoch`, or else the last one; nothing, if there was none.
    ///
    /// # Errors
    /// The storage fails.
    pub fn look(&self, epoch: Option<u64>) -> Result<Option<Sign>> {
        let objects = Arc::clone(&self.objects);
        self.threads.run(self.objects.shown(), async move { signs::find(&objects, epoch).await })
    }

    /// Takes the place, at this location, over from the writer that showed this, or from nobody; nothing, if one turns out to
    /// be there, or another one is quicker.
    ///
    /// # Errors
    /// The storage fails, or does not have what a driver has written.
    pub fn take_over(&mut self, sign: Option<&Sign>, location: Location, options: Options) -> Result<Option<Store>> {
        let (epoch, shown_by) = sign.map_or((0, ""), |sign| (sign.epoch, &sign.writer));
        let silent = self.silent.take().filter(|(other, _)| *other == epoch);
        let writer = silent.map_or_else(|| shown_by.to_string(), |(_, writer)| writer);
        match Store::take(location, options, Some(Claim { writer, sign: sign.cloned() }))? {
            Ok(store) => Ok(Some(store)),
            Err(writer) => {
                // It may have ended before it could show itself: the next time it is its place that is taken.
                self.silent = writer.filter(|writer| writer != shown_by).map(|writer| (epoch, writer));
                Ok(None)
            }
        }
    }

    /// How many requests there were.
    pub fn requests(&self) -> Requests {
        self.objects.requests()
    }
}
