//! Whose fault an error is, by its number (`src/mongo/base/error_codes.yml` of MongoDB's sources).

use crate::{Code, Outcome};

/// A name is taken for a code up to so many bytes; longer ones are told by their number.
const NAME_BYTES_MAX: usize = Code::BYTES_MAX;

/// What an error says: its number, and its name where that was said.
pub fn error(number: i64, name: Option<&[u8]>) -> (Outcome, Code) {
    let is_name =
        |name: &&[u8]| (1..=NAME_BYTES_MAX).contains(&name.len()) && name.iter().all(u8::is_ascii_alphanumeric);
    let code = match name.filter(is_name) {
        Some(name) => Code::new(name),
        None => Code::new(number.to_string().as_bytes()),
    };
    (outcome(number), code)
}

fn outcome(number: i64) -> Outcome {
    match number {
        // Another shard is to be asked, or the same with a newer version, which is how routers work.
        150 | 249 | 13388 => Outcome::Ok,
        // Broken, or no answer from another server; out of time, disk, memory or replicas; shutting down; no primary any more, or not yet.
        1 | 6 | 7 | 8 | 50 | 64 | 70 | 83 | 89 | 91 | 100 | 133 | 134 | 146 | 175 | 189 | 202 | 262 | 317 | 462
        | 9001 | 10058 | 10107 | 11600 | 11601 | 11602 | 13435 | 13436 | 14031 => Outcome::ServerError,
        _ => Outcome::ClientError,
    }
}
