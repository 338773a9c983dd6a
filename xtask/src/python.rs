//! The Python environment of the tests: a stock DuckDB and what drives it, from `tests/requirements.txt`.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::{self, Workspace};

/// A virtual environment that holds everything in `tests/requirements.txt`.
pub struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// Makes the environment, or takes the one of an earlier run when the requirements are still the same.
    ///
    /// # Errors
    /// When Python's venv module is missing or the packages can't be installed.
    pub fn prepare(workspace: &Workspace) -> Result<Self> {
        let requirements = workspace.root.join("tests/requirements.txt");
        let wanted = fs::read_to_string(&requirements).with_context(|| requirements.display().to_string())?;
        let environment = Self { folder: workspace.cache("venv") };
        let installed = environment.folder.join("installed-requirements.txt");
        if fs::read_to_string(&installed).is_ok_and(|content| content == wanted) {
            return Ok(environment);
        }
        println!("Installing the Python packages of tests/requirements.txt");
        workspace::run(workspace.command("python3").args(["-m", "venv", "--clear"]).arg(&environment.folder))
            .context("this needs Python 3 with venv (Debian: `apt-get install python3 python3-venv`)")?;
        let mut install = workspace.command(environment.program("python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        workspace::run(install.arg(&requirements)).context("pip could not install tests/requirements.txt")?;
        fs::write(&installed, wanted).with_context(|| installed.display().to_string())?;
        Ok(environment)
    }

    /// Python in this environment, able to import the tests' harness, which knows where `dist/` is, and `xtask/python`.
    pub fn python(&self, workspace: &Workspace) -> Command {
        let folders = [workspace.root.join("tests"), workspace.root.join("xtask/python")];
        let search_path = folders.map(|folder| folder.into_os_string()).join(OsStr::new(":"));
        let mut command = workspace.command(self.program("python"));
        command
            .env("PYTHONPATH", search_path)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("DUCKHERDER_DIST", workspace.dist());
        command
    }

    fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }
}
