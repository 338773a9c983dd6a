//! Temporary files.

use std::fs::File;
use std::io;
use std::path::Path;

/// A new file in `directory`, which is made if it is missing. The file has no name any more, so that it goes when it is
/// closed, whatever happens to the process.
///
/// # Errors
/// The system's.
pub fn unlinked_file(directory: &Path) -> io::Result<File> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(format!("duckherder-{}.arrows", uuid::Uuid::new_v4()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
