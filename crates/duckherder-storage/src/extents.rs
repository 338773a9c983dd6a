//! Where the bytes of a file are.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

/// A pack: the number with which its writer took over, and which of its packs it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackId {
    pub writer: u64,
    pub number: u64,
}

/// Where bytes are.
#[derive(Clone, Debug)]
pub enum Place {
    Pack {
        pack: PackId,
        offset: u64,
    },
    /// In a log object, or not written yet.
    Inline(Bytes),
    /// Nowhere: zeros.
    Zero,
}

impl Place {
    /// The place of what begins `skip` bytes later.
    fn skip(&self, skip: u64) -> Self {
        match self {
            Self::Pack { pack, offset } => Self::Pack { pack: *pack, offset: offset + skip },
            Self::Inline(bytes) => Self::Inline(bytes.slice(skip as usize..)),
            Self::Zero => Self::Zero,
        }
    }

    fn first(&self, length: u64) -> Self {
        match self {
            Self::Inline(bytes) => Self::Inline(bytes.slice(..length as usize)),
            other => other.clone(),
        }
    }

    /// Whether bytes at `next` follow `length` bytes here.
    fn goes_on(&self, length: u64, next: &Self) -> bool {
        match (self, next) {
            (Self::Pack { pack, offset }, Self::Pack { pack: next, offset: there }) => {
                pack == next && offset + length == *there
            }
            (Self::Zero, Self::Zero) => true,
            _ => false,
        }
    }
}

/// Some of a file's bytes.
#[derive(Clone, Debug)]
pub struct Piece {
    pub start: u64,
    pub length: u64,
    pub place: Place,
}

impl Piece {
    pub fn range(&self) -> Range<u64> {
        self.start..self.start + self.length
    }

    /// The part of it that lies in `range`, with which it must overlap.
    fn cut(&self, range: &Range<u64>) -> Self {
        let start = self.start.max(range.start);
        let end = self.range().end.min(range.end);
        Self { start, length: end - start, place: self.place.skip(start - self.start).first(end - start) }
    }
}

/// Pieces that do not overlap, by their start.
#[derive(Clone, Debug, Default)]
pub struct Extents(BTreeMap<u64, (u64, Place)>);

impl Extents {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        self.0.iter().map(|(start, (length, place))| Piece { start: *start, length: *length, place: place.clone() })
    }

    /// The parts of pieces that lie in `range`, in order.
    pub fn within(&self, range: Range<u64>) -> Vec<Piece> {
        let first = self.0.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        let touched = self.0.range(first..range.end.max(first));
        let pieces =
            touched.map(|(start, (length, place))| Piece { start: *start, length: *length, place: place.clone() });
        pieces.filter(|piece| piece.range().end > range.start).map(|piece| piece.cut(&range)).collect()
    }

    /// Takes what lies in `range` out.
    pub fn remove(&mut self, range: Range<u64>) -> Vec<Piece> {
        if range.is_empty() {
            return Vec::new();
        }
        let removed = self.within(range.clone());
        for piece in &removed {
            // The whole piece that it is a part of.
            let found = self.0.range(..=piece.start).next_back().map(|(start, _)| *start);
            let Some((start, (length, place))) = found.and_then(|start| self.0.remove_entry(&start)) else { continue };
            let (end, cut_end) = (start + length, piece.range().end);
            if start < piece.start {
                self.0.insert(start, (piece.start - start, place.first(piece.start - start)));
            }
            if cut_end < end {
                self.0.insert(cut_end, (end - cut_end, place.skip(cut_end - start)));
            }
        }
        removed
    }

    /// Puts a piece in the place of what was there, which it returns.
    pub fn insert(&mut self, piece: Piece) -> Vec<Piece> {
        if piece.length == 0 {
            return Vec::new();
        }
        let removed = self.remove(piece.range());
        let Piece { mut start, mut length, mut place } = piece;
        if let Some((before, (its_length, its_place))) = self.0.range(..start).next_back()
            && before + its_length == start
            && its_place.goes_on(*its_length, &place)
        {
            let (before, its_length, its_place) = (*before, *its_length, its_place.clone());
            self.0.remove(&before);
            (start, length, place) = (before, its_length + length, its_place);
        }
        if let Some((its_length, its_place)) = self.0.get(&(start + length))
            && place.goes_on(length, its_place)
        {
            let its_length = *its_length;
            self.0.remove(&(start + length));
            length += its_length;
        }
        self.0.insert(start, (length, place));
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(number: u64, offset: u64) -> Place {
        Place::Pack { pack: PackId { writer: 1, number }, offset }
    }

    fn piece(start: u64, length: u64, place: Place) -> Piece {
        Piece { start, length, place }
    }

    fn shown(extents: &Extents) -> Vec<(u64, u64, String)> {
        extents
            .pieces()
            .map(|piece| {
                let place = match piece.place {
                    Place::Pack { pack, offset } => format!("{}@{offset}", pack.number),
                    Place::Inline(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    Place::Zero => "zero".to_string(),
                };
                (piece.start, piece.length, place)
            })
            .collect()
    }

    #[test]
    fn pieces_that_follow_each_other_are_one() {
        let mut extents = Extents::default();
        extents.insert(piece(10, 10, pack(1, 110)));
        extents.insert(piece(0, 10, pack(1, 100)));
        extents.insert(piece(20, 5, pack(1, 120)));
        extents.insert(piece(25, 5, pack(2, 125)));
        assert_eq!(shown(&extents), [(0, 25, "1@100".to_string()), (25, 5, "2@125".to_string())]);
    }

    #[test]
    fn a_piece_splits_what_it_lies_in() {
        let mut extents = Extents::default();
        extents.insert(piece(0, 100, pack(1, 0)));
        let removed = extents.insert(piece(40, 3, Place::Inline(Bytes::from_static(b"new"))));
        assert_eq!(removed.len(), 1);
        assert_eq!((removed[0].start, removed[0].length), (40, 3));
        assert_eq!(
            shown(&extents),
            [(0, 40, "1@0".to_string()), (40, 3, "new".to_string()), (43, 57, "1@43".to_string())]
        );
        extents.remove(41..50);
        assert_eq!(
            shown(&extents),
            [(0, 40, "1@0".to_string()), (40, 1, "n".to_string()), (50, 50, "1@50".to_string())]
        );
    }

    #[test]
    fn what_lies_within_is_cut() {
        let mut extents = Extents::default();
        extents.insert(piece(0, 10, pack(1, 0)));
        extents.insert(piece(20, 10, Place::Zero));
        let within = extents.within(5..25);
        let ranges: Vec<_> = within.iter().map(Piece::range).collect();
        assert_eq!(ranges, [5..10, 20..25]);
        assert!(extents.within(10..20).is_empty());
        assert!(extents.within(30..40).is_empty());
    }
}
