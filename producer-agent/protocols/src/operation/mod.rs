//! Names of operations: paths with their identifiers taken out, and a bound on how many there are.
//!
//! In: methods and paths as they were sent, and whose they are. Out: names such as `GET /users/{id}`, few enough to count by. What a path
//! looks like without its identifiers says `template.rs`, which names are taken says `table.rs`.

mod table;
mod template;

pub use table::{Bounds, Counts, Operations};
pub use template::IDENTIFIER;

/// Stands for all operations beyond the bounds.
pub const OTHER: &str = "{other}";
/// Stands for an operation, a method or a path that was sent where it could not be seen.
pub const UNKNOWN: &str = "unknown";

/// What a request asked for, and how that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// What else tells the operation apart, as it is; empty if nothing does.
    pub named: &'a str,
    /// The server did what was asked: the path is one that it knows.
    pub succeeded: bool,
    /// Any clock that does not run back.
    pub at_ns: u64,
}

/// What a request asks for, without its identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'a> {
    /// `METHOD path`, without a path the method alone, with what it is named by behind it; or [`OTHER`] beyond the bounds.
    pub name: &'a str,
    /// The path with placeholders for its identifiers.
    pub path: &'a str,
}

/// A topic without its identifiers: as a path, of which it has no first `/`.
pub(crate) fn topic(topic: &str) -> String {
    let mut name = String::new();
    template::push(&mut name, &format!("/{topic}"));
    name.split_off(1)
}

/// A name of words between dots without its identifiers, likewise.
pub(crate) fn dotted(name: &str) -> String {
    topic(&name.replace('.', "/")).replace('/', ".")
}
