//! The folder of one topic.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::files::{DRAFT, Growing};
use crate::progress::Progress;
use crate::{Columns, ExportError};

/// Rows of one batch: what is not in a file yet comes again after a kill.
const BATCH_ROWS_MAX: u64 = 1_000_000;
/// Hours that may be open at a time: each has a file and some buffers.
const HOURS_MAX: usize = 48;

/// Where a record stood in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Partition of its topic.
    pub partition: i32,
    /// Offset in that partition.
    pub offset: i64,
    /// Kafka's timestamp: milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// What was written since the folder was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records.
    pub rows: u64,
    /// Files.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
}

/// See [`crate`].
pub struct Folder {
    path: PathBuf,
    columns: Columns,
    progress: Progress,
    /// Files of the batch that is open, by hour since the epoch.
    open: BTreeMap<i64, Growing>,
    rows: u64,
    totals: Totals,
}

impl Folder {
    /// Opens or makes a folder, and removes what an export that was killed left of a batch that does not count.
    ///
    /// # Errors
    /// Also if it is one of another topic.
    pub fn open(path: &Path, topic: &str, columns: Columns) -> Result<Folder, ExportError> {
        fs::create_dir_all(path).map_err(ExportError::file("make", path))?;
        let progress = match Progress::read(path)? {
            Some(progress) if progress.topic != topic => {
                let (path, found) = (path.to_owned(), progress.topic);
                return Err(ExportError::OtherTopic { path, found, expected: topic.to_owned() });
            }
            Some(progress) => progress,
            None => Progress { topic: topic.to_owned(), ..Progress::default() },
        };
        remove_what_does_not_count(path, progress.next_batch)?;
        let (open, totals) = (BTreeMap::new(), Totals::default());
        Ok(Folder { path: path.to_owned(), columns, progress, open, rows: 0, totals })
    }

    /// Where to read on, for each partition of which anything was read.
    pub fn next_offsets(&self) -> &BTreeMap<i32, i64> {
        &self.progress.next_offsets
    }

    /// Adds a record of this time (microseconds since the epoch), which is behind all others of its partition so far.
    ///
    /// # Errors
    /// Then nothing of the batch counts, and no further record may be added.
    pub fn push(&mut self, row: &impl Serialize, time_us: i64, place: Place) -> Result<(), ExportError> {
        let hour = time_us.div_euclid(3_600_000_000);
        if self.rows >= BATCH_ROWS_MAX || (self.open.len() >= HOURS_MAX && !self.open.contains_key(&hour)) {
            self.commit()?;
        }
        if !self.open.contains_key(&hour) {
            let name = format!("{:06}.parquet", self.progress.next_batch);
            self.open.insert(hour, Growing::create(self.path.join(hour_folder(hour)).join(name), &self.columns)?);
        }
        if let Some(file) = self.open.get_mut(&hour) {
            file.push(row, place)?;
            self.rows += 1;
        }
        self.passed(place.partition, place.offset);
        Ok(())
    }

    /// Everything up to this offset was looked at.
    pub fn passed(&mut self, partition: i32, offset: i64) {
        self.progress.next_offsets.insert(partition, offset + 1);
    }

    /// Makes files of all that was added. From then on it counts, and with it where to read on.
    ///
    /// # Errors
    /// As [`Folder::push`].
    pub fn commit(&mut self) -> Result<(), ExportError> {
        for file in std::mem::take(&mut self.open).into_values() {
            self.totals.bytes += file.finish()?;
            self.totals.files += 1;
        }
        self.progress.next_batch += u64::from(self.rows > 0);
        self.progress.write(&self.path)?;
        self.totals.rows += std::mem::take(&mut self.rows);
        Ok(())
    }

    /// What was committed since it was opened.
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

/// As Hive names partitions, in UTC: `date=2026-11-29/hour=13`. What is before 1970 stands in its first hour.
fn hour_folder(hour: i64) -> PathBuf {
    let start = UNIX_EPOCH + Duration::from_secs(hour.max(0).unsigned_abs() * 3600);
    let text = humantime::format_rfc3339_seconds(start).to_string();
    let (date, hour) = (&text[..10], &text[11..13]);
    PathBuf::from(format!("date={date}")).join(format!("hour={hour}"))
}

/// Removes drafts, and files of batches from this one on.
fn remove_what_does_not_count(folder: &Path, next_batch: u64) -> Result<(), ExportError> {
    for date in entries(folder)?.into_iter().filter(|date| is_partition(date, "date=")) {
        for hour in entries(&date)?.into_iter().filter(|hour| is_partition(hour, "hour=")) {
            for file in entries(&hour)? {
                let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let number = name.strip_suffix(".parquet").and_then(|number| number.parse::<u64>().ok());
                let is_draft = name.strip_suffix(DRAFT).is_some_and(|name| name.ends_with(".parquet."));
                if is_draft || number.is_some_and(|number| number >= next_batch) {
                    fs::remove_file(&file).map_err(ExportError::file("remove", &file))?;
                }
            }
        }
    }
    Ok(())
}

fn is_partition(folder: &Path, prefix: &str) -> bool {
    folder.is_dir() && folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let entries = fs::read_dir(folder).map_err(ExportError::file("read", folder))?;
    entries.map(|entry| Ok(entry.map_err(ExportError::file("read", folder))?.path())).collect()
}
