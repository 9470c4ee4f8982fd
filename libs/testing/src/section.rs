//! Sections of documents that a program's own tables make.

use std::path::Path;
use std::{env, fs};

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
