//! The objects of the log, the manifests and the signs of writers: protobuf behind a header with its checksum.
//!
//! ```text
//!   8 bytes "DHLOG\0\0\1", "DHMAN\0\0\1" or "DHSGN\0\0\1", the last one the format | 4 bytes CRC-32 of what follows
//!   | protobuf
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::extents::{PackId, Piece, Place};

pub const LOG_MAGIC: [u8; 8] = *b"DHLOG\0\0\x01";
pub const MANIFEST_MAGIC: [u8; 8] = *b"DHMAN\0\0\x01";
pub const SIGN_MAGIC: [u8; 8] = *b"DHSGN\0\0\x01";

/// A log object.
#[derive(Clone, PartialEq, Message)]
pub struct LogObject {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Who wrote it: two drivers never have the same.
    #[prost(string, tag = "2")]
    pub writer: String,
    /// The writer in words.
    #[prost(string, tag = "3")]
    pub writer_name: String,
    #[prost(message, repeated, tag = "4")]
    pub records: Vec<Record>,
}

/// What happens at once.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    #[prost(message, repeated, tag = "1")]
    pub files: Vec<FileChange>,
    /// Packs that did not belong to any file before.
    #[prost(message, repeated, tag = "2")]
    pub packs: Vec<PackSize>,
    #[prost(message, repeated, tag = "3")]
    pub moves: Vec<Move>,
}

/// A change of a file.
#[derive(Clone, PartialEq, Message)]
pub struct FileChange {
    #[prost(uint64, tag = "1")]
    pub file: u64,
    /// Its name from now on; with it, a file may begin, and another of that name ends.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    #[prost(bool, tag = "3")]
    pub removed: bool,
    /// First of all, it ends here if it was longer.
    #[prost(uint64, optional, tag = "4")]
    pub floor: Option<u64>,
    #[prost(message, repeated, tag = "5")]
    pub extents: Vec<Extent>,
    /// Its length at last.
    #[prost(uint64, optional, tag = "6")]
    pub length: Option<u64>,
}

/// A piece of a file: bytes of a pack, or `data`, or zeros.
#[derive(Clone, PartialEq, Message)]
pub struct Extent {
    #[prost(uint64, tag = "1")]
    pub start: u64,
    #[prost(uint64, tag = "2")]
    pub length: u64,
    #[prost(uint64, optional, tag = "3")]
    pub pack_writer: Option<u64>,
    #[prost(uint64, tag = "4")]
    pub pack_number: u64,
    #[prost(uint64, tag = "5")]
    pub pack_offset: u64,
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub data: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PackSize {
    #[prost(uint64, tag = "1")]
    pub writer: u64,
    #[prost(uint64, tag = "2")]
    pub number: u64,
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
}

/// A piece of a file that lies elsewhere from now on, as far as it still lies where it was.
#[derive(Clone, PartialEq, Message)]
pub struct Move {
    #[prost(uint64, tag = "1")]
    pub file: u64,
    #[prost(message, optional, tag = "2")]
    pub from: Option<Extent>,
    #[prost(message, optional, tag = "3")]
    pub to: Option<Extent>,
}

/// All files as they are after a log object.
#[derive(Clone, PartialEq, Message)]
pub struct Manifest {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(string, tag = "2")]
    pub writer: String,
    #[prost(string, tag = "3")]
    pub writer_name: String,
    #[prost(message, repeated, tag = "4")]
    pub files: Vec<FileChange>,
    #[prost(message, repeated, tag = "5")]
    pub packs: Vec<PackSize>,
    #[prost(uint64, tag = "6")]
    pub next_file: u64,
    /// See [`State::fences`](crate::state::State::fences).
    #[prost(uint64, repeated, tag = "7")]
    pub fences: Vec<u64>,
    /// See [`State::place`](crate::state::State::place).
    #[prost(string, tag = "8")]
    pub place: String,
}

/// What a writer shows of itself to those who would take its place.
#[derive(Clone, PartialEq, Message)]
pub struct Sign {
    /// The number of the log object with which it took over.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(string, tag = "2")]
    pub writer: String,
    /// Another number each time.
    #[prost(uint64, tag = "3")]
    pub beat: u64,
    /// It has ended, and nothing of it is on its way.
    #[prost(bool, tag = "4")]
    pub left: bool,
    /// What else it says, in words of its own.
    #[prost(string, tag = "5")]
    pub about: String,
}

impl From<&Piece> for Extent {
    fn from(piece: &Piece) -> Self {
        let mut extent = Self { start: piece.start, length: piece.length, ..Self::default() };
        match &piece.place {
            Place::Pack { pack, offset } => {
                (extent.pack_writer, extent.pack_number, extent.pack_offset) =
                    (Some(pack.writer), pack.number, *offset);
            }
            Place::Inline(bytes) => extent.data = Some(bytes.clone()),
            Place::Zero => {}
        }
        extent
    }
}

impl Extent {
    /// What it says, if it makes sense.
    pub fn to_piece(&self) -> Option<Piece> {
        let place = match (self.pack_writer, &self.data) {
            (Some(writer), None) => {
                Place::Pack { pack: PackId { writer, number: self.pack_number }, offset: self.pack_offset }
            }
            (None, Some(data)) => Place::Inline(data.clone()),
            (None, None) => Place::Zero,
            (Some(_), Some(_)) => return None,
        };
        self.start.checked_add(self.length)?;
        let whole = self.data.as_ref().is_none_or(|data| data.len() as u64 == self.length);
        whole.then_some(Piece { start: self.start, length: self.length, place })
    }
}

impl PackSize {
    pub fn id(&self) -> PackId {
        PackId { writer: self.writer, number: self.number }
    }
}

/// The object's bytes.
pub fn encode(magic: [u8; 8], message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(12 + message.encoded_len());
    bytes.put_slice(&magic);
    bytes.put_u32(0);
    // A buffer that grows has room for every message.
    let _ = message.encode(&mut bytes);
    let checksum = crc32fast::hash(bytes.get(12..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(8..12) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    bytes.freeze()
}

/// What an object's bytes say.
///
/// # Errors
/// In words, why they can't be read.
pub fn decode<M: Message + Default>(magic: [u8; 8], bytes: &Bytes) -> Result<M, String> {
    let Some((head, _)) = bytes.split_at_checked(12) else { return Err("it is cut off".to_string()) };
    if head[..7] != magic[..7] {
        return Err("it is none of Duckherder's objects".to_string());
    }
    if head[7] != magic[7] {
        return Err(format!("it is of format {}, and this version of Duckherder reads format {}", head[7], magic[7]));
    }
    let body = bytes.slice(12..);
    if head[8..12] != crc32fast::hash(&body).to_be_bytes() {
        return Err("its checksum is another one".to_string());
    }
    M::decode(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_read_as_they_were_written() {
        let piece = Piece { start: 4, length: 3, place: Place::Inline(Bytes::from_static(b"abc")) };
        let change = FileChange {
            file: 7,
            name: Some("x".to_string()),
            extents: vec![(&piece).into()],
            ..FileChange::default()
        };
        let object = LogObject {
            number: 3,
            writer: "w".to_string(),
            records: vec![Record { files: vec![change], ..Record::default() }],
            ..LogObject::default()
        };
        let bytes = encode(LOG_MAGIC, &object);
        assert_eq!(decode::<LogObject>(LOG_MAGIC, &bytes), Ok(object));
        assert!(decode::<Manifest>(MANIFEST_MAGIC, &bytes).unwrap_err().contains("none of Duckherder's"));
        assert_eq!(decode::<LogObject>(LOG_MAGIC, &bytes.slice(..5)), Err("it is cut off".to_string()));
        let mut broken = bytes.to_vec();
        *broken.last_mut().unwrap() ^= 1;
        assert_eq!(decode::<LogObject>(LOG_MAGIC, &broken.into()), Err("its checksum is another one".to_string()));
        let mut later = bytes.to_vec();
        later[7] = 2;
        assert!(decode::<LogObject>(LOG_MAGIC, &later.into()).unwrap_err().contains("format 2"));
    }
}
