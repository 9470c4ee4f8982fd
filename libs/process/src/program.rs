//! Where the other programs of this workspace are.

use std::io;
use std::path::PathBuf;

use crate::error::ProcessError;

/// The path of one of our programs, in [`program_folder`].
///
/// # Errors
/// If it is not there, with what builds it.
pub fn program(name: &str) -> Result<PathBuf, ProcessError> {
    let path = program_folder()?.join(name);
    if path.is_file() { Ok(path) } else { Err(ProcessError::NoProgram { path }) }
}

/// The folder of the running program, as cargo and every package put ours side by side; for a test the one above it, since
/// cargo puts tests into `deps`.
pub fn program_folder() -> Result<PathBuf, ProcessError> {
    let doing = "ask for the folder of this program";
    let own = std::env::current_exe().map_err(ProcessError::io(doing))?;
    let mut folders = own.ancestors().skip(1);
    let nearest = folders.next();
    let folder = if nearest.is_some_and(|folder| folder.ends_with("deps")) { folders.next() } else { nearest };
    let none = || ProcessError::io(doing)(io::Error::from(io::ErrorKind::NotFound));
    folder.map(PathBuf::from).ok_or_else(none)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_program_that_was_not_built_is_named() {
        assert!(!program_folder().unwrap().ends_with("deps"));
        let error = program("headwater-nothing").unwrap_err().to_string();
        assert!(error.contains("/headwater-nothing is not there") && error.contains("cargo build"), "{error}");
    }
}
