//! Showing that a writer is there, to those who would take its place, and being sure that none of them has it.
//!
//! ```text
//!   standby                    an object that each standby writes now and then: somebody wants to know
//!   drivers/E                  the sign of the writer that took over with log object E: another beat every two seconds,
//!                              as long as somebody wants to know; at last, that it has left
//! ```
//!
//! Who took over can't be overwritten by who was before, since each has a sign of its own.
//!
//! **Being sure.** Writes need nothing of this: log objects shut out who is not the writer any more. But a writer that
//! stood still, or does not reach its storage, would answer readers with what has become old. A standby takes over once it
//! has seen the same beat for [`LEAST_SILENCE`] at least, so for [`SURE_FOR`] after a beat was sent off nobody has. That
//! holds if the beat was there before the one before was as old as that: otherwise a standby may be about to take over, and
//! the writer creates its next log object, which is what the standby needs, too. A writer that shows no beat, since nobody
//! wants to know, is given [`NOTICE_LIMIT`] after a standby has shown itself: for [`ALONE_FOR`] after it has looked and
//! found nobody, it is sure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::{Result, StorageError};
use crate::format::{SIGN_MAGIC, Sign, decode, encode};
use crate::log::numbered;
use crate::objects::Objects;
use crate::shared::Core;

pub const SIGNS: &str = "drivers";
/// Where those show themselves who would take a writer's place.
const STANDBY: &str = "standby";
/// How often a writer shows another beat, and how often it looks whether anybody wants to know.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// How long after a beat nobody has taken over.
const SURE_FOR: Duration = Duration::from_secs(4);
/// How long a writer without a beat is left in its place by a standby that has shown itself.
pub const NOTICE_LIMIT: Duration = Duration::from_secs(7);
/// How long after a writer has seen no standby nobody has taken over.
const ALONE_FOR: Duration = Duration::from_secs(6);
/// How long a writer must have shown the same beat at least before its place is taken.
pub const LEAST_SILENCE: Duration = Duration::from_secs(5);
/// How often a standby shows itself, and after how long without a sign of one there is none.
pub const STANDBY_EVERY: Duration = Duration::from_secs(60);
const STANDBY_STAYS: Duration = Duration::from_secs(300);
/// How long a look or a beat is tried: the next one is due.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a sign is looked for that others remove meanwhile.
const TRIES: usize = 5;

/// The sign of the last writer, or of the one that took over with a log object.
///
/// # Errors
/// The storage fails, or the sign is none.
pub async fn find(objects: &Objects, epoch: Option<u64>) -> Result<Option<Sign>> {
    if let Some(epoch) = epoch
        && let Some(sign) = read(objects, epoch).await?
    {
        return Ok(Some(sign));
    }
    for _ in 0..TRIES {
        let names = objects.list(SIGNS, None).await?;
        let Some(last) = names.iter().filter_map(|name| name.parse().ok()).max() else { break };
        if let Some(sign) = read(objects, last).await? {
            return Ok(Some(sign));
        }
    }
    Ok(None)
}

async fn read(objects: &Objects, epoch: u64) -> Result<Option<Sign>> {
    let name = numbered(SIGNS, epoch);
    let Some(bytes) = objects.get(&name, None).await? else { return Ok(None) };
    decode(SIGN_MAGIC, &bytes).map(Some).map_err(|reason| objects.corrupt(&name, reason))
}

/// Shows that somebody would take a writer's place; `text` is another one each time.
///
/// # Errors
/// The storage fails.
pub async fn announce(objects: &Objects, text: String) -> Result<()> {
    objects.put(STANDBY, Bytes::from(text).into()).await
}

/// Writes the writer's sign.
///
/// # Errors
/// The storage fails.
pub async fn put(core: &Core, objects: &Objects, beat: u64, left: bool) -> Result<()> {
    let (epoch, writer, about) = (core.epoch, core.writer.clone(), core.options.about.clone());
    let sign = encode(SIGN_MAGIC, &Sign { epoch, writer, beat, left, about });
    objects.put(&numbered(SIGNS, epoch), sign.into()).await
}

/// The answer to a request of [`show`], which comes within [`PATIENCE`] or not at all.
async fn in_time<T>(objects: &Objects, object: &str, request: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| StorageError::Request {
        what: "reach",
        object: object.to_string(),
        place: objects.shown().to_string(),
        reason: format!("no answer for {} seconds", PATIENCE.as_secs()),
    };
    tokio::time::timeout(PATIENCE, request).await.map_err(late)?
}

/// Shows that the writer, which has just taken over, is there until the store is closed or fails.
pub async fn show(core: Arc<Core>) {
    let objects = core.objects.with_patience(PATIENCE);
    core.is_sure_until(Instant::now() + ALONE_FOR);
    let mut shown = Shown { objects, beat: 0, sent: None, standby: None, heard: Instant::now(), core };
    loop {
        let begun = Instant::now();
        match shown.once().await {
            Ok(()) => {}
            // The log finds out whether the storage is to be given up.
            Err(error) => tracing::warn!(%error, "a standby may take this driver for dead"),
        }
        let leaves = tokio::time::timeout(BEAT_EVERY.saturating_sub(begun.elapsed()), shown.core.leaving.notified());
        if leaves.await.is_ok() {
            // Whoever waits goes on waiting otherwise, and takes over later.
            let left = put(&shown.core, &shown.objects, shown.beat + 1, true);
            if let Err(error) = in_time(&shown.objects, SIGNS, left).await {
                tracing::warn!(%error, "that this driver has ended can't be told");
            }
            return;
        }
        if shown.core.lock().failed.is_some() {
            return;
        }
    }
}

struct Shown {
    core: Arc<Core>,
    objects: Objects,
    /// The last one.
    beat: u64,
    /// When it was sent off; nothing, if nobody wants to know.
    sent: Option<Instant>,
    /// What standbys have written last, and when that was seen first.
    standby: Option<Bytes>,
    heard: Instant,
}

impl Shown {
    async fn once(&mut self) -> Result<()> {
        let looked = Instant::now();
        // While somebody is there, it is soon enough to find out later that nobody is.
        if self.sent.is_none() || self.heard.elapsed() >= STANDBY_EVERY {
            let found = in_time(&self.objects, STANDBY, self.objects.get(STANDBY, None)).await?;
            if found != self.standby {
                (self.standby, self.heard) = (found, Instant::now());
            }
        }
        if self.standby.is_none() || self.heard.elapsed() > STANDBY_STAYS {
            // A standby may be gone because it has taken over.
            if self.sent.is_some() && !self.goes_on() {
                self.core.prove().await?;
            }
            self.sent = None;
            self.core.is_sure_until(looked + ALONE_FOR);
            return Ok(());
        }
        let begun = Instant::now();
        if self.sent.is_none() {
            tracing::info!(place = self.objects.shown(), "a standby waits for this driver's place");
            self.core.is_sure_until(begun);
        }
        self.beat += 1;
        let beat = put(&self.core, &self.objects, self.beat, false);
        in_time(&self.objects, SIGNS, beat).await?;
        let goes_on = self.goes_on();
        self.sent = Some(begun);
        if !goes_on {
            self.core.prove().await?;
        }
        self.core.is_sure_until(begun + SURE_FOR);
        Ok(())
    }

    /// What a standby that saw the beat before could do by now, it has not done yet.
    fn goes_on(&self) -> bool {
        self.sent.is_some_and(|sent| sent.elapsed() < LEAST_SILENCE)
    }
}

impl Core {
    /// Has a log object of this writer's be created from now on, which nobody can who was shut out.
    async fn prove(&self) -> Result<()> {
        self.lock_sound()?.proof_wanted = true;
        self.log_work.notify_one();
        self.proved.notified().await;
        drop(self.lock_sound()?);
        Ok(())
    }

    fn is_sure_until(&self, until: Instant) {
        self.lock().sure_until = Some(until);
        self.tell();
    }

    /// Whether it is certain that nobody has taken over whom this writer has not heard of.
    ///
    /// # Errors
    /// The store has failed: for this reason, or another.
    pub fn is_sure(&self) -> Result<bool> {
        Ok(self.lock_sound()?.is_sure())
    }

    /// Waits until it is certain. Blocks.
    ///
    /// # Errors
    /// As for [`is_sure`](Self::is_sure).
    pub fn wait_sure(&self) -> Result<(), StorageError> {
        drop(self.wait(self.lock_sound()?, |shared| shared.is_sure())?);
        Ok(())
    }
}
