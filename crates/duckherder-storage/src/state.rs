//! All files as they are after some part of the log, and what of the packs they need.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::extents::{Extents, PackId, Piece, Place};
use crate::format::{FileChange, Manifest, PackSize, Record};

/// A file's bytes.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub name: String,
    pub length: u64,
    pub extents: Extents,
}

/// How much of a pack is needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pack {
    pub bytes: u64,
    pub live_bytes: u64,
}

/// All files and packs.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub files: BTreeMap<u64, Image>,
    pub names: BTreeMap<String, u64>,
    pub packs: HashMap<PackId, Pack>,
    pub next_file: u64,
    /// The log objects with which the place changed hands: each writer's first ones. They are never removed, since the
    /// writer before may try to create them at any time.
    pub fences: BTreeSet<u64>,
    /// Drawn when the place is made: whoever writes there, it is the same.
    pub place: String,
    /// Packs that no file needs any more, since this was last taken.
    pub dead: Vec<PackId>,
}

impl State {
    /// Does what a record says.
    ///
    /// # Errors
    /// In words, why it makes no sense here.
    pub fn apply(&mut self, record: &Record) -> Result<(), String> {
        for pack in &record.packs {
            self.packs.insert(pack.id(), Pack { bytes: pack.bytes, live_bytes: 0 });
        }
        for change in &record.files {
            self.change(change)?;
        }
        for moved in &record.moves {
            let pieces = moved.from.as_ref().zip(moved.to.as_ref());
            let pieces = pieces.and_then(|(from, to)| Some((from.to_piece()?, to.to_piece()?)));
            let (from, to) = pieces.ok_or("a move without its ends")?;
            self.relocate(moved.file, &from, &to);
        }
        // A pack of which nothing was used.
        for pack in &record.packs {
            self.bury(pack.id());
        }
        Ok(())
    }

    fn change(&mut self, change: &FileChange) -> Result<(), String> {
        if change.removed {
            return self.remove(change.file);
        }
        if let Some(name) = &change.name {
            if let Some(other) = self.names.get(name).copied()
                && other != change.file
            {
                self.remove(other)?;
            }
            let image = self.files.entry(change.file).or_default();
            self.names.remove(&image.name);
            image.name.clone_from(name);
            self.names.insert(name.clone(), change.file);
            self.next_file = self.next_file.max(change.file + 1);
        }
        let image = self.files.get_mut(&change.file).ok_or_else(|| format!("there is no file {}", change.file))?;
        let mut gone = Vec::new();
        if let Some(floor) = change.floor {
            gone.extend(image.extents.remove(floor..u64::MAX));
            image.length = image.length.min(floor);
        }
        let mut added = Vec::new();
        for extent in &change.extents {
            let piece = extent.to_piece().ok_or("an extent that makes no sense")?;
            if matches!(piece.place, Place::Zero) {
                gone.extend(image.extents.remove(piece.range()));
            } else {
                gone.extend(image.extents.insert(piece.clone()));
                added.push(piece);
            }
        }
        if let Some(length) = change.length {
            gone.extend(image.extents.remove(length..u64::MAX));
            image.length = length;
        }
        self.count(&added, &gone)
    }

    fn remove(&mut self, file: u64) -> Result<(), String> {
        let image = self.files.remove(&file).ok_or_else(|| format!("there is no file {file}"))?;
        self.names.remove(&image.name);
        self.count(&[], &image.extents.pieces().collect::<Vec<_>>())
    }

    /// Has `from`, as far as it still lies there, lie at `to`.
    pub fn relocate(&mut self, file: u64, from: &Piece, to: &Piece) {
        let (Some(image), Place::Pack { pack: to_pack, offset: to_offset }) = (self.files.get_mut(&file), &to.place)
        else {
            return;
        };
        let mut moved = 0;
        let mut left: HashMap<PackId, u64> = HashMap::new();
        for piece in image.extents.within(from.range()) {
            let skip = piece.start - from.start;
            let same = match (&piece.place, &from.place) {
                (Place::Pack { pack, offset }, Place::Pack { pack: was, offset: was_at }) => {
                    pack == was && *offset == was_at + skip
                }
                (Place::Inline(bytes), Place::Inline(was)) => bytes.as_ptr() == was[skip as usize..].as_ptr(),
                _ => false,
            };
            if same {
                if let Place::Pack { pack, .. } = &piece.place {
                    *left.entry(*pack).or_default() += piece.length;
                }
                moved += piece.length;
                let place = Place::Pack { pack: *to_pack, offset: to_offset + skip };
                image.extents.insert(Piece { place, ..piece });
            }
        }
        if let Some(pack) = self.packs.get_mut(to_pack) {
            pack.live_bytes += moved;
        }
        for (id, bytes) in left {
            if let Some(pack) = self.packs.get_mut(&id) {
                pack.live_bytes = pack.live_bytes.saturating_sub(bytes);
            }
            self.bury(id);
        }
    }

    fn count(&mut self, added: &[Piece], gone: &[Piece]) -> Result<(), String> {
        for piece in added {
            if let Place::Pack { pack, .. } = &piece.place {
                let found = self.packs.get_mut(pack).ok_or("an extent in a pack that is unknown")?;
                found.live_bytes += piece.length;
            }
        }
        for piece in gone {
            if let Place::Pack { pack, .. } = &piece.place {
                let found = self.packs.get_mut(pack).ok_or("an extent in a pack that is unknown")?;
                found.live_bytes = found.live_bytes.saturating_sub(piece.length);
            }
        }
        for piece in gone {
            if let Place::Pack { pack, .. } = &piece.place {
                self.bury(*pack);
            }
        }
        Ok(())
    }

    /// Forgets a pack if nothing of it is needed.
    pub fn bury(&mut self, id: PackId) {
        if self.packs.get(&id).is_some_and(|pack| pack.live_bytes == 0) {
            self.packs.remove(&id);
            self.dead.push(id);
        }
    }

    /// The state, without the writer's name.
    pub fn to_manifest(&self) -> Manifest {
        let files = self.files.iter().map(|(id, image)| FileChange {
            file: *id,
            name: Some(image.name.clone()),
            extents: image.extents.pieces().map(|piece| (&piece).into()).collect(),
            length: Some(image.length),
            ..FileChange::default()
        });
        let packs =
            self.packs.iter().map(|(id, pack)| PackSize { writer: id.writer, number: id.number, bytes: pack.bytes });
        Manifest {
            files: files.collect(),
            packs: packs.collect(),
            next_file: self.next_file,
            fences: self.fences.iter().copied().collect(),
            place: self.place.clone(),
            ..Manifest::default()
        }
    }

    /// The state that a manifest says.
    ///
    /// # Errors
    /// In words, why it makes no sense.
    pub fn of_manifest(manifest: Manifest) -> Result<Self, String> {
        let (fences, place) = (manifest.fences.into_iter().collect(), manifest.place);
        let mut state = Self { fences, place, ..Self::default() };
        state.apply(
            &Record { files: manifest.files, packs: Vec::new(), moves: Vec::new() }.with_packs(manifest.packs),
        )?;
        state.next_file = state.next_file.max(manifest.next_file);
        state.dead.clear();
        Ok(state)
    }

    /// Bytes that files need, in packs, and bytes of these packs.
    pub fn space(&self) -> (u64, u64) {
        self.packs.values().fold((0, 0), |(live, all), pack| (live + pack.live_bytes, all + pack.bytes))
    }
}

impl Record {
    fn with_packs(self, packs: Vec<PackSize>) -> Self {
        Self { packs, ..self }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::format::{Extent, Move};

    const FIRST: PackId = PackId { writer: 1, number: 1 };
    const SECOND: PackId = PackId { writer: 1, number: 2 };

    fn in_pack(start: u64, length: u64, pack: PackId, offset: u64) -> Extent {
        (&Piece { start, length, place: Place::Pack { pack, offset } }).into()
    }

    fn pack(id: PackId, bytes: u64) -> PackSize {
        PackSize { writer: id.writer, number: id.number, bytes }
    }

    fn made() -> State {
        let mut state = State::default();
        let change = FileChange {
            file: 0,
            name: Some("a".to_string()),
            extents: vec![in_pack(0, 100, FIRST, 0)],
            length: Some(100),
            ..FileChange::default()
        };
        state.apply(&Record { files: vec![change], packs: vec![pack(FIRST, 100)], moves: Vec::new() }).unwrap();
        state
    }

    fn live(state: &State, id: PackId) -> u64 {
        state.packs[&id].live_bytes
    }

    #[test]
    fn packs_know_what_is_needed_of_them() {
        let mut state = made();
        assert_eq!(live(&state, FIRST), 100);
        let over = FileChange { file: 0, extents: vec![in_pack(10, 20, SECOND, 0)], ..FileChange::default() };
        state.apply(&Record { files: vec![over], packs: vec![pack(SECOND, 20)], moves: Vec::new() }).unwrap();
        assert_eq!((live(&state, FIRST), live(&state, SECOND)), (80, 20));
        let trimmed = FileChange {
            file: 0,
            extents: vec![Extent { start: 0, length: 15, ..Extent::default() }],
            ..FileChange::default()
        };
        state.apply(&Record { files: vec![trimmed], ..Record::default() }).unwrap();
        assert_eq!((live(&state, FIRST), live(&state, SECOND)), (70, 15));
        assert_eq!(State::of_manifest(state.to_manifest()).unwrap().space(), state.space());
        state
            .apply(&Record {
                files: vec![FileChange { file: 0, removed: true, ..FileChange::default() }],
                ..Record::default()
            })
            .unwrap();
        assert_eq!(state.space(), (0, 0));
        state.dead.sort();
        assert_eq!(state.dead, [FIRST, SECOND]);
    }

    #[test]
    fn only_what_still_lies_there_is_moved() {
        let mut state = made();
        let written = Piece { start: 40, length: 3, place: Place::Inline(Bytes::from_static(b"new")) };
        let change = FileChange { file: 0, extents: vec![(&written).into()], ..FileChange::default() };
        state.apply(&Record { files: vec![change], ..Record::default() }).unwrap();
        let moved = Move { file: 0, from: Some(in_pack(0, 100, FIRST, 0)), to: Some(in_pack(0, 100, SECOND, 7)) };
        state.apply(&Record { packs: vec![pack(SECOND, 107)], moves: vec![moved], files: Vec::new() }).unwrap();
        assert_eq!(state.dead, [FIRST]);
        assert_eq!(live(&state, SECOND), 97);
        let ranges: Vec<_> = state.files[&0].extents.pieces().map(|piece| piece.range()).collect();
        assert_eq!(ranges, [0..40, 40..43, 43..100]);
    }

    #[test]
    fn a_file_takes_the_name_of_another() {
        let mut state = made();
        let other = FileChange { file: 1, name: Some("b".to_string()), length: Some(5), ..FileChange::default() };
        state.apply(&Record { files: vec![other], ..Record::default() }).unwrap();
        let renamed = FileChange { file: 1, name: Some("a".to_string()), ..FileChange::default() };
        state.apply(&Record { files: vec![renamed], ..Record::default() }).unwrap();
        assert_eq!(state.names.iter().collect::<Vec<_>>(), [(&"a".to_string(), &1)]);
        assert_eq!((state.files.len(), state.next_file), (1, 2));
        let unknown = FileChange { file: 9, length: Some(1), ..FileChange::default() };
        assert!(state.apply(&Record { files: vec![unknown], ..Record::default() }).is_err());
    }
}
