//! Files, as DuckDB uses them.

use std::sync::{Arc, MutexGuard};

use bytes::Bytes;

use crate::error::{Result, StorageError};
use crate::extents::{Piece, Place};
use crate::format::{Extent, FileChange, Record};
use crate::layer::{Layer, resolve};
use crate::packs::{PACK_BYTES, Source, seal, sizes, wait_for_room};
use crate::shared::{Core, Shared, Unsynced};

/// What a sync puts into the log itself; more goes into packs.
const MOST_INLINE_BYTES: u64 = 256 << 10;
/// How often a file is looked at anew whose packs have gone.
const TRIES: usize = 5;

/// How to open a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// Make it if it is missing.
    pub create: bool,
    /// Make it empty.
    pub truncate: bool,
}

/// A file. All its calls block.
#[derive(Clone)]
pub struct File {
    core: Arc<Core>,
    id: u64,
}

impl Core {
    fn no_file(&self, name: &str) -> StorageError {
        StorageError::NoFile { name: name.to_string(), place: self.objects.shown().to_string() }
    }

    /// Opens a file; `None` if there is none.
    pub fn open(self: &Arc<Self>, name: &str, mode: OpenMode) -> Result<Option<File>> {
        let mut shared = self.lock_sound()?;
        let id = match shared.id(name) {
            Some(id) => id,
            None if mode.create => {
                let id = shared.next_file;
                shared.next_file += 1;
                shared.fresh.insert(name.to_string(), id);
                let unsynced = Unsynced { current: Layer::over(0), frozen: None, name: Some(name.to_string()) };
                shared.unsynced.insert(id, unsynced);
                id
            }
            None => return Ok(None),
        };
        if mode.truncate && shared.length(id) != Some(0) {
            shared.layer(id).ok_or_else(|| self.no_file(name))?.truncate(0);
        }
        Ok(Some(File { core: Arc::clone(self), id }))
    }

    /// Removes a file; `false` if there is none.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let mut shared = self.lock_settled(name)?;
        let Some(id) = shared.id(name) else { return Ok(false) };
        let known = shared.fresh.remove(name).is_none();
        self.drop_layers(&mut shared, id);
        if known {
            let change = FileChange { file: id, removed: true, ..FileChange::default() };
            self.append(&mut shared, Record { files: vec![change], ..Record::default() })?;
        }
        Ok(true)
    }

    /// Gives a file another name, that of another file if need be.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        drop(self.lock_settled(to)?);
        let mut shared = self.lock_settled(from)?;
        let id = shared.id(from).ok_or_else(|| self.no_file(from))?;
        if let Some(other) = shared.fresh.remove(to) {
            self.drop_layers(&mut shared, other);
        } else if let Some(other) = shared.state.names.get(to).copied() {
            self.drop_layers(&mut shared, other);
        }
        if shared.fresh.remove(from).is_some() {
            shared.fresh.insert(to.to_string(), id);
            if let Some(unsynced) = shared.unsynced.get_mut(&id) {
                unsynced.name = Some(to.to_string());
            }
            return Ok(());
        }
        let change = FileChange { file: id, name: Some(to.to_string()), ..FileChange::default() };
        self.append(&mut shared, Record { files: vec![change], ..Record::default() })
    }

    /// The lock, while no sync of the file is under way.
    fn lock_settled(&self, name: &str) -> Result<MutexGuard<'_, Shared>> {
        self.wait(self.lock_sound()?, |shared| {
            let unsynced = shared.id(name).and_then(|id| shared.unsynced.get(&id));
            unsynced.is_none_or(|unsynced| unsynced.frozen.is_none())
        })
    }

    /// What was not synced of a file is gone with it.
    fn drop_layers(&self, shared: &mut Shared, id: u64) {
        let Some(unsynced) = shared.unsynced.remove(&id) else { return };
        for pack in unsynced.current.packs {
            shared.bury_pack(pack);
        }
    }
}

impl Shared {
    /// The file of a name.
    pub fn id(&self, name: &str) -> Option<u64> {
        self.fresh.get(name).or_else(|| self.state.names.get(name)).copied()
    }

    pub fn length(&self, id: u64) -> Option<u64> {
        let unsynced = self.unsynced.get(&id).map(|unsynced| unsynced.current.length);
        unsynced.or_else(|| self.state.files.get(&id).map(|image| image.length))
    }

    /// Where changes of a file go, if there is such a file.
    fn layer(&mut self, id: u64) -> Option<&mut Layer> {
        let length = self.length(id)?;
        let unsynced = self.unsynced.entry(id);
        let unsynced = unsynced.or_insert_with(|| Unsynced { current: Layer::over(length), frozen: None, name: None });
        Some(&mut unsynced.current)
    }

    fn pieces(&self, id: u64, range: std::ops::Range<u64>) -> Vec<Piece> {
        let unsynced = self.unsynced.get(&id);
        let layers: Vec<_> = unsynced
            .into_iter()
            .flat_map(|unsynced| std::iter::once(&unsynced.current).chain(&unsynced.frozen))
            .collect();
        resolve(&layers, self.state.files.get(&id).map(|image| &image.extents), range)
    }
}

impl File {
    fn gone(&self) -> StorageError {
        self.core.no_file(&format!("number {} any more", self.id))
    }

    /// Bytes of the file.
    ///
    /// # Errors
    /// The file was removed, or the storage has failed.
    pub fn length(&self) -> Result<u64> {
        self.core.lock_sound()?.length(self.id).ok_or_else(|| self.gone())
    }

    /// Reads up to the file's end; returns how many bytes there were.
    ///
    /// # Errors
    /// The file was removed, or the storage fails.
    pub fn read(&self, offset: u64, target: &mut [u8]) -> Result<usize> {
        for _ in 0..TRIES {
            if let Some(count) = self.try_read(offset, target)? {
                return Ok(count);
            }
        }
        Err(self.core.objects.corrupt("a pack", "it is missing"))
    }

    /// `None` if a pack has gone: its bytes are elsewhere now.
    fn try_read(&self, offset: u64, target: &mut [u8]) -> Result<Option<usize>> {
        let (count, pieces) = {
            let shared = self.core.lock_sound()?;
            let length = shared.length(self.id).ok_or_else(|| self.gone())?;
            let count = length.saturating_sub(offset).min(target.len() as u64);
            let pieces = shared.pieces(self.id, offset..offset + count).into_iter().map(|piece| {
                let source = match piece.place {
                    Place::Pack { pack, .. } => Some(Source::find(&shared, pack)),
                    _ => None,
                };
                (piece, source)
            });
            (count, pieces.collect::<Vec<_>>())
        };
        let target = &mut target[..count as usize];
        let mut at = offset;
        for (piece, source) in pieces {
            let (start, end) = ((piece.start - offset) as usize, (piece.range().end - offset) as usize);
            target[(at - offset) as usize..start].fill(0);
            at = piece.range().end;
            let part = &mut target[start..end];
            match (&piece.place, source) {
                (Place::Inline(bytes), _) => part.copy_from_slice(bytes),
                (Place::Pack { offset, .. }, Some(source)) => {
                    if !source.read(&self.core, *offset, part)? {
                        return Ok(None);
                    }
                }
                _ => part.fill(0),
            }
        }
        target[(at - offset) as usize..].fill(0);
        Ok(Some(count as usize))
    }

    /// Writes; part of the file's next sync.
    ///
    /// # Errors
    /// The file was removed, or the storage has failed.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        wait_for_room(&self.core)?;
        let bytes = Bytes::copy_from_slice(bytes);
        let mut shared = self.core.lock_sound()?;
        let layer = shared.layer(self.id).ok_or_else(|| self.gone())?;
        layer.write(offset, bytes);
        if layer.inline_bytes >= PACK_BYTES {
            let mut taken = std::mem::replace(layer, Layer::over(0));
            seal(&self.core, &mut shared, &mut taken);
            if let Some(layer) = shared.layer(self.id) {
                *layer = taken;
            }
        }
        Ok(())
    }

    /// Makes zeros of bytes, which then take no space.
    ///
    /// # Errors
    /// The file was removed, or the storage has failed.
    pub fn trim(&self, offset: u64, length: u64) -> Result<()> {
        let mut shared = self.core.lock_sound()?;
        let layer = shared.layer(self.id).ok_or_else(|| self.gone())?;
        layer.trim(offset..offset.saturating_add(length));
        Ok(())
    }

    /// Cuts the file off.
    ///
    /// # Errors
    /// The file was removed, or the storage has failed.
    pub fn truncate(&self, length: u64) -> Result<()> {
        let mut shared = self.core.lock_sound()?;
        shared.layer(self.id).ok_or_else(|| self.gone())?.truncate(length);
        Ok(())
    }

    /// Has what was written be the next thing in the log. Large writes are in the storage afterwards; that the log is,
    /// is waited for with [`Store::wait_durable`](crate::Store::wait_durable).
    ///
    /// # Errors
    /// The storage fails.
    pub fn sync(&self) -> Result<()> {
        let core = &self.core;
        let settled = |shared: &Shared| shared.unsynced.get(&self.id).is_none_or(|unsynced| unsynced.frozen.is_none());
        let mut shared = core.wait(core.lock_sound()?, settled)?;
        let Some(unsynced) = shared.unsynced.get_mut(&self.id) else {
            return if shared.length(self.id).is_some() { Ok(()) } else { Err(self.gone()) };
        };
        let length = unsynced.current.length;
        let mut layer = std::mem::replace(&mut unsynced.current, Layer::over(length));
        unsynced.frozen = Some(layer.clone());
        if layer.inline_bytes > MOST_INLINE_BYTES {
            seal(core, &mut shared, &mut layer);
            if let Some(unsynced) = shared.unsynced.get_mut(&self.id) {
                unsynced.frozen = Some(layer.clone());
            }
        }
        let packs = layer.packs.clone();
        shared = core.wait(shared, |shared| packs.iter().all(|pack| !shared.uploading.contains_key(pack)))?;
        let packs = sizes(&shared, &packs);
        let name = shared.unsynced.get_mut(&self.id).and_then(|unsynced| unsynced.name.take());
        if let Some(name) = &name {
            shared.fresh.remove(name);
        }
        if name.is_some() || !layer.is_empty() {
            let files = vec![change_of(self.id, name, &layer)];
            core.append(&mut shared, Record { files, packs, moves: Vec::new() })?;
        }
        if let Some(unsynced) = shared.unsynced.get_mut(&self.id) {
            unsynced.frozen = None;
            if unsynced.current.is_empty() {
                shared.unsynced.remove(&self.id);
            }
        }
        drop(shared);
        core.tell();
        Ok(())
    }
}

fn change_of(file: u64, name: Option<String>, layer: &Layer) -> FileChange {
    FileChange {
        file,
        name,
        removed: false,
        floor: (layer.floor < u64::MAX).then_some(layer.floor),
        extents: extents(layer),
        length: Some(layer.length),
    }
}

/// The layer's pieces, small writes that follow each other as one.
fn extents(layer: &Layer) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut run: Vec<Bytes> = Vec::new();
    let mut start = 0;
    let mut length = 0;
    let end_run = |run: &mut Vec<Bytes>, start, length, extents: &mut Vec<Extent>| {
        let data = match run.as_slice() {
            [] => return,
            [one] => one.clone(),
            many => many.concat().into(),
        };
        extents.push(Extent { start, length, data: Some(data), ..Extent::default() });
        run.clear();
    };
    for piece in layer.extents.pieces() {
        match &piece.place {
            Place::Inline(bytes) => {
                if start + length != piece.start {
                    end_run(&mut run, start, length, &mut extents);
                }
                if run.is_empty() {
                    (start, length) = (piece.start, 0);
                }
                length += piece.length;
                run.push(bytes.clone());
            }
            _ => {
                end_run(&mut run, start, length, &mut extents);
                extents.push((&piece).into());
            }
        }
    }
    end_run(&mut run, start, length, &mut extents);
    extents
}
