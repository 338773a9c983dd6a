//! The project's own chores: `cargo xtask dist | test | demo | bench`.
//!
//! Each command builds what it needs first, so any of them works in a fresh clone.

mod artifact;
mod commands;
mod python;
mod tpch;
mod workspace;

use clap::{Parser, Subcommand};

/// Builds, tests, shows and measures Duckherder.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the release files into dist/: the extension, duckherder, distributed_server, distributed_worker
    Dist,
    /// Check formatting and lints, run every test; ends with a line that sums up
    Test(commands::test::Options),
    /// Start a driver with two workers, load TPC-H and query it from a stock DuckDB
    Demo(commands::demo::Options),
    /// Measure plain DuckDB beside Duckherder with 0, 2 local and 2 separate workers
    Bench(commands::bench::Options),
}

fn main() -> anyhow::Result<()> {
    let workspace = workspace::Workspace::find()?;
    match Arguments::parse().command {
        Command::Dist => commands::dist::run(&workspace),
        Command::Test(options) => commands::test::run(&workspace, &options),
        Command::Demo(options) => commands::demo::run(&workspace, &options),
        Command::Bench(options) => commands::bench::run(&workspace, &options),
    }
}
