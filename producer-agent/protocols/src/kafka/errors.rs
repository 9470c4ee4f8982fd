//! Whose fault an error is, by its number.

use crate::{Code, Outcome};

/// What became of an exchange of which these errors are known. The first of the worst kind is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors {
    /// Whose fault, and the error.
    worst: Option<(Fault, i16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// It is to be asked elsewhere or again in another way, which is how Kafka works.
    Nobody,
    Client,
    Server,
}

impl Errors {
    pub fn add(&mut self, code: i16) {
        let fault = fault(code);
        if code != 0 && self.worst.is_none_or(|(worst, _)| fault > worst) {
            self.worst = Some((fault, code));
        }
    }

    /// Where not all of them were seen, what was seen without an error is unknown.
    pub fn outcome(self, seen_all: bool) -> (Outcome, Code) {
        match self.worst {
            Some((Fault::Server, code)) => (Outcome::ServerError, number(code)),
            Some((Fault::Client, code)) => (Outcome::ClientError, number(code)),
            _ if !seen_all => (Outcome::Unknown, Code::default()),
            Some((Fault::Nobody, code)) => (Outcome::Ok, number(code)),
            None => (Outcome::Ok, Code::default()),
        }
    }
}

fn fault(code: i16) -> Fault {
    match code {
        // Not the leader, coordinator or controller (any more); a rebalance is under way; a member gets its id first; sessions, epochs and
        // versions that are to be begun anew.
        6 | 16 | 27 | 35 | 41 | 70 | 71 | 74 | 75 | 79 | 106 | 108 | 122 | 123 | 129 => Fault::Nobody,
        // Unknown, not available, timed out, loading, too few replicas, broken or unknown storage.
        -1 | 5 | 7..=9 | 13..=15 | 19 | 20 | 52 | 56 | 57 | 78 | 80 | 83 | 97 => Fault::Server,
        _ => Fault::Client,
    }
}

fn number(code: i16) -> Code {
    Code::new(code.to_string().as_bytes())
}
