//! How far an export is: what stands in the file [`PROGRESS`].

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ExportError;

/// Its name in the folder. Readers of Parquet leave out what begins with an underscore.
pub const PROGRESS: &str = "_progress.json";

/// What was exported so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    pub topic: String,
    /// The number of the next batch: files of it, and of later ones, count for nothing.
    pub next_batch: u64,
    /// Where to read on, by partition.
    pub next_offsets: BTreeMap<i32, i64>,
}

impl Progress {
    /// None where nothing was exported yet.
    pub fn read(folder: &Path) -> Result<Option<Progress>, ExportError> {
        let path = folder.join(PROGRESS);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(ExportError::file("read", &path))?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| ExportError::of_file("read", &path, error))
    }

    /// Takes the place of what was there at once, or not at all.
    pub fn write(&self, folder: &Path) -> Result<(), ExportError> {
        let (path, draft) = (folder.join(PROGRESS), folder.join(format!("{PROGRESS}.tmp")));
        let text = serde_json::to_vec_pretty(self).map_err(|error| ExportError::of_file("write", &path, error))?;
        let mut file = File::create(&draft).map_err(ExportError::file("write", &draft))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(ExportError::file("write", &draft))?;
        fs::rename(&draft, &path).map_err(ExportError::file("write", &path))?;
        sync_folder(folder)
    }
}

/// What was renamed in a folder is there after a loss of power, too.
pub fn sync_folder(folder: &Path) -> Result<(), ExportError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ExportError::file("write", folder))
}
