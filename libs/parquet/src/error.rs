use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Why records did not become files.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A schema that has no columns here; which one and why.
    #[error("the schema has no columns: {0}")]
    Schema(String),
    /// A file could not be read or written.
    #[error("{doing} {path}: {why}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What was said.
        why: String,
    },
    /// The folder holds something else.
    #[error("{path} holds what was exported of {found}, not of {expected}: name another folder")]
    OtherTopic {
        /// The folder.
        path: PathBuf,
        /// The topic that it is of.
        found: String,
        /// The topic that is to be exported.
        expected: String,
    },
    /// A record does not fit the columns.
    #[error("a record does not fit its columns: {0}")]
    Row(String),
}

impl ExportError {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ExportError {
        move |error| ExportError::of_file(doing, path, error)
    }

    pub(crate) fn of_file(doing: &'static str, path: &Path, why: impl Display) -> ExportError {
        ExportError::File { doing, path: path.to_owned(), why: why.to_string() }
    }
}
