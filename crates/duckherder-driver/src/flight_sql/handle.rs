//! Handles of statements and transactions, and the sessions behind them.

use std::sync::Arc;

use tonic::metadata::MetadataMap;

use crate::error::{DriverError, Result};
use crate::service::Shared;
use crate::session::Session;

/// Names a prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementHandle {
    pub session: String,
    pub statement_id: u64,
}

impl StatementHandle {
    pub fn encode(&self) -> bytes::Bytes {
        format!("{}/{}", self.session, self.statement_id).into_bytes().into()
    }

    /// # Errors
    /// No handle of ours.
    pub fn decode(handle: &[u8]) -> Result<Self> {
        let parts = std::str::from_utf8(handle).ok().and_then(|text| text.rsplit_once('/'));
        let parsed = parts.and_then(|(session, id)| Some((session.to_string(), id.parse().ok()?)));
        let (session, statement_id) = parsed
            .ok_or_else(|| DriverError::Invalid("this is no handle of a statement of this driver".to_string()))?;
        Ok(Self { session, statement_id })
    }

    /// The session that the statement lives in.
    ///
    /// # Errors
    /// It is gone.
    pub fn session(&self, driver: &Shared) -> Result<Arc<Session>> {
        driver.sessions.get(&self.session).ok_or(DriverError::UnknownStatement(self.statement_id))
    }
}

/// The session in which a call's statement runs: its transaction's, the one its header names, or a new one.
pub struct CallSession {
    pub session: Arc<Session>,
    /// Whether it must end with the statement.
    pub only_for_this: bool,
}

/// Finds or makes the session of a call.
///
/// # Errors
/// The transaction is unknown, or no session can be opened.
pub async fn call_session(
    driver: &Shared,
    transaction: Option<&bytes::Bytes>,
    metadata: &MetadataMap,
) -> Result<CallSession> {
    if let Some(id) = transaction.filter(|id| !id.is_empty()) {
        let session = std::str::from_utf8(id).ok().and_then(|id| driver.sessions.get(id));
        let session = session.ok_or_else(|| {
            let id = String::from_utf8_lossy(id);
            DriverError::Invalid(format!("transaction '{id}' is not open: it was ended, or it expired"))
        })?;
        return Ok(CallSession { session, only_for_this: false });
    }
    if let Some(session) = driver.sessions.of_call(metadata).await? {
        return Ok(CallSession { session, only_for_this: false });
    }
    Ok(CallSession { session: driver.sessions.open_own(metadata).await?, only_for_this: true })
}

/// Ends a session that was made for one statement only, after the statement.
///
/// # Errors
/// DuckDB can't roll back.
pub async fn end_if_own(driver: &Shared, call: &CallSession) -> Result<()> {
    if call.only_for_this { driver.sessions.end(&call.session.id).await } else { Ok(()) }
}
