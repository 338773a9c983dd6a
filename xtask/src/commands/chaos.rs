//! `cargo xtask chaos`: drivers, workers and clients on hosts of their own, and all that can go wrong there.

use anyhow::Result;
use clap::Args;

use crate::commands::dist;
use crate::python::Environment;
use crate::workspace::{self, Workspace};

#[derive(Args)]
pub struct Options {
    /// How long faults come
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Draws the same faults and statements again (default: others each time; the seed is printed)
    #[arg(long)]
    seed: Option<u64>,
    /// Of TPC-H's tables
    #[arg(long, default_value_t = 0.01)]
    scale: f64,
    /// The databases are in a storage that workers read, too, instead of a directory of the drivers
    #[arg(long)]
    stored: bool,
    /// A file for what all drivers and workers have said
    #[arg(long)]
    logs: Option<String>,
}

/// Builds, and hands over to `tests/chaos/run.py`.
///
/// # Errors
/// When a step fails, an answer is wrong or comes too late, a row is lost, or something is left behind.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    dist::run(workspace)?;
    let mut chaos = Environment::prepare(workspace)?.python(workspace);
    chaos.args(["-m", "chaos.run", "--minutes", &options.minutes.to_string()]);
    chaos.args(["--scale", &options.scale.to_string()]);
    if let Some(seed) = options.seed {
        chaos.args(["--seed", &seed.to_string()]);
    }
    if options.stored {
        chaos.arg("--stored");
    }
    if let Some(logs) = &options.logs {
        chaos.args(["--logs", logs]);
    }
    workspace::run(&mut chaos)
}
