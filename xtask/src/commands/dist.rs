//! `cargo xtask dist`: the files that users get.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::artifact;
use crate::workspace::{self, Workspace};

/// Builds in release mode and writes the stripped files into `dist/`.
///
/// # Errors
/// When the build fails, or `strip` (package binutils) is missing.
pub fn run(workspace: &Workspace) -> Result<()> {
    // The whole workspace, as the tests and this program itself are built: other selections of packages unify
    // features differently and would compile the dependencies again.
    workspace::run(&mut workspace.cargo(&["build", "--release", "--locked", "--workspace"]))?;
    let folder = workspace.dist();
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;

    let extension = folder.join("duckherder.duckdb_extension");
    place(workspace, &shared_library(workspace), &extension, artifact::append_metadata)?;
    let program = workspace.built("duckherder");
    // One program under three names: it does what its name says.
    for name in ["duckherder", "distributed_server", "distributed_worker"] {
        place(workspace, &program, &folder.join(name), |_| Ok(()))?;
    }
    for entry in ["duckherder.duckdb_extension", "duckherder", "distributed_server", "distributed_worker"] {
        let size = fs::metadata(folder.join(entry)).with_context(|| entry.to_owned())?.len();
        println!("dist/{entry:<29} {:>6.1} MB", size as f64 / 1e6);
    }
    Ok(())
}

fn shared_library(workspace: &Workspace) -> PathBuf {
    workspace.built(&format!("{}duckherder{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

/// Strips `from` into a new file, finishes it, and moves it into place, so that a running process keeps the old one.
fn place(workspace: &Workspace, from: &Path, to: &Path, finish: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let mut fresh = to.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    workspace::run(workspace.command("strip").arg("-o").arg(&fresh).arg(from))
        .context("`strip` comes with binutils (Debian: `apt-get install binutils`)")?;
    finish(&fresh)?;
    fs::rename(&fresh, to).with_context(|| to.display().to_string())
}
