//! What the tests of several packages share. Only `[dev-dependencies]` name it; no program is built with it.
#![deny(missing_docs)]

use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer; none if there is none in this time.
pub fn wait_for<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Fails if the section of a generated document is not what the program says today; with `UPDATE_DOCS=1` it writes the section.
///
/// `file` is relative to the root of the repository. The section goes from the line `## TITLE` to the next one of its kind.
///
/// # Panics
/// If it is out of date, or the file or the section is not there.
pub fn assert_section(file: &str, title: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {file}: {error}"));
    let head = format!("## {title}\n");
    let Some((before, rest)) = text.split_once(&head) else { panic!("{file} has no section {title}") };
    let (found, after) = rest.find("\n## ").map_or((rest, ""), |end| rest.split_at(end));
    if found.trim() == wanted.trim() {
        return;
    }
    assert!(
        env::var_os("UPDATE_DOCS").is_some(),
        "the section {title} of {file} is out of date: run this test with UPDATE_DOCS=1"
    );
    let text = format!("{before}{head}\n{}\n{after}", wanted.trim());
    fs::write(&path, text).unwrap_or_else(|error| panic!("write {file}: {error}"));
}
