//! Who may answer for databases in object storage: the log says who may write, and as long as a standby waits, a driver that
//! stood still, or does not reach the storage, asks there before it answers.

use std::sync::Arc;

use duckherder_proto::any::PROTOCOL_VERSION;
use duckherder_storage::{StorageError, Store};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::error::{DriverError, Result};
use crate::lease::Lease;
use crate::life::Life;

/// The lease of a place in object storage.
pub struct StoreLease(Arc<Store>);

impl StoreLease {
    pub fn of(store: Arc<Store>) -> Self {
        Self(store)
    }
}

fn lost(error: &StorageError) -> DriverError {
    DriverError::StorageLost(error.to_string())
}

impl Lease for StoreLease {
    fn check(&self) -> Result<()> {
        if self.0.is_sure().map_err(|error| lost(&error))? {
            return Ok(());
        }
        tokio::task::block_in_place(|| self.0.wait_sure()).map_err(|error| lost(&error))
    }

    fn glance(&self) -> Result<()> {
        self.0.is_sure().map(drop).map_err(|error| lost(&error))
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    fn databases(&self) -> &str {
        self.0.place()
    }

    fn lost(&self) -> BoxFuture<'static, DriverError> {
        let failure = self.0.failure();
        async move { lost(&failure.await) }.boxed()
    }
}

/// What a driver says of itself to those who wait for its place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Where it listens, for people.
    pub address: String,
    /// For people.
    pub process: u32,
    pub protocol: u32,
    /// The version of Duckherder, for people.
    pub version: String,
    /// For those on the same machine.
    #[serde(default)]
    pub life: Option<Life>,
}

impl About {
    /// The driver of this process, which listens at `address`.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_string(),
            process: std::process::id(),
            protocol: PROTOCOL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_string(),
            life: Life::own(),
        }
    }

    pub fn to_text(&self) -> String {
        // Text and numbers are always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// # Errors
    /// It is not what a driver says.
    pub fn of_text(text: &str, place: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| {
            DriverError::Storage(format!("what the driver of {place} says of itself is none: {error}"))
        })
    }
}
