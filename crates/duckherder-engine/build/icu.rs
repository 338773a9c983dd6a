//! Builds DuckDB's icu extension (time zones, TIMESTAMPTZ arithmetic, collations) into a static library.
//!
//! `libduckdb-sys` bundles core_functions, json and parquet, not icu, which every DuckDB wheel has. Its sources
//! come from DuckDB's source distribution, pinned by hash, and stay beside the compiled library under
//! `<cargo target>/duckdb-icu/`: one download and one compilation serve every profile and every rebuild.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of DuckDB that `libduckdb-sys` bundles, and the hash of its source distribution.
const DUCKDB_VERSION: &str = "2.0.0";
const SOURCES_SHA256: &str = "09de511ef0dc76a5213e8d3d87a8b89bb4d3e8a6fe73a9f60dc001269946b44f";

const LIBRARY: &str = "duckdb_icu";
const FETCH_SCRIPT: &str = "build/fetch_icu.py";

/// Compiles the extension unless it lies compiled already, and links it.
///
/// `duckdb_include` is what `libduckdb-sys` publishes: `<DuckDB>/src/include`.
///
/// # Errors
/// A text for the reader of the build's output: what failed and what to install.
pub fn build(duckdb_include: &Path) -> Result<(), String> {
    println!("cargo:rerun-if-changed=build/icu.rs");
    println!("cargo:rerun-if-changed={FETCH_SCRIPT}");
    let cache = cache_dir()?;
    let sources = cache.join(format!("{DUCKDB_VERSION}-{}", &SOURCES_SHA256[..16]));
    if !sources.join("icu_extension.cpp").is_file() {
        fetch(&sources)?;
    }
    let build = configure(&sources, duckdb_include)?;
    let compiled = cache.join(format!("lib-{:016x}", fingerprint(&build, duckdb_include)));
    if !compiled.join(format!("lib{LIBRARY}.a")).is_file() {
        compile(build, &cache, &compiled)?;
    }
    println!("cargo:rustc-link-search=native={}", compiled.display());
    println!("cargo:rustc-link-lib=static={LIBRARY}");
    Ok(())
}

/// `<cargo target>/duckdb-icu`: OUT_DIR is `<cargo target>/<profile>/build/<package>/out`.
fn cache_dir() -> Result<PathBuf, String> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    let target_dir = out_dir.ancestors().nth(4).unwrap_or(&out_dir);
    Ok(target_dir.join("duckdb-icu"))
}

fn fetch(sources: &Path) -> Result<(), String> {
    let output = Command::new("python3")
        .arg(FETCH_SCRIPT)
        .args([DUCKDB_VERSION, SOURCES_SHA256])
        .arg(sources)
        .output()
        .map_err(|error| format!("{HELP}\npython3 could not be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{HELP}\n{}", String::from_utf8_lossy(&output.stderr)))
}

const HELP: &str = "The sources of DuckDB's icu extension could not be fetched. This needs, once a machine, Python 3 \
with pip (Debian: `apt-get install python3 python3-pip python3-venv`) and a package index that pip can reach.";

/// The same switches as `libduckdb-sys` uses for DuckDB itself.
fn configure(sources: &Path, duckdb_include: &Path) -> Result<cc::Build, String> {
    let duckdb = duckdb_include
        .ancestors()
        .nth(2)
        .ok_or_else(|| format!("{} is not <DuckDB>/src/include", duckdb_include.display()))?;
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(3).debug(false).warnings(false).flag_if_supported("-w");
    build.define("NDEBUG", None).include(duckdb_include);
    for library in ["fmt", "zstd"] {
        build.include(duckdb.join("third_party").join(library).join("include"));
    }
    for folder in ["include", "collation/include", "datetime/include"] {
        build.include(sources.join(folder));
    }
    let mut files = Vec::new();
    for folder in [".", "collation", "collation/generated", "datetime", "datetime/generated"] {
        let folder = sources.join(folder);
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "cpp") {
                files.push(path);
            }
        }
    }
    files.sort();
    build.files(files);
    Ok(build)
}

/// Changes when the compiler, its switches, the sources or DuckDB's headers do.
fn fingerprint(build: &cc::Build, duckdb_include: &Path) -> u64 {
    let compiler = build.get_compiler();
    let mut text = format!("{:?} {:?} {}", compiler.path(), compiler.args(), duckdb_include.display());
    for file in build.get_files() {
        let _ = write!(text, " {}", file.display());
    }
    if let Ok(version) = Command::new(compiler.path()).arg("--version").output() {
        text.push_str(&String::from_utf8_lossy(&version.stdout));
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Compiles into a folder of this process, then moves it into place, so that a broken build leaves nothing behind.
fn compile(mut build: cc::Build, cache: &Path, compiled: &Path) -> Result<(), String> {
    let staging = cache.join(format!(".compiling-{}", std::process::id()));
    build.out_dir(&staging).cargo_metadata(false);
    build.try_compile(LIBRARY).map_err(|error| format!("DuckDB's icu extension did not compile: {error}"))?;
    if let Err(error) = fs::rename(&staging, compiled) {
        if !compiled.is_dir() {
            return Err(format!("{}: {error}", compiled.display()));
        }
        let _ = fs::remove_dir_all(&staging);
    }
    Ok(())
}
