//! The project's own chores: `cargo xtask dist | test | fuzz | chaos | demo | bench`.
//!
//! Each command builds what it needs first, so any of them works in a fresh clone.

mod artifact;
mod commands;
mod python;
mod tpch;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

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
    /// Compare random queries with plain DuckDB, for longer than the tests do
    Fuzz(commands::fuzz::Options),
    /// Harm drivers, workers and their network in every way while clients work
    Chaos(commands::chaos::Options),
    /// Start a driver with two workers, load TPC-H and query it from a stock DuckDB
    Demo(commands::demo::Options),
    /// Measure plain DuckDB beside Duckherder: one table, TPC-H, TPC-DS, scaling, exchanges
    Bench(commands::bench::Options),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Dist => commands::dist::run(&workspace),
        Command::Test(options) => commands::test::run(&workspace, options),
        Command::Fuzz(options) => commands::fuzz::run(&workspace, options),
        Command::Chaos(options) => commands::chaos::run(&workspace, options),
        Command::Demo(options) => commands::demo::run(&workspace, options),
        Command::Bench(options) => commands::bench::run(&workspace, options),
    }
}
