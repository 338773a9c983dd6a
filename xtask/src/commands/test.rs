//! `cargo xtask test`: everything that is checked, in the order in which it fails fastest.
//!
//! A step that fails does not keep the next ones from running, except where they need what it builds; the last line
//! sums up every test, and the exit status is that of the whole.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::commands::dist;
use crate::python::Environment;
use crate::workspace::{Workspace, command_line};

#[derive(Args)]
pub struct Options {
    /// Leave out formatting, lints and unit tests
    #[arg(long)]
    no_rust: bool,
    /// Given to pytest as it is, after `--`: a folder, `-k NAME`, `-x` ...
    #[arg(last = true)]
    pytest: Vec<String>,
}

/// Tests that ran.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    fn one(success: bool) -> Self {
        if success { Self { passed: 1, ..Self::default() } } else { Self { failed: 1, ..Self::default() } }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// What came of a step, and how long it took.
struct Step {
    name: &'static str,
    tally: Tally,
    duration: Duration,
}

#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn take(&mut self, name: &'static str, run: impl FnOnce() -> Result<Tally>) -> Result<()> {
        let began = Instant::now();
        let tally = run()?;
        self.0.push(Step { name, tally, duration: began.elapsed() });
        Ok(())
    }
}

/// Runs all steps and prints what came of each, and how long it took.
///
/// # Errors
/// When anything failed.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let began = Instant::now();
    let mut steps = Steps::default();
    if !options.no_rust {
        let format = ["fmt", "--all", "--check"];
        steps.take("formatting", || check(&mut workspace.cargo(&format)))?;
        let lints = ["clippy", "--release", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"];
        steps.take("lints", || check(&mut workspace.cargo(&lints)))?;
        let build = ["test", "--release", "--locked", "--workspace", "--no-run"];
        // What fails here fails in the next step, which counts it.
        steps.take("building unit tests", || check(&mut workspace.cargo(&build)).map(|_| Tally::default()))?;
        steps.take("unit tests", || unit_tests(workspace))?;
    }
    steps.take("building dist", || dist::run(workspace).map(|()| Tally::default()))?;
    let environment = Environment::prepare(workspace)?;
    steps.take("through a stock DuckDB", || pytest(workspace, &environment, &options.pytest))?;

    let mut total = Tally::default();
    println!();
    for step in &steps.0 {
        println!("{:<24} {:>5} s  {}", step.name, step.duration.as_secs(), step.tally);
        total.add(step.tally);
    }
    println!("{:<24} {:>5} s", "all", began.elapsed().as_secs());
    println!("{total}");
    if total.failed > 0 {
        bail!("{} of {} failed", total.failed, total.failed + total.passed);
    }
    Ok(())
}

/// A command that passes or fails as a whole.
fn check(command: &mut Command) -> Result<Tally> {
    announce(command);
    let status = command.status().with_context(|| format!("could not start {}", command_line(command)))?;
    Ok(Tally::one(status.success()))
}

fn announce(command: &Command) {
    println!("\n> {}", command_line(command));
}

/// `cargo test`, counted by the `test result:` line of each test binary.
fn unit_tests(workspace: &Workspace) -> Result<Tally> {
    let mut command = workspace.cargo(&["test", "--release", "--locked", "--workspace", "--no-fail-fast"]);
    announce(&command);
    let mut child = command.stdout(Stdio::piped()).spawn().context("could not start cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut total = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        writeln!(std::io::stdout(), "{line}")?;
        if let Some(tally) = test_result(&line) {
            total.add(tally);
        }
    }
    if !child.wait()?.success() && total.failed == 0 {
        total.add(Tally::one(false));
    }
    Ok(total)
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...`.
fn test_result(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |what: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    Some(Tally { passed: count("passed"), failed: count("failed"), skipped: count("ignored") })
}

/// pytest over `tests/`, in several processes, counted by its JUnit report.
fn pytest(workspace: &Workspace, environment: &Environment, arguments: &[String]) -> Result<Tally> {
    let report = workspace.cache("pytest.xml");
    if report.exists() {
        fs::remove_file(&report).with_context(|| report.display().to_string())?;
    }
    let mut command = environment.python(workspace);
    command.current_dir(workspace.root.join("tests"));
    // One more than cores: there is always one that waits for something.
    let processes = (std::thread::available_parallelism().map_or(1, usize::from) + 1).to_string();
    command.args(["-m", "pytest", "-p", "no:cacheprovider", "-n", &processes, "--junit-xml"]);
    command.arg(&report).args(arguments);
    announce(&command);
    let status = command.status().context("could not start pytest")?;
    let report =
        fs::read_to_string(&report).with_context(|| format!("pytest wrote no report and ended with {status}"))?;
    let mut tally = junit_counts(&report).context("pytest's report has no <testsuite> with counts")?;
    if !status.success() && tally.failed == 0 {
        tally.add(Tally::one(false));
    }
    Ok(tally)
}

/// Reads the counts in the attributes of the report's `<testsuite>`.
fn junit_counts(report: &str) -> Option<Tally> {
    let suite = report.split_once("<testsuite ")?.1.split_once('>')?.0;
    let count = |name: &str| suite.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0.parse::<u64>().ok();
    let failed = count("failures")? + count("errors")?;
    let skipped = count("skipped")?;
    Some(Tally { passed: count("tests")?.saturating_sub(failed + skipped), failed, skipped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_binarys_result_line_is_counted() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.04s";
        assert_eq!(test_result(line), Some(Tally { passed: 12, failed: 2, skipped: 1 }));
        assert_eq!(test_result("test names::are_not_results ... ok"), None);
    }

    #[test]
    fn a_junit_report_is_counted() {
        let report = r#"<?xml version="1.0"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1"
            failures="2" skipped="3" tests="10" time="1.5"><testcase/></testsuite></testsuites>"#;
        assert_eq!(junit_counts(&report.replace('\n', " ")), Some(Tally { passed: 4, failed: 3, skipped: 3 }));
    }
}
