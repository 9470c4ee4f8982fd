//! A topic as a folder of Parquet files, by the hour of what their records tell of.
//!
//! In: records of one type, with where they stood in Kafka. Out: `date=2026-11-29/hour=13/000007.parquet`, named as Hive, DuckDB, Polars and Spark know it. Promise:
//! each record is in exactly one file, however often the writer was killed: files of a batch have its number, and the batch counts once [`PROGRESS`] says so.
//! Bounded: rows of a batch, and hours that are open at a time.
#![deny(missing_docs)]

mod columns;
mod error;
mod files;
mod folder;
mod progress;

pub use columns::Columns;
pub use error::ExportError;
pub use folder::{Folder, Place, Totals};
pub use progress::PROGRESS;
