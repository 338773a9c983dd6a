//! Where things lie, and how other programs are started.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The folders of this clone.
pub struct Workspace {
    /// The clone.
    pub root: PathBuf,
    /// Cargo's target directory, which may lie elsewhere.
    pub target: PathBuf,
}

impl Workspace {
    /// Finds the clone by what cargo says when it starts this program (clones may share one target directory, so the
    /// path it was compiled in says nothing) and the target directory by where the program itself lies.
    ///
    /// # Errors
    /// When the program was not started by cargo inside a clone.
    pub fn find() -> Result<Self> {
        let package = env::var_os("CARGO_MANIFEST_DIR").context("start this with `cargo xtask`")?;
        let root = Path::new(&package).parent().context("xtask/ has no parent folder")?;
        let program = env::current_exe().context("this program's own path is unknown")?;
        let target = program.ancestors().nth(2).context("start this with `cargo xtask`")?;
        Ok(Self { root: root.to_owned(), target: target.to_owned() })
    }

    /// Release files for users.
    pub fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// What cargo built, before it is stripped.
    pub fn built(&self, file: &str) -> PathBuf {
        self.target.join("release").join(file)
    }

    /// What these commands keep between runs: the Python environment, generated data.
    pub fn cache(&self, name: &str) -> PathBuf {
        self.target.join("xtask").join(name)
    }

    /// The cargo that started this program, in the clone.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// Any program, started in the clone.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }
}

/// Runs a program to its end with its output on the terminal.
///
/// # Errors
/// When it can't be started or does not succeed; the message has the whole command line.
pub fn run(command: &mut Command) -> Result<()> {
    let line = command_line(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("could not start {line}"))?;
    if !status.success() {
        bail!("{line} failed: {status}");
    }
    Ok(())
}

/// The command as one could type it.
pub fn command_line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
