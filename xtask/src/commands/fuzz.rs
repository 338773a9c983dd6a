//! `cargo xtask fuzz`: random queries against plain DuckDB, for longer than the tests do.

use anyhow::Result;
use clap::Args;

use crate::commands::dist;
use crate::python::Environment;
use crate::workspace::{self, Workspace};

#[derive(Args)]
pub struct Options {
    /// How long, all clusters together
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Makes the same queries again (default: another one each time, which is printed)
    #[arg(long)]
    seed: Option<u64>,
    /// local-0, local-1, local-4, remote-1, remote-4, stored-2, changed-4; may be given several times (default: all, one after the other)
    #[arg(long)]
    cluster: Vec<String>,
    /// That a query reads: one or several
    #[arg(long, default_value = "several")]
    tables: String,
    /// What the client sets: auto, always or never
    #[arg(long, default_value = "always")]
    distribution: String,
    /// A file for every statement before it runs
    #[arg(long)]
    log: Option<String>,
}

/// Builds, and hands over to `tests/fuzz/run.py`.
///
/// # Errors
/// When a step fails, or an answer is not the one of plain DuckDB.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    dist::run(workspace)?;
    let mut fuzz = Environment::prepare(workspace)?.python(workspace);
    fuzz.args(["-m", "fuzz.run", "--minutes", &options.minutes.to_string()]);
    fuzz.args(["--tables", &options.tables, "--distribution", &options.distribution]);
    if let Some(seed) = options.seed {
        fuzz.args(["--seed", &seed.to_string()]);
    }
    for cluster in &options.cluster {
        fuzz.args(["--cluster", cluster]);
    }
    if let Some(log) = &options.log {
        fuzz.args(["--log", log]);
    }
    workspace::run(&mut fuzz)
}
