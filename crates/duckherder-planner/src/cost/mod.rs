//! What a query costs, here or on workers. `docs/cost-model.md` explains it, and how its constants were measured.
//!
//! ```text
//!   work       nanoseconds of a core that each operator takes, from DuckDB's estimates of rows and distinct values
//!   here       the work over the driver's threads
//!   join       what the ways to join add to that, by which a way is chosen
//!   elsewhere  the work of each stage over the threads of its tasks, what moves, and what each stage and task adds
//! ```

pub mod constants;
mod elsewhere;
mod here;
mod join;
pub mod work;

pub use elsewhere::distributed;
pub use here::here;
pub use join::{JoinCosts, likely_rows, moved, passed};

use crate::split::Workers;

/// Who can run tasks, with how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub workers: Workers,
    /// Of all workers in other processes together.
    pub remote_threads: u64,
}

impl From<Workers> for Capacity {
    /// Workers elsewhere have a thread each.
    fn from(workers: Workers) -> Self {
        Self { workers, remote_threads: workers.remote }
    }
}

/// What a plan has taken before, in microseconds of a clock, as far as that was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// On the driver.
    pub local_us: Option<u64>,
    /// On workers that were sent no tables.
    pub distributed_us: Option<u64>,
    /// The way that was never taken may be tried.
    pub may_try: bool,
}

/// What a distribution is expected to take, in microseconds of a clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// The whole plan on the driver.
    pub local_us: u64,
    /// The stages, and the driver over their rows.
    pub distributed_us: u64,
    /// One a stage.
    pub stages: Vec<StageEstimate>,
    /// What is left on the driver.
    pub driver_us: u64,
    /// Why it is distributed although that may take more; empty if it takes less.
    pub despite: String,
    /// What it has taken before, if that decides.
    pub measured: Measured,
}

/// What a stage is expected to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageEstimate {
    /// Of all tasks together.
    pub rows: u64,
    pub elapsed_us: u64,
}

impl Estimate {
    /// Both costs, for who reads why the query is distributed.
    pub fn why(&self) -> String {
        match self.despite.as_str() {
            "" => self.costs(),
            despite => format!("{}: {despite}", self.costs()),
        }
    }

    /// Both costs.
    pub fn costs(&self) -> String {
        let stages = match self.stages.len() {
            1 => "1 stage".to_string(),
            stages => format!("{stages} stages"),
        };
        let shown = |estimated, measured| match measured {
            None => milliseconds(estimated),
            Some(measured) => format!("{} (measured, estimated {})", milliseconds(measured), milliseconds(estimated)),
        };
        let local = shown(self.local_us, self.measured.local_us);
        let distributed = shown(self.distributed_us, self.measured.distributed_us);
        format!("local {local}, distributed {distributed} ({stages})")
    }
}

/// Microseconds as they are shown.
pub fn milliseconds(microseconds: u64) -> String {
    format!("{:.1} ms", microseconds as f64 / 1e3)
}

fn microseconds(nanoseconds: f64) -> u64 {
    (nanoseconds / 1e3).round() as u64
}
