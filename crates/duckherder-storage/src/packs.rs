//! Packs: made of what is written, read in pieces of 4 MiB.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;

use crate::cache::{Key, Look, PIECE_BYTES};
use crate::error::Result;
use crate::extents::{PackId, Piece, Place};
use crate::format::PackSize;
use crate::layer::Layer;
use crate::shared::{Core, Shared};

/// A pack is not larger, unless one piece is.
pub const PACK_BYTES: u64 = 16 << 20;
/// Packs that are on their way at once; who makes more waits.
const MOST_UPLOADS: usize = 4;
/// Pieces that nobody has asked for yet, on their way at once.
const MOST_AHEAD: usize = 8;

impl PackId {
    /// The object's name.
    pub fn object(&self) -> String {
        format!("packs/{:020}-{:012}", self.writer, self.number)
    }

    /// The pack of a name within the folder.
    pub fn of_name(name: &str) -> Option<Self> {
        let (writer, number) = name.split_once('-')?;
        Some(Self { writer: writer.parse().ok()?, number: number.parse().ok()? })
    }
}

/// A pack that is on its way.
pub struct Upload {
    /// By their offset.
    parts: Vec<(u64, Bytes)>,
    bytes: u64,
}

impl Upload {
    pub fn new(parts: Vec<Bytes>) -> Self {
        let mut bytes = 0;
        let parts = parts.into_iter().map(|part| {
            let offset = bytes;
            bytes += part.len() as u64;
            (offset, part)
        });
        let parts = parts.collect();
        Self { parts, bytes }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn parts(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.parts.iter().map(|(_, part)| part.clone())
    }

    pub fn read(&self, offset: u64, target: &mut [u8]) {
        let mut at = self.parts.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        let mut done = 0;
        while done < target.len() && at < self.parts.len() {
            let (start, part) = &self.parts[at];
            let skip = (offset + done as u64 - start) as usize;
            let count = (part.len() - skip).min(target.len() - done);
            target[done..done + count].copy_from_slice(&part[skip..skip + count]);
            done += count;
            at += 1;
        }
    }
}

/// Puts what a layer has in memory into packs that are sent off.
pub fn seal(core: &Arc<Core>, shared: &mut Shared, layer: &mut Layer) {
    let inline = layer.extents.pieces().filter(|piece| matches!(piece.place, Place::Inline(_)));
    for group in grouped(inline.collect()) {
        let pack = shared.next_pack(core.epoch);
        let mut offset = 0;
        let mut parts = Vec::with_capacity(group.len());
        for piece in group {
            let Place::Inline(bytes) = piece.place else { continue };
            layer.extents.insert(Piece { place: Place::Pack { pack, offset }, ..piece });
            offset += piece.length;
            parts.push(bytes);
        }
        layer.packs.push(pack);
        send(core, shared, pack, Upload::new(parts));
    }
    layer.inline_bytes = 0;
}

/// Pieces in their order, as many in a group as a pack takes.
pub fn grouped<P: Borrowed>(pieces: Vec<P>) -> Vec<Vec<P>> {
    let mut groups: Vec<Vec<P>> = Vec::new();
    let mut bytes = 0;
    for piece in pieces {
        let length = piece.length();
        match groups.last_mut() {
            Some(group) if bytes + length <= PACK_BYTES => group.push(piece),
            _ => {
                bytes = 0;
                groups.push(vec![piece]);
            }
        }
        bytes += length;
    }
    groups
}

/// What has a length.
pub trait Borrowed {
    fn length(&self) -> u64;
}

impl Borrowed for Piece {
    fn length(&self) -> u64 {
        self.length
    }
}

impl Borrowed for (u64, Piece) {
    fn length(&self) -> u64 {
        self.1.length
    }
}

fn send(core: &Arc<Core>, shared: &mut Shared, pack: PackId, upload: Upload) {
    let upload = Arc::new(upload);
    shared.pack_bytes.insert(pack, upload.bytes());
    shared.uploading.insert(pack, Arc::clone(&upload));
    let core = Arc::clone(core);
    let handle = core.handle.clone();
    handle.spawn(async move {
        if let Err(error) = core.objects.put(&pack.object(), upload.parts().collect()).await {
            core.fail(error);
            return;
        }
        let keep = Arc::clone(&core);
        let kept = tokio::task::spawn_blocking(move || keep_upload(&keep, pack, &upload)).await;
        if let Err(error) = kept {
            tracing::warn!(%error, "a pack is not in the storage's cache");
        }
        core.lock().uploading.remove(&pack);
        core.tell();
    });
}

/// Waits until one more pack may be sent.
///
/// # Errors
/// The store fails.
pub fn wait_for_room(core: &Core) -> Result<()> {
    drop(core.wait(core.lock(), |shared| shared.uploading.len() < MOST_UPLOADS)?);
    Ok(())
}

/// Sizes of packs, for a record.
pub fn sizes(shared: &Shared, packs: &[PackId]) -> Vec<PackSize> {
    let size = |pack: &PackId| shared.pack_bytes.get(pack).copied().unwrap_or_default();
    packs.iter().map(|pack| PackSize { writer: pack.writer, number: pack.number, bytes: size(pack) }).collect()
}

/// What was just written will be read.
fn keep_upload(core: &Core, pack: PackId, upload: &Upload) {
    let mut offset = 0;
    while offset < upload.bytes() {
        let length = PIECE_BYTES.min(upload.bytes() - offset);
        let key = (pack, offset / PIECE_BYTES);
        if core.cache.claim(key) {
            let mut piece = BytesMut::zeroed(length as usize);
            upload.read(offset, &mut piece);
            core.cache.put(key, &piece.freeze());
        }
        offset += length;
    }
}

/// Where to read a pack from, found under the lock.
pub struct Source {
    pack: PackId,
    bytes: u64,
    upload: Option<Arc<Upload>>,
}

impl Source {
    pub fn find(shared: &Shared, pack: PackId) -> Self {
        let bytes = shared.pack_bytes.get(&pack).copied().unwrap_or_default();
        Self { pack, bytes, upload: shared.uploading.get(&pack).cloned() }
    }

    /// Reads bytes of the pack; blocks. `false` if the pack is gone.
    ///
    /// # Errors
    /// The storage, or the disk, fails.
    pub fn read(&self, core: &Arc<Core>, mut offset: u64, mut target: &mut [u8]) -> Result<bool> {
        if let Some(upload) = &self.upload {
            upload.read(offset, target);
            return Ok(true);
        }
        while !target.is_empty() {
            let key = (self.pack, offset / PIECE_BYTES);
            let within = offset % PIECE_BYTES;
            let count = target.len().min((PIECE_BYTES - within) as usize);
            let (now, later) = target.split_at_mut(count);
            if !self.read_piece(core, key, within, now)? {
                return Ok(false);
            }
            target = later;
            offset += count as u64;
        }
        Ok(true)
    }

    fn read_piece(&self, core: &Arc<Core>, key: Key, within: u64, target: &mut [u8]) -> Result<bool> {
        match core.cache.look(key) {
            Look::Here(slot) => {
                let read = core.cache.read(slot, within, target);
                core.cache.done(key);
                read.map(|()| true)
            }
            Look::Fetch => {
                let claim = Claim::of(core, key);
                if key.1 > 0 && core.cache.has((key.0, key.1 - 1)) {
                    self.read_ahead(core, (key.0, key.1 + 1));
                }
                let Some(bytes) = run(core, fetch(claim, self.bytes))? else { return Ok(false) };
                let (start, end) = (within as usize, within as usize + target.len());
                let found = bytes.get(start..end);
                let found = found.ok_or_else(|| core.objects.corrupt(&self.pack.object(), "it is too short"))?;
                target.copy_from_slice(found);
                Ok(true)
            }
        }
    }

    /// Who reads one piece after the other is about to want the next.
    fn read_ahead(&self, core: &Arc<Core>, key: Key) {
        static AHEAD: AtomicUsize = AtomicUsize::new(0);
        if key.1 * PIECE_BYTES >= self.bytes || AHEAD.load(Ordering::Relaxed) >= MOST_AHEAD || !core.cache.claim(key) {
            return;
        }
        AHEAD.fetch_add(1, Ordering::Relaxed);
        let (claim, bytes) = (Claim::of(core, key), self.bytes);
        core.handle.spawn(async move {
            // Whoever wants it will ask, and hear, again.
            let _ = fetch(claim, bytes).await;
            AHEAD.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// The duty to fetch a piece, for which others wait: however it ends, they go on.
struct Claim {
    core: Arc<Core>,
    key: Key,
    kept: bool,
}

impl Claim {
    /// Of a piece that the cache has told the caller to fetch.
    fn of(core: &Arc<Core>, key: Key) -> Self {
        Self { core: Arc::clone(core), key, kept: false }
    }

    fn keep(mut self, bytes: &Bytes) {
        self.core.cache.put(self.key, bytes);
        self.kept = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.core.cache.give_up(self.key);
        }
    }
}

/// Fetches a piece that is claimed.
async fn fetch(claim: Claim, pack_bytes: u64) -> Result<Option<Bytes>> {
    let key = claim.key;
    let start = key.1 * PIECE_BYTES;
    let end = pack_bytes.min(start + PIECE_BYTES);
    let fetched = claim.core.objects.get(&key.0.object(), Some(start..end)).await?;
    let Some(bytes) = fetched else { return Ok(None) };
    let kept = bytes.clone();
    // What could not be kept is fetched again by whoever wants it.
    drop(tokio::task::spawn_blocking(move || claim.keep(&kept)).await);
    Ok(Some(bytes))
}

/// Runs a future on the store's threads, from any other thread.
///
/// # Errors
/// What the future says, or the store is closed.
pub fn run<T: Send + 'static>(core: &Core, future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    run_on(&core.handle, core.objects.shown(), future)
}

/// The same on some threads; `shown` is the place, for people.
///
/// # Errors
/// What the future says, or the threads have ended.
pub fn run_on<T: Send + 'static>(
    threads: &Handle,
    shown: &str,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (tell, told) = std::sync::mpsc::channel();
    threads.spawn(async move {
        // Nobody may be waiting any more.
        let _ = tell.send(future.await);
    });
    let closed = |_| crate::StorageError::Closed(shown.to_string());
    told.recv().map_err(closed)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_read_across_its_parts() {
        let upload =
            Upload::new(vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg"), Bytes::from_static(b"h")]);
        let mut read = [0; 4];
        upload.read(2, &mut read);
        assert_eq!(&read, b"cdef");
        upload.read(4, &mut read);
        assert_eq!(&read, b"efgh");
        let pack = PackId { writer: 3, number: 4 };
        assert_eq!(pack.object().strip_prefix("packs/").and_then(PackId::of_name), Some(pack));
    }

    #[test]
    fn groups_are_as_large_as_packs() {
        let piece = |start| Piece { start, length: PACK_BYTES / 2, place: Place::Zero };
        let groups = grouped((0..5).map(|number| piece(number * PACK_BYTES / 2)).collect());
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    }
}
