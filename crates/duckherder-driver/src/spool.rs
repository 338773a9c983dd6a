//! Where a stream's messages wait when its client reads slowly and its connection is wanted for something else:
//! in memory up to a bound, then in a temporary file that is an Arrow IPC stream.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use arrow::ipc::root_as_message;
use arrow_flight::FlightData;
use duckherder_worker::temporary::unlinked_file;

/// Bytes of a stream that stay in memory.
const MEMORY_BYTES: usize = 64 << 20;

/// Marks the start of a message in an Arrow IPC stream.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// A queue of Flight messages, first in, first out.
pub struct Spool {
    memory: VecDeque<FlightData>,
    memory_bytes: usize,
    limit_bytes: usize,
    /// Where the file is to be, if there may be one.
    directory: Option<PathBuf>,
    file: Option<BufWriter<File>>,
    in_file: u64,
    /// The stream's last message: its metadata has no place in an Arrow IPC stream.
    last: Option<FlightData>,
}

impl Spool {
    /// An empty spool, whose file would be in `directory`; with none, what does not fit into memory is an error.
    pub fn new(directory: Option<PathBuf>) -> Self {
        let (memory, limit_bytes) = (VecDeque::new(), MEMORY_BYTES);
        Self { memory, memory_bytes: 0, limit_bytes, directory, file: None, in_file: 0, last: None }
    }

    /// Whether nothing waits in it.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.in_file == 0 && self.last.is_none()
    }

    /// Appends a message; one with metadata must be the last.
    ///
    /// # Errors
    /// The temporary file can't be made or written.
    pub fn push(&mut self, message: FlightData) -> io::Result<()> {
        if !message.app_metadata.is_empty() {
            self.last = Some(message);
            return Ok(());
        }
        let bytes = message.data_header.len() + message.data_body.len();
        if self.file.is_none() && self.memory_bytes + bytes <= self.limit_bytes {
            self.memory_bytes += bytes;
            self.memory.push_back(message);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let directory = self.directory.as_ref();
                let directory = directory.ok_or_else(|| io::Error::other("the driver has no temp_directory"))?;
                self.file.insert(BufWriter::with_capacity(1 << 20, unlinked_file(directory)?))
            }
        };
        let header = &message.data_header;
        let padding = header.len().next_multiple_of(8) - header.len();
        let length = i32::try_from(header.len() + padding).map_err(io::Error::other)?;
        file.write_all(&CONTINUATION)?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(header)?;
        file.write_all(&[0; 8][..padding])?;
        file.write_all(&message.data_body)?;
        self.in_file += 1;
        Ok(())
    }

    /// The messages, in order.
    ///
    /// # Errors
    /// The temporary file can't be read back.
    pub fn into_messages(mut self) -> io::Result<impl Iterator<Item = io::Result<FlightData>>> {
        let mut file = match self.file.take() {
            Some(writer) => {
                let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.seek(SeekFrom::Start(0))?;
                Some(BufReader::with_capacity(1 << 20, file))
            }
            None => None,
        };
        let mut left = self.in_file;
        let from_file = std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            left -= 1;
            file.as_mut().map(read_message)
        });
        Ok(self.memory.into_iter().map(Ok).chain(from_file).chain(self.last.map(Ok)))
    }
}

fn read_message(file: &mut BufReader<File>) -> io::Result<FlightData> {
    let mut prefix = [0; 8];
    file.read_exact(&mut prefix)?;
    let [a, b, c, d, length @ ..] = prefix;
    if [a, b, c, d] != CONTINUATION {
        return Err(io::Error::other("the temporary file is damaged"));
    }
    let mut header = vec![0; usize::try_from(i32::from_le_bytes(length)).map_err(io::Error::other)?];
    file.read_exact(&mut header)?;
    let body_bytes = root_as_message(&header).map_err(|error| io::Error::other(error.to_string()))?.bodyLength();
    let mut body = vec![0; usize::try_from(body_bytes).map_err(io::Error::other)?];
    file.read_exact(&mut body)?;
    Ok(FlightData::new().with_data_header(header).with_data_body(body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};

    use super::*;
    use crate::encode::BatchEncoder;

    #[test]
    fn messages_come_back_in_order_from_memory_and_file() {
        let column = Int64Array::from_iter_values(0..1000);
        let batch = RecordBatch::try_from_iter([("v", Arc::new(column) as _)]).unwrap();
        let (mut encoder, first) = BatchEncoder::new(batch.schema());
        let mut messages = vec![first];
        for at in 0..100 {
            encoder.encode(&batch.slice(at, 10 + at), &mut messages).unwrap();
        }
        encoder.finish(&mut messages).unwrap();
        // The directory is made when it is needed: that is where the file is.
        let directory = std::env::temp_dir().join(format!("duckherder-spool-{}", uuid::Uuid::new_v4()));
        let mut spool = Spool { limit_bytes: 4_000, ..Spool::new(Some(directory.clone())) };
        assert!(spool.is_empty());
        messages.iter().for_each(|message| spool.push(message.clone()).unwrap());
        assert!(spool.file.is_some() && !spool.memory.is_empty() && !spool.is_empty());
        std::fs::remove_dir(&directory).unwrap();
        let back: Vec<_> = spool.into_messages().unwrap().map(Result::unwrap).collect();
        assert_eq!(back.len(), messages.len());
        for (back, message) in back.iter().zip(&messages) {
            assert_eq!(back.data_body, message.data_body);
            assert_eq!(back.app_metadata, message.app_metadata);
            assert!(back.data_header.starts_with(&message.data_header));
        }
    }

    #[test]
    fn what_has_no_place_on_disk_is_an_error() {
        let message = FlightData::new().with_data_body(vec![0; 100]);
        let mut spool = Spool { limit_bytes: 150, ..Spool::new(None) };
        spool.push(message.clone()).unwrap();
        assert!(spool.push(message).unwrap_err().to_string().contains("temp_directory"));
    }
}
