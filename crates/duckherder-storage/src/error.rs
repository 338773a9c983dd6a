//! What can go wrong between a driver and its storage.

/// An error of the storage. It is cloned: one failure ends the work of many.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{0}")]
    Location(String),
    #[error(
        "another driver ({by}) has taken over {place}: this one can't read or write there any more; attach that one, \
         or start this one again to take it back"
    )]
    Fenced { place: String, by: String },
    #[error("cannot {what} {object} in {place}: {reason}")]
    Request { what: &'static str, object: String, place: String, reason: String },
    #[error(
        "the driver's storage has failed, and with it the driver: {reason}. Whether a commit that was not acknowledged \
         is there shows once a driver is started again"
    )]
    Failed { reason: String },
    #[error("{object} in {place} is not what a driver has written there: {reason}; restore it, or use another place")]
    Corrupt { object: String, place: String, reason: String },
    #[error("there is no file {name} in {place}")]
    NoFile { name: String, place: String },
    #[error("there is a file {name} in {place} already")]
    FileExists { name: String, place: String },
    #[error("cannot use the storage's cache in {directory}: {reason}")]
    Cache { directory: String, reason: String },
    #[error("the storage {0} is closed")]
    Closed(String),
}

/// A result of the storage.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;
