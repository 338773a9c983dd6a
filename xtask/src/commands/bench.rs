//! `cargo xtask bench`: plain DuckDB beside Duckherder, in one run, with the same number of threads.

use anyhow::Result;
use clap::Args;

use crate::commands::dist;
use crate::python::Environment;
use crate::tpch;
use crate::workspace::{self, Workspace};

#[derive(Args)]
pub struct Options {
    /// TPC-H scale factor
    #[arg(long, default_value_t = 1.0)]
    sf: f64,
    /// How often each query is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Threads that each contender may use in all (default: the machine's)
    #[arg(long)]
    threads: Option<usize>,
}

/// Builds, makes the data, and hands over to `benches/bench.py`.
///
/// # Errors
/// When a step fails, or an answer is not the one of plain DuckDB.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    dist::run(workspace)?;
    let environment = Environment::prepare(workspace)?;
    let data = tpch::generate(workspace, options.sf, &["lineitem"])?;
    let mut bench = environment.python(workspace);
    bench.arg("benches/bench.py").arg("--data").arg(data);
    bench.args(["--sf", &options.sf.to_string(), "--rounds", &options.rounds.to_string()]);
    if let Some(threads) = options.threads {
        bench.args(["--threads", &threads.to_string()]);
    }
    bench.arg("--results").arg(workspace.root.join("benches/results"));
    workspace::run(&mut bench)
}
