//! Names of queues, exchanges, and where messages go.

use super::methods::Arguments;
use crate::operation;
use crate::resource::BYTES_MAX;

/// A name of words between dots, without its identifiers.
pub(super) fn dotted(name: &[u8]) -> Box<str> {
    bounded(operation::dotted(&String::from_utf8_lossy(name)))
}

/// The exchange and the routing key, of which one may be empty.
pub(super) fn destination(arguments: &Arguments<'_>) -> Box<str> {
    let [Some(exchange), Some(key)] = arguments.names else { return Box::default() };
    match (exchange, key) {
        (b"", name) | (name, b"") => dotted(name),
        (exchange, key) => bounded(format!("{}:{}", dotted(exchange), dotted(key))),
    }
}

fn bounded(mut name: String) -> Box<str> {
    name.truncate(name.floor_char_boundary(BYTES_MAX));
    name.into()
}
