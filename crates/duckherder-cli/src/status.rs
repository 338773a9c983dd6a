//! The list of a driver's workers, as a table for people.

use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use duckherder_proto::hello::{DriverState, Hello};
use duckherder_proto::herd::{WorkerEntry, WorkerList, WorkerState};

const HEAD: [&str; 11] =
    ["id", "address", "state", "version", "threads", "memory", "limit", "cached", "tasks", "last seen", "cannot reach"];

/// What to say of a driver that has no workers, since it is not the active one; nothing of any other.
pub fn standby_of(hello: &Hello) -> Option<String> {
    match hello.state() {
        DriverState::Active => None,
        DriverState::Standby => Some(format!("STANDBY  waits for the driver at {}", hello.waits_for)),
        DriverState::Fenced => Some("FENCED  another driver has taken its databases over".to_string()),
    }
}

/// Prints the workers, one a line.
///
/// # Errors
/// Standard output is closed.
pub fn print_status(list: &WorkerList) -> Result<()> {
    let mut rows = vec![HEAD.map(ToString::to_string)];
    rows.extend(list.workers.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut output = std::io::stdout().lock();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(output, "{}", cells.join("  ").trim_end()).context("cannot write to standard output")?;
    }
    Ok(())
}

fn row(worker: &WorkerEntry) -> [String; 11] {
    let status = worker.status.clone().unwrap_or_default();
    let location = worker.location.clone().unwrap_or_else(|| "the driver's process".to_string());
    [
        worker.worker_id.clone(),
        location,
        WorkerState::try_from(worker.state).map_or("?", WorkerState::name).to_string(),
        status.version,
        status.threads.to_string(),
        bytes(status.memory_bytes),
        bytes(status.memory_limit_bytes),
        bytes(status.cached_bytes),
        worker.running_tasks.to_string(),
        ago(worker.last_seen_us),
        status.unreachable.join(", "),
    ]
}

fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (0..units.len() - 1).find(|unit| bytes >> (10 * (unit + 1)) == 0).unwrap_or(units.len() - 1);
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * unit)) as f64, units[unit]),
    }
}

fn ago(seen_us: i64) -> String {
    let seen = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(seen_us).unwrap_or(0));
    let since = SystemTime::now().duration_since(seen).unwrap_or_default();
    format!("{:.1} s ago", since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short() {
        let shown = [0, 1023, 1024, 1 << 29, 3 << 30, 5 << 50].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "512.0 MiB", "3.0 GiB", "5120.0 TiB"]);
    }
}
