//! Which process one is, among all that run and have run on its machine: another one there knows when it has ended.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// A process's life, as Linux tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// Since when the machine runs.
    boot: String,
    /// In which the numbers of processes, and their times, mean something.
    namespaces: String,
    process: u32,
    /// When it was started.
    started: u64,
}

impl Life {
    /// This process's; nothing, where the system does not tell.
    pub fn own() -> Option<Self> {
        let process = std::process::id();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_string();
        let pids = fs::read_link("/proc/self/ns/pid").ok()?;
        let times = fs::read_link("/proc/self/ns/time").unwrap_or_default();
        let namespaces = format!("{} {}", pids.display(), times.display());
        // What is mounted there may be about other namespaces.
        let started = started("self", Some(process)).ok()??;
        Some(Self { boot, namespaces, process, started })
    }

    /// Whether it is certain that it has ended. Of a process elsewhere nothing is.
    pub fn has_ended(&self) -> bool {
        // Where the first process is not shown, that another one is not shown means nothing.
        let Some(own) = Self::own().filter(|_| fs::exists("/proc/1/stat").unwrap_or(false)) else { return false };
        if (&own.boot, &own.namespaces) != (&self.boot, &self.namespaces) {
            return false;
        }
        match started(&self.process.to_string(), None) {
            Ok(started) => started != Some(self.started),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// When a process was started that has not ended; `number`: which it is.
fn started(name: &str, number: Option<u32>) -> io::Result<Option<u64>> {
    let text = fs::read_to_string(format!("/proc/{name}/stat"))?;
    let nonsense = || io::Error::from(io::ErrorKind::InvalidData);
    // The name of its program, in parentheses, may be anything.
    let (before, rest) = text.rsplit_once(')').ok_or_else(nonsense)?;
    let found = before.split(' ').next().and_then(|found| found.parse().ok());
    if number.is_some_and(|number| found != Some(number)) {
        return Err(nonsense());
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let (state, started) = (fields.first().ok_or_else(nonsense)?, fields.get(19).ok_or_else(nonsense)?);
    // Nobody has asked yet how these have ended.
    if matches!(*state, "Z" | "X") {
        return Ok(None);
    }
    started.parse().map(Some).map_err(|_| nonsense())
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_has_ended_or_not() {
        let own = Life::own().unwrap();
        assert!(!own.has_ended());
        assert!(Life { started: own.started + 1, ..own.clone() }.has_ended(), "the number is another one's now");
        for elsewhere in
            [Life { boot: String::new(), ..own.clone() }, Life { namespaces: String::new(), ..own.clone() }]
        {
            assert!(!Life { process: u32::MAX, ..elsewhere }.has_ended());
        }

        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = child.id();
        let started = started(&process.to_string(), Some(process)).unwrap().unwrap();
        let other = Life { process, started, ..own };
        assert!(!other.has_ended());
        child.kill().unwrap();
        while !other.has_ended() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(other.has_ended());
    }
}
