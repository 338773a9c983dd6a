//! Compiles the C++ adapter against the headers of the bundled DuckDB, and DuckDB's icu extension.

#[path = "build/icu.rs"]
mod icu;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let include = PathBuf::from(env::var("DEP_DUCKDB_INCLUDE")?);
    println!("cargo:rerun-if-changed=cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(&include)
        .include(include.join("../../third_party/fmt/include"))
        .include(include.join("../../third_party/yyjson/include"))
        .include(include.join("../../extension/json/include"))
        .include("cpp")
        // As DuckDB itself is compiled, or the classes would not match.
        .define("NDEBUG", None)
        .debug(false)
        .opt_level(2)
        .flag("-fvisibility=hidden")
        .flag("-Wall")
        .flag("-Wno-unused-parameter")
        .flag("-Wno-redundant-move")
        .files(sources(Path::new("cpp"))?)
        .try_compile("duckherder_engine")?;
    icu::build(&include).map_err(|message| {
        eprintln!("{message}");
        "DuckDB's icu extension could not be built"
    })?;
    Ok(())
}

/// Every C++ file below `folder`.
fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "cpp") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
