//! The metadata that makes a shared library a DuckDB extension.
//!
//! DuckDB reads the file's last 512 bytes (`ParsedExtensionMetaData`, src/main/extension.cpp, DuckDB 2.0.0): eight
//! NUL-padded fields of 32 bytes, then 256 bytes for a signature, which an unsigned extension leaves zero.

use std::env::consts;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The DuckDB that the extension is linked for; any other refuses to load it.
const DUCKDB_VERSION: &str = "v2.0.0";
/// C++ extensions are bound to one DuckDB version.
const ABI: &str = "CPP";
/// The layout of these fields.
const METADATA_VERSION: &str = "4";

const FIELD_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 256;

/// Appends the metadata to a shared library, in place.
///
/// # Errors
/// When the file can't be read or written, or the platform is none that DuckDB has a name for.
pub fn append_metadata(file: &Path) -> Result<()> {
    let mut content = std::fs::read(file).with_context(|| file.display().to_string())?;
    content.extend_from_slice(&metadata(&platform()?)?);
    std::fs::write(file, content).with_context(|| file.display().to_string())
}

fn metadata(platform: &str) -> Result<Vec<u8>> {
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    let mut tail = Vec::with_capacity(8 * FIELD_BYTES + SIGNATURE_BYTES);
    for field in ["", "", "", ABI, version, DUCKDB_VERSION, platform, METADATA_VERSION] {
        if field.len() > FIELD_BYTES {
            bail!("'{field}' is longer than the {FIELD_BYTES} bytes of a metadata field");
        }
        tail.extend_from_slice(field.as_bytes());
        tail.resize(tail.len() + FIELD_BYTES - field.len(), 0);
    }
    tail.resize(tail.len() + SIGNATURE_BYTES, 0);
    Ok(tail)
}

/// DuckDB's name of the machine that this runs on.
fn platform() -> Result<String> {
    let system = match consts::OS {
        "linux" => "linux",
        "macos" => "osx",
        other => bail!("DuckDB has no extensions for {other} that this could build; use Linux or macOS"),
    };
    let processor = match consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("DuckDB has no extensions for {other} processors; use x86-64 or ARM64"),
    };
    Ok(format!("{system}_{processor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_has_eight_fields_and_an_empty_signature() {
        let tail = metadata("linux_amd64").unwrap();
        assert_eq!(tail.len(), 512);
        let fields: Vec<&str> = tail[..256]
            .chunks(FIELD_BYTES)
            .map(|field| std::str::from_utf8(field).unwrap().trim_end_matches('\0'))
            .collect();
        let version = concat!("v", env!("CARGO_PKG_VERSION"));
        assert_eq!(fields, ["", "", "", "CPP", version, "v2.0.0", "linux_amd64", "4"]);
        assert!(tail[256..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_field_that_does_not_fit_is_an_error() {
        assert!(metadata(&"x".repeat(33)).is_err());
    }
}
