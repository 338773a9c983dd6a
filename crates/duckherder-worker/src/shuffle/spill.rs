//! Rows on disk: Arrow IPC, compressed with LZ4, in files without a name that go when nobody needs them any more,
//! whatever happens to the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use duckherder_engine::EngineError;

use crate::temporary::unlinked_file;

/// A file of this size is not continued: its space is free once its rows have been read.
const FILE_BYTES: u64 = 256 << 20;

/// Rows of a partition, wherever they wait.
pub enum Rows {
    Memory(RecordBatch),
    Disk(SpilledRows),
}

impl Rows {
    pub fn count(&self) -> u64 {
        match self {
            Self::Memory(batch) => batch.num_rows() as u64,
            Self::Disk(spilled) => spilled.rows,
        }
    }

    /// The rows; blocks if they are on disk.
    ///
    /// # Errors
    /// They can't be read back.
    pub fn load(self) -> Result<RecordBatch, EngineError> {
        match self {
            Self::Memory(batch) => Ok(batch),
            Self::Disk(spilled) => spilled.load(),
        }
    }
}

/// One batch in a file.
pub struct SpilledRows {
    file: Arc<File>,
    directory: PathBuf,
    offset: u64,
    bytes: usize,
    rows: u64,
}

impl SpilledRows {
    fn load(&self) -> Result<RecordBatch, EngineError> {
        let mut bytes = vec![0; self.bytes];
        let read = self.file.read_exact_at(&mut bytes, self.offset);
        let failed = |problem: String| {
            let directory = self.directory.display();
            EngineError::new("IO", format!("cannot read rows back from a temporary file in {directory}: {problem}"))
        };
        read.map_err(|error| failed(error.to_string()))?;
        let batch = StreamReader::try_new(bytes.as_slice(), None).and_then(|mut reader| reader.next().transpose());
        match batch.map_err(|error| failed(error.to_string()))? {
            Some(batch) if batch.num_rows() as u64 == self.rows => Ok(batch),
            Some(batch) => Err(failed(format!("{} of {} rows are there", batch.num_rows(), self.rows))),
            None => Err(failed("it has no rows".to_string())),
        }
    }
}

/// Where one task writes.
pub struct Spill {
    directory: Option<PathBuf>,
    file: Option<(Arc<File>, u64)>,
    /// Of all files.
    pub written_bytes: u64,
}

impl Spill {
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, file: None, written_bytes: 0 }
    }

    /// Writes one batch.
    ///
    /// # Errors
    /// Arrow can't encode it, or there is no space.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<SpilledRows, EngineError> {
        let Some(directory) = &self.directory else { return Err(no_directory()) };
        let encoded = encode(batch)?;
        let failed = |error| disk_error(directory, encoded.len(), &error);
        let (file, offset) = match self.file.take().filter(|(_, written)| *written < FILE_BYTES) {
            Some(file) => file,
            None => (Arc::new(unlinked_file(directory).map_err(failed)?), 0),
        };
        file.write_all_at(&encoded, offset).map_err(failed)?;
        let bytes = encoded.len();
        self.written_bytes += bytes as u64;
        self.file = Some((Arc::clone(&file), offset + bytes as u64));
        let (directory, rows) = (directory.clone(), batch.num_rows() as u64);
        Ok(SpilledRows { file, directory, offset, bytes, rows })
    }
}

fn encode(batch: &RecordBatch) -> Result<Vec<u8>, EngineError> {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options)?;
    writer.write(batch)?;
    Ok(writer.into_inner()?)
}

fn no_directory() -> EngineError {
    let message = "a query's rows need more memory than duckherder_exchange_memory, and temp_directory is empty: set \
                   one of them";
    EngineError::new("IO", message)
}

fn disk_error(directory: &Path, bytes: usize, error: &io::Error) -> EngineError {
    let message = format!(
        "cannot write {bytes} bytes of a query's rows to a temporary file in {}: {error}. Make space there, choose \
         another directory with temp_directory, or keep more in memory with duckherder_exchange_memory",
        directory.display()
    );
    EngineError::new("IO", message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn batch(first: i64) -> RecordBatch {
        let numbers: ArrayRef =
            Arc::new(Int64Array::from_iter((first..first + 1000).map(|n| (n % 7 > 0).then_some(n))));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|n| format!("text {n}"))));
        let words: DictionaryArray<Int32Type> = (0..1000).map(|n| if n % 2 == 0 { "even" } else { "odd" }).collect();
        RecordBatch::try_from_iter([("n", numbers), ("t", texts), ("w", Arc::new(words) as ArrayRef)]).unwrap()
    }

    #[test]
    fn batches_come_back_from_files_that_have_no_name() {
        let directory = std::env::temp_dir().join(format!("duckherder-test-{}", uuid::Uuid::new_v4()));
        let mut spill = Spill::new(Some(directory.clone()));
        let spilled: Vec<_> = (0..20).map(|n| spill.write(&batch(n)).unwrap()).collect();
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        assert!(spill.written_bytes > 0);
        for (n, rows) in spilled.iter().enumerate().rev() {
            assert_eq!(rows.load().unwrap(), batch(n as i64));
        }
        std::fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error_that_says_what_to_do() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut spill = Spill { file: Some((Arc::new(full), 0)), ..Spill::new(Some("/somewhere".into())) };
        let error = spill.write(&batch(0)).err().unwrap();
        assert_eq!(error.exception_type, "IO");
        for part in ["/somewhere", "No space left", "temp_directory", "duckherder_exchange_memory"] {
            assert!(error.message.contains(part), "{error}");
        }
    }
}
