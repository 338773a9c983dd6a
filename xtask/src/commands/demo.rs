//! `cargo xtask demo`: what Duckherder looks like to somebody who uses DuckDB.

use anyhow::Result;
use clap::Args;

use crate::commands::dist;
use crate::python::Environment;
use crate::tpch;
use crate::workspace::{self, Workspace};

#[derive(Args)]
pub struct Options {
    /// TPC-H scale factor: 0.1 is 600,000 rows of lineitem, 1 is 6 million
    #[arg(long, default_value_t = 0.1)]
    sf: f64,
    /// Workers of the driver
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

/// Builds, makes the data, and hands over to `xtask/python/demo.py`.
///
/// # Errors
/// When a step fails, or an answer is not the one of plain DuckDB.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    dist::run(workspace)?;
    let environment = Environment::prepare(workspace)?;
    let data = tpch::generate(workspace, options.sf, &[])?;
    let mut demo = environment.python(workspace);
    demo.arg("xtask/python/demo.py").arg("--data").arg(data).args(["--workers", &options.workers.to_string()]);
    workspace::run(&mut demo)
}
