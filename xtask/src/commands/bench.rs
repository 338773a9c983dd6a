//! `cargo xtask bench`: plain DuckDB beside Duckherder, in one run, with the same number of threads.

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::commands::dist;
use crate::python::Environment;
use crate::tpch;
use crate::workspace::{self, Workspace};

/// What is measured; `benches/README.md` tells it in full.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Suite {
    /// One table: Q1 and Q6, single rows, streams, bulk inserts
    Tables,
    /// All 22 queries of TPC-H, 'auto', 'always' and 'never'
    Tpch,
    /// All 99 queries of TPC-DS, 'auto', 'always' and 'never'
    Tpcds,
    /// TPC-H by the number of workers, each held to a share of a core (needs the right to make cgroups)
    Scaling,
    /// Throughput of a shuffle, time that a stage adds
    Exchanges,
    /// The constants of the planner's cost model
    Constants,
    /// Databases in object storage: commits, cold and warm scans
    Storage,
}

#[derive(Args)]
pub struct Options {
    #[arg(value_enum, default_value_t = Suite::Tables)]
    suite: Suite,
    /// Scale factor of the data
    #[arg(long, default_value_t = 1.0)]
    sf: f64,
    /// How often each query is measured (default: the suite's)
    #[arg(long)]
    rounds: Option<usize>,
    /// Threads that each contender may use in all (default: the machine's); not for `scaling`
    #[arg(long)]
    threads: Option<usize>,
    /// Given to the suite's program as it is, after `--`
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds, makes the data, and hands over to the suite's program in `benches/`.
///
/// # Errors
/// When a step fails, or an answer is not the one of plain DuckDB.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    dist::run(workspace)?;
    let environment = Environment::prepare(workspace)?;
    let mut bench = environment.python(workspace);
    match options.suite {
        Suite::Tables => bench.arg("benches/tables.py"),
        Suite::Tpch => bench.args(["benches/analytics.py", "tpch"]),
        Suite::Tpcds => bench.args(["benches/analytics.py", "tpcds"]),
        Suite::Scaling => bench.arg("benches/scaling.py"),
        Suite::Exchanges => bench.arg("benches/exchanges.py"),
        Suite::Constants => bench.arg("benches/constants.py"),
        Suite::Storage => bench.arg("benches/storage.py"),
    };
    let tables: Option<&[&str]> = match options.suite {
        Suite::Tables | Suite::Storage => Some(&["lineitem"]),
        Suite::Tpch | Suite::Scaling => Some(&[]),
        Suite::Tpcds | Suite::Exchanges | Suite::Constants => None,
    };
    if let Some(tables) = tables {
        bench.arg("--data").arg(tpch::generate(workspace, options.sf, tables)?);
    }
    match options.suite {
        Suite::Exchanges => {
            workspace::run(&mut workspace.cargo(&["build", "--release", "--locked", "--workspace", "--examples"]))?;
            bench.arg("--encoding").arg(workspace.built("examples/encoding"));
        }
        Suite::Constants => {}
        _ => drop(bench.args(["--sf", &options.sf.to_string()])),
    }
    if let Some(rounds) = options.rounds {
        bench.args(["--rounds", &rounds.to_string()]);
    }
    if let Some(threads) = options.threads {
        bench.args(["--threads", &threads.to_string()]);
    }
    bench.arg("--results").arg(workspace.root.join("benches/results")).args(&options.arguments);
    workspace::run(&mut bench)
}
