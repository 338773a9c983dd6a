//! What a session tells the driver of the client's transaction.

use std::sync::{Mutex, MutexGuard, PoisonError};

use duckherder_proto::transaction::TransactionMark;

/// The client's transaction, or the next one if it is in none.
pub struct TransactionState(Mutex<TransactionMark>);

impl Default for TransactionState {
    fn default() -> Self {
        Self(Mutex::new(TransactionMark { number: 1, begun: false }))
    }
}

impl TransactionState {
    fn lock(&self) -> MutexGuard<'_, TransactionMark> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn mark(&self) -> TransactionMark {
        *self.lock()
    }

    /// The driver has answered a call of the transaction: it knows it from here on.
    pub fn answered(&self) {
        self.lock().begun = true;
    }

    /// The client ends the transaction, whatever the driver says of it.
    pub fn ends(&self) {
        let mut mark = self.lock();
        *mark = TransactionMark { number: mark.number + 1, begun: false };
    }
}
