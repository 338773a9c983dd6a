//! What a task costs.

use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use crate::connection::Connection;
use crate::error::Result;
use crate::ffi::{self, DhCpuMeter, DhError};

/// Measures the CPU time of a connection's statements: of the thread that made the meter, from then on, whatever it
/// does, and of DuckDB's other threads while they run the connection's work. Threads of the network count nowhere, nor
/// does time in which a thread waits.
pub struct CpuMeter {
    handle: *mut DhCpuMeter,
    /// The clock is the thread's own.
    _thread: PhantomData<Rc<()>>,
}

impl Connection {
    /// Begins to measure. One meter a connection at a time.
    ///
    /// # Errors
    /// Out of memory.
    pub fn measure_cpu(&self) -> Result<CpuMeter> {
        let mut error = DhError::none();
        // SAFETY: the connection is alive.
        let handle = unsafe { ffi::dh_cpu_meter_new(self.as_ptr(), &mut error) };
        error.into_result(())?;
        Ok(CpuMeter { handle, _thread: PhantomData })
    }
}

impl CpuMeter {
    /// The CPU time so far; to be asked once the statements have ended.
    ///
    /// # Errors
    /// The system has no locks left.
    pub fn total(&self) -> Result<Duration> {
        let mut error = DhError::none();
        // SAFETY: the meter is alive, and as it is not Send, this is the thread that began.
        let nanoseconds = unsafe { ffi::dh_cpu_meter_total(self.handle, &mut error) };
        error.into_result(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default()))
    }
}

impl Drop for CpuMeter {
    fn drop(&mut self) {
        // SAFETY: made by dh_cpu_meter_new, freed once; it holds on to no connection.
        unsafe { ffi::dh_cpu_meter_free(self.handle) }
    }
}
