//! The end of a log, for a message about the program that wrote it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const TAIL_LINES: usize = 15;
const TAIL_BYTES: u64 = 8 * 1024;

/// The last lines of a log, indented, or why there are none. Bounds: fifteen lines, 8 KiB.
pub fn tail(log: &Path) -> String {
    let text = match end_of(log, TAIL_BYTES) {
        Ok(text) => text,
        Err(error) => return format!("    (the log cannot be read: {error})"),
    };
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
    if last.is_empty() { "    (empty)".to_owned() } else { format!("    {last}") }
}

/// The last `bytes_max` bytes of a file; what is cut through and no UTF-8 is replaced.
pub fn end_of(log: &Path, bytes_max: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tail_is_the_end_and_never_more() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert!(tail(&log).contains("cannot be read"));
        std::fs::write(&log, "").unwrap();
        assert_eq!(tail(&log), "    (empty)");
        let lines: Vec<String> = (0..5_000).map(|number| format!("line {number}")).collect();
        std::fs::write(&log, lines.join("\n") + "\n\n").unwrap();
        let told = tail(&log);
        assert_eq!(told.lines().count(), TAIL_LINES);
        assert!(told.starts_with("    line 4985\n") && told.ends_with("    line 4999"), "{told}");
        std::fs::write(&log, "ü".repeat(10_000)).unwrap();
        assert!(tail(&log).len() as u64 <= TAIL_BYTES + 8);
    }
}
