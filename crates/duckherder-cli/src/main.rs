//! The one binary: `duckherder driver`, `duckherder worker`, and what a running driver is told to do; called `distributed_server` or `distributed_worker` it
//! is just one of them.
//!
//! Exit codes: 0 stopped as asked, 1 could not run, 2 called wrongly.

mod arguments;
mod serve;
mod status;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use arguments::{Call, LogFormat};
use tracing_subscriber::EnvFilter;

/// For C++, too: statements of one row spent a sixth of their time in glibc's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let call = Call::parse(std::env::args_os());
    start_logging(call.log_format);
    match serve::run(call.role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says on standard error what the process ends with. (`eprintln!` panics where the disk is full that has the log.)
fn complain(problem: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "error: {problem}");
}

/// Logs go to standard error, filtered by `DUCKHERDER_LOG` (`info` without it).
fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("DUCKHERDER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // What can't be written is lost: to say so on standard error would panic, and end whoever logs.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}
