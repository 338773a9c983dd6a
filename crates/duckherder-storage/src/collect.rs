//! Removing objects that nothing needs any more, and writing packs anew that are mostly dead.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::error::{Result, StorageError};
use crate::extents::{PackId, Piece, Place};
use crate::format::{Move, PackSize, Record};
use crate::log::{LOG, LOG_STAYS, numbered};
use crate::manifest::MANIFESTS;
use crate::packs::{Source, grouped, run};
use crate::shared::{Core, Dead, Shared};
use crate::signs::SIGNS;

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Objects that one request removes.
const MOST_AT_ONCE: usize = 1000;
/// Packs are written anew once they have this many times the bytes that are needed of them (in tenths) ...
const TOO_LARGE: u64 = 13;
/// ... those of which less than this is needed (in tenths).
const MOSTLY_DEAD: u64 = 8;

/// Collects until the store is closed or fails.
pub async fn collect(core: Arc<Core>) {
    if let Err(error) = bury_the_past(&core).await {
        tracing::warn!(%error, "objects that an earlier driver has left behind stay there");
    }
    let pause = LOOK_EVERY.min(core.options.keep.max(Duration::from_millis(50)));
    loop {
        tokio::time::sleep(pause).await;
        {
            let shared = core.lock();
            if shared.closing || shared.failed.is_some() {
                return;
            }
        }
        let rewriter = Arc::clone(&core);
        match tokio::task::spawn_blocking(move || rewrite(&rewriter)).await {
            Ok(Err(error)) => tracing::warn!(%error, "packs that are mostly dead stay for now"),
            Err(error) => tracing::error!(%error, "packs could not be written anew"),
            Ok(Ok(())) => {}
        }
        if let Err(error) = remove(&core).await {
            tracing::warn!(%error, "objects that nothing needs stay for now");
        }
    }
}

/// Removes what has been dead for long enough.
async fn remove(core: &Core) -> Result<()> {
    loop {
        let gone = core.lock().take_gone(core.options.keep);
        if gone.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = gone.iter().map(|dead| dead.name.clone()).collect();
        if let Err(error) = core.objects.delete(&names).await {
            core.lock().dead.extend(gone);
            return Err(error);
        }
        for pack in gone.iter().filter_map(|dead| dead.pack) {
            core.lock().pack_bytes.remove(&pack);
            core.cache.forget(pack);
        }
        tracing::debug!(objects = names.len(), place = core.objects.shown(), "removed what nothing needs");
    }
}

impl Shared {
    fn take_gone(&mut self, keep: Duration) -> Vec<Dead> {
        let first_pin = self.pins.keys().next().copied();
        let mut gone = Vec::new();
        let is_gone = |dead: &mut Dead| {
            let stays = if dead.is_log { keep.max(LOG_STAYS) } else { keep };
            let unpinned = first_pin.is_none_or(|pin| pin >= dead.position);
            unpinned && dead.version.is_some() && dead.since.elapsed() >= stays
        };
        for dead in self.dead.extract_if(.., is_gone) {
            self.removed = self.removed.max(dead.position);
            gone.push(dead);
            if gone.len() == MOST_AT_ONCE {
                break;
            }
        }
        gone
    }
}

/// Finds what is there of earlier drivers that no file needs.
async fn bury_the_past(core: &Arc<Core>) -> Result<()> {
    let packs = core.objects.list("packs", None).await?;
    let (logs, manifests) = (core.objects.list(LOG, None).await?, core.objects.list(MANIFESTS, None).await?);
    let signs = core.objects.list(SIGNS, None).await?;
    let mut shared = core.lock();
    let (position, version) = (shared.appended, Some(core.epoch));
    let fences = shared.state.fences.clone();
    let dying: HashSet<String> = shared.dead.iter().map(|dead| dead.name.clone()).collect();
    let mut bury = |name: String, pack, is_log| {
        if !dying.contains(&name) {
            shared.dead.push(Dead { name, pack, is_log, position, version, since: Instant::now() });
        }
    };
    let mut packs: Vec<_> = packs.iter().filter_map(|name| PackId::of_name(name)).collect();
    packs.retain(|pack| pack.writer < core.epoch);
    let earlier = |names: &[String]| -> Vec<u64> {
        names.iter().filter_map(|name| name.parse().ok()).filter(|number| *number < core.epoch).collect()
    };
    for number in earlier(&logs).into_iter().filter(|number| !fences.contains(number)) {
        bury(numbered(LOG, number), None, true);
    }
    for number in earlier(&manifests) {
        bury(numbered(MANIFESTS, number), None, false);
    }
    for number in earlier(&signs) {
        bury(numbered(SIGNS, number), None, false);
    }
    packs.retain(|pack| !shared.pack_bytes.contains_key(pack));
    for pack in packs {
        shared.dead.push(Dead {
            name: pack.object(),
            pack: Some(pack),
            is_log: false,
            position,
            version,
            since: Instant::now(),
        });
    }
    Ok(())
}

/// Writes what is needed of mostly dead packs into new ones, if that is worth it; blocks.
fn rewrite(core: &Arc<Core>) -> Result<()> {
    let pieces = {
        let shared = core.lock_sound()?;
        let (live, all) = shared.state.space();
        if all * 10 <= live * TOO_LARGE {
            return Ok(());
        }
        let dying = shared.state.packs.iter().filter(|(_, pack)| pack.live_bytes * 10 < pack.bytes * MOSTLY_DEAD);
        let dying: HashSet<PackId> = dying.map(|(id, _)| *id).collect();
        let files = shared.state.files.iter();
        let pieces = files.flat_map(|(file, image)| image.extents.pieces().map(|piece| (*file, piece)));
        let of_dying = |piece: &Piece| matches!(piece.place, Place::Pack { pack, .. } if dying.contains(&pack));
        pieces.filter(|(_, piece)| of_dying(piece)).collect::<Vec<_>>()
    };
    for group in grouped(pieces) {
        rewrite_group(core, group)?;
    }
    Ok(())
}

fn rewrite_group(core: &Arc<Core>, group: Vec<(u64, Piece)>) -> Result<()> {
    let mut parts: Vec<Bytes> = Vec::with_capacity(group.len());
    for (_, piece) in &group {
        let Place::Pack { pack, offset } = piece.place else { continue };
        let source = Source::find(&*core.lock_sound()?, pack);
        let mut bytes = BytesMut::zeroed(piece.length as usize);
        if !source.read(core, offset, &mut bytes)? {
            // It has been overwritten, and has gone, since.
            return Ok(());
        }
        parts.push(bytes.freeze());
    }
    let pack = core.lock_sound()?.next_pack(core.epoch);
    let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
    let (writer, name) = (Arc::clone(core), pack.object());
    run(core, async move { writer.objects.put(&name, parts.into_iter().collect()).await })?;
    let mut offset = 0;
    let mut moves = Vec::with_capacity(group.len());
    for (file, from) in &group {
        let to = Piece { place: Place::Pack { pack, offset }, ..from.clone() };
        offset += from.length;
        moves.push(Move { file: *file, from: Some(from.into()), to: Some((&to).into()) });
    }
    let packs = vec![PackSize { writer: pack.writer, number: pack.number, bytes }];
    let mut shared = core.lock_sound()?;
    if shared.closing {
        return Err(StorageError::Closed(core.objects.shown().to_string()));
    }
    core.append(&mut shared, Record { packs, moves, files: Vec::new() })
}
