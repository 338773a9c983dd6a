//! TPC-H data as Arrow IPC files, made once for each scale factor.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::RecordBatchReader;
use indicatif::{ProgressBar, ProgressStyle};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

use crate::workspace::Workspace;

/// Rows of one Arrow batch: large enough to stream well, small enough for a few MB.
const BATCH_ROWS: usize = 30_720;

/// The tables, and how many rows each has at scale factor 1 (lineitem: about).
const TABLES: [(&str, f64); 8] = [
    ("region", 0.0),
    ("nation", 0.0),
    ("supplier", 10_000.0),
    ("customer", 150_000.0),
    ("part", 200_000.0),
    ("partsupp", 800_000.0),
    ("orders", 1_500_000.0),
    ("lineitem", 6_001_215.0),
];

/// Makes what is missing of `tables` (all, when empty), one `<table>.arrow` each; returns their folder.
///
/// # Errors
/// When the scale factor is not positive, or a file can't be written.
pub fn generate(workspace: &Workspace, scale_factor: f64, tables: &[&str]) -> Result<PathBuf> {
    if !(scale_factor > 0.0 && scale_factor <= 1000.0) {
        bail!("--sf {scale_factor}: the scale factor is a number above 0, at most 1000");
    }
    let folder = workspace.cache(&format!("tpch-sf{scale_factor}"));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (table, rows) in TABLES {
        let file = folder.join(format!("{table}.arrow"));
        if (tables.is_empty() || tables.contains(&table)) && !file.is_file() {
            write(reader(table, scale_factor)?, &file, table, (rows * scale_factor) as u64)
                .with_context(|| file.display().to_string())?;
        }
    }
    Ok(folder)
}

fn reader(table: &str, sf: f64) -> Result<Box<dyn RecordBatchReader>> {
    Ok(match table {
        "region" => Box::new(RegionArrow::new(RegionGenerator::new(sf, 1, 1)).with_batch_size(BATCH_ROWS)),
        "nation" => Box::new(NationArrow::new(NationGenerator::new(sf, 1, 1)).with_batch_size(BATCH_ROWS)),
        "supplier" => Box::new(SupplierArrow::new(SupplierGenerator::new(sf, 1, 1)).with_batch_size(BATCH_ROWS)),
        "customer" => Box::new(CustomerArrow::new(CustomerGenerator::new(sf, 1, 1)).with_batch_size(BATCH_ROWS)),
        "part" => Box::new(PartArrow::new(PartGenerator::new(sf, 1, 1)).with_batch_size(BATCH_ROWS)),
        "partsupp" => Box::new(PartSuppArrow::new(PartSuppGenerator::new(sf, 1, 1)).with_batch_size(BATCH_ROWS)),
        "orders" => Box::new(OrderArrow::new(OrderGenerator::new(sf, 1, 1)).with_batch_size(BATCH_ROWS)),
        "lineitem" => Box::new(LineItemArrow::new(LineItemGenerator::new(sf, 1, 1)).with_batch_size(BATCH_ROWS)),
        other => bail!("TPC-H has no table {other}"),
    })
}

/// Writes a new file beside `file` and moves it into place when it is whole.
fn write(batches: Box<dyn RecordBatchReader>, file: &Path, table: &str, rows: u64) -> Result<()> {
    let bar = ProgressBar::new(rows).with_prefix(format!("make {table}"));
    bar.set_style(ProgressStyle::with_template("{prefix:<15} {bar:40} {human_pos:>11} rows {elapsed:>5}")?);
    let unfinished = file.with_extension("part");
    let mut writer = FileWriter::try_new(BufWriter::new(File::create(&unfinished)?), &batches.schema())?;
    for batch in batches {
        let batch = batch?;
        writer.write(&batch)?;
        bar.inc(batch.num_rows() as u64);
    }
    writer.finish()?;
    writer.into_inner()?.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    fs::rename(&unfinished, file)?;
    bar.finish();
    Ok(())
}
