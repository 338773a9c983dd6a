//! Files that tasks read themselves: whether they are still those that the query was planned with.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::UNIX_EPOCH;

use duckherder_engine::EngineError;
use duckherder_proto::task::FileStamp;

/// Looks at a file of this machine.
///
/// # Errors
/// It is not there, or not a plain file: what a pipe gives, it gives once.
pub fn stamp(path: &str) -> Result<FileStamp, Error> {
    let found = fs::metadata(local_path(path))?;
    if !found.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is not a plain file"));
    }
    let modified = found.modified()?;
    let modified_ns = match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i64,
        Err(before) => -(before.duration().as_nanos() as i64),
    };
    Ok(FileStamp { path: path.to_string(), bytes: found.len(), modified_ns })
}

/// What DuckDB opens by this name, if it is a file of this machine.
fn local_path(path: &str) -> &Path {
    Path::new(path.strip_prefix("file://").unwrap_or(path))
}

/// The first of `files` that is not as it was, and how; none if all are.
pub fn first_difference(files: &[FileStamp]) -> Option<String> {
    files.iter().find_map(|file| match stamp(&file.path) {
        Ok(found) if found == *file => None,
        Ok(_) => Some(format!("\"{}\" has another size or time there", file.path)),
        Err(error) => Some(format!("\"{}\" can't be read there: {error}", file.path)),
    })
}

/// Makes the file `answer` where a file of the driver's is; why not, if it does not see that file as the driver does, or
/// can't write there.
pub fn reach(file: &FileStamp, answer: &str) -> Option<String> {
    if let Some(difference) = first_difference(std::slice::from_ref(file)) {
        return Some(difference);
    }
    let made = fs::OpenOptions::new().write(true).create_new(true).open(local_path(answer));
    made.err().map(|error| format!("\"{answer}\" can't be written: {error}"))
}

/// Checks that a task reads what the query was planned with.
///
/// # Errors
/// A file is not as it was.
pub fn check(files: &[FileStamp]) -> Result<(), EngineError> {
    let changed = files.iter().find(|file| stamp(&file.path).ok().as_ref() != Some(file));
    match changed {
        None => Ok(()),
        Some(file) => {
            let message = format!("the file \"{}\" changed while the query read it: run the query again", file.path);
            Err(EngineError::new("IO", message))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_that_is_replaced_is_noticed() {
        let folder = std::env::temp_dir().join(format!("duckherder-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("x.csv");
        fs::write(&path, "a\n1\n").unwrap();
        let name = path.to_str().unwrap();
        let stamps = [stamp(name).unwrap()];
        assert!(check(&stamps).is_ok());
        assert_eq!(first_difference(&stamps), None);
        assert_eq!(stamp(&format!("file://{name}")).unwrap().bytes, 4);

        fs::write(&path, "a\n1\n2\n").unwrap();
        assert!(check(&stamps).unwrap_err().to_string().contains("changed while the query read it"));
        assert!(first_difference(&stamps).unwrap().contains("another size or time"));

        fs::remove_file(&path).unwrap();
        assert!(check(&stamps).is_err());
        assert!(first_difference(&stamps).unwrap().contains("can't be read there"));
        assert!(stamp(folder.to_str().unwrap()).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
