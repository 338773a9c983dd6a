//! Which of a query's tasks takes part in running them.

use crate::ffi;

/// One for all tasks of a query in this process: beside DuckDB's own threads, one of theirs takes part at a time (see
/// `cpp/seat.hpp`).
pub struct Seat(*mut ffi::DhSeat);

// SAFETY: C++ guards it by a lock.
unsafe impl Send for Seat {}
// SAFETY: as above.
unsafe impl Sync for Seat {}

impl Default for Seat {
    fn default() -> Self {
        // SAFETY: no condition.
        Self(unsafe { ffi::dh_seat_new() })
    }
}

impl Seat {
    pub(crate) fn as_ptr(&self) -> *const ffi::DhSeat {
        self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // SAFETY: made by dh_seat_new, freed once; connections and statements share what it is.
        unsafe { ffi::dh_seat_free(self.0) }
    }
}
