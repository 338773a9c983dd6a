//! What has been written to a file since it was synced.

use std::ops::Range;

use bytes::Bytes;

use crate::extents::{Extents, PackId, Piece, Place};

/// Changes of a file over what was there before.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What is below is seen up to here only: the shortest that the file was.
    pub floor: u64,
    pub length: u64,
    pub extents: Extents,
    /// In memory.
    pub inline_bytes: u64,
    /// Packs of which bytes have come here.
    pub packs: Vec<PackId>,
}

impl Layer {
    /// No change of a file that is `length` bytes long.
    pub fn over(length: u64) -> Self {
        Self { floor: u64::MAX, length, extents: Extents::default(), inline_bytes: 0, packs: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.floor == u64::MAX && self.extents.is_empty()
    }

    pub fn write(&mut self, start: u64, bytes: Bytes) {
        let length = bytes.len() as u64;
        self.inline_bytes += length;
        self.forget(&self.extents.within(start..start + length));
        self.extents.insert(Piece { start, length, place: Place::Inline(bytes) });
        self.length = self.length.max(start + length);
    }

    /// Makes zeros of a range.
    pub fn trim(&mut self, range: Range<u64>) {
        let range = range.start..range.end.min(self.length);
        if range.is_empty() {
            return;
        }
        self.forget(&self.extents.within(range.clone()));
        let length = range.end - range.start;
        self.extents.insert(Piece { start: range.start, length, place: Place::Zero });
    }

    pub fn truncate(&mut self, length: u64) {
        self.forget(&self.extents.within(length..u64::MAX));
        self.extents.remove(length..u64::MAX);
        self.floor = self.floor.min(length);
        self.length = length;
    }

    /// Bytes in memory that are no longer there.
    fn forget(&mut self, gone: &[Piece]) {
        self.inline_bytes -= inline_bytes(gone);
    }
}

/// Bytes of pieces that are in memory.
pub fn inline_bytes<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> u64 {
    let inline = pieces.into_iter().filter(|piece| matches!(piece.place, Place::Inline(_)));
    inline.map(|piece| piece.length).sum()
}

/// What `range` of a file is, with `layers` over `below`, of which the latest comes first. Holes are zeros.
pub fn resolve(layers: &[&Layer], below: Option<&Extents>, range: Range<u64>) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut unknown = vec![range];
    let mut fill = |unknown: Vec<Range<u64>>, extents: &Extents, floor: u64| {
        let mut still = Vec::new();
        for hole in unknown {
            let mut at = hole.start;
            for piece in extents.within(hole.clone()) {
                if at < piece.start {
                    still.push(at..piece.start);
                }
                at = piece.range().end;
                found.push(piece);
            }
            if at < hole.end {
                still.push(at..hole.end);
            }
        }
        // What the file once ended before is not seen from here on.
        still.retain_mut(|hole| {
            hole.end = hole.end.min(floor);
            hole.start < hole.end
        });
        still
    };
    for layer in layers {
        unknown = fill(unknown, &layer.extents, layer.floor);
    }
    if let Some(below) = below {
        fill(unknown, below, u64::MAX);
    }
    found.sort_by_key(|piece| piece.start);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(layers: &[&Layer], below: Option<&Extents>, length: u64) -> String {
        let mut bytes = vec![b'.'; length as usize];
        for piece in resolve(layers, below, 0..length) {
            let part = &mut bytes[piece.start as usize..piece.range().end as usize];
            match piece.place {
                Place::Inline(found) => part.copy_from_slice(&found),
                Place::Zero => part.fill(b'0'),
                Place::Pack { .. } => panic!("no packs here"),
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    fn written(layer: &mut Layer, start: u64, text: &'static str) {
        layer.write(start, Bytes::from_static(text.as_bytes()));
    }

    #[test]
    fn later_layers_hide_earlier_ones() {
        let mut below = Extents::default();
        below.insert(Piece { start: 0, length: 10, place: Place::Inline(Bytes::from_static(b"aaaaaaaaaa")) });
        let mut first = Layer::over(10);
        written(&mut first, 2, "bbbb");
        let mut second = Layer::over(10);
        written(&mut second, 4, "cc");
        assert_eq!(read(&[&second, &first], Some(&below), 10), "aabbccaaaa");
        assert_eq!((first.inline_bytes, second.inline_bytes), (4, 2));
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let mut below = Extents::default();
        below.insert(Piece { start: 0, length: 10, place: Place::Inline(Bytes::from_static(b"aaaaaaaaaa")) });
        let mut layer = Layer::over(10);
        layer.truncate(4);
        written(&mut layer, 8, "b");
        assert_eq!(layer.length, 9);
        assert_eq!(read(&[&layer], Some(&below), 10), "aaaa....b.");
        layer.trim(1..3);
        assert_eq!(read(&[&layer], Some(&below), 10), "a00a....b.");
        layer.truncate(0);
        assert_eq!((layer.inline_bytes, layer.length), (0, 0));
    }
}
