//! What a client asked, and what each side is told to have seen of it: right, wrong, doubled and missing apart.
//!
//! An exchange is named by its client's port and by where it begins in what that client sent, which the client reads from its socket.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use headwater_kafka::KafkaSettings;
use serde::{Deserialize, Serialize};

use headwater_schemas::records::{Kind, Outcome, Side};

use crate::topics;

/// One request with its answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Asked {
    /// The client's port, which names its connection.
    pub port: u16,
    /// How many bytes the client sent before it.
    pub position: i64,
    pub operation: String,
    #[serde(default)]
    pub resource: String,
    pub kind: Kind,
    pub outcome: Outcome,
    pub code: String,
    pub request_bytes: i64,
    /// [`NOT_KNOWN`] where the client cannot tell.
    pub response_bytes: i64,
}

/// Bytes that a client could not count.
pub const NOT_KNOWN: i64 = -1;

impl Asked {
    /// The same, as far as the client knows.
    pub fn is_told_by(&self, told: &Asked) -> bool {
        let response_bytes = if self.response_bytes == NOT_KNOWN { told.response_bytes } else { self.response_bytes };
        Asked { response_bytes, ..self.clone() } == *told
    }

    /// The same, but for what is said to be unknown.
    fn is_told_in_part_by(&self, told: &Asked) -> bool {
        let Asked { operation, outcome, resource, .. } = self.clone();
        let mut told = told.clone();
        // Of `BATCH` with an unknown statement in it, that is told.
        let is_its_beginning = operation.strip_prefix(&told.operation).is_some_and(|rest| rest.starts_with(' '));
        if told.operation == "unknown" || is_its_beginning {
            told.operation = operation;
        }
        if told.resource.is_empty() {
            told.resource = resource;
        }
        if told.outcome == Outcome::Unknown {
            told.outcome = outcome;
        }
        self.is_told_by(&told)
    }
}

/// All that one side told, by connection and position.
pub type Told = BTreeMap<(u16, i64), Vec<Asked>>;

/// What both sides told: the client's, then the server's.
///
/// # Panics
/// If a record stands for several, is of another protocol or has what none of those has that are held against a server here: a path, a status.
pub fn told(settings: &KafkaSettings, protocol: &str) -> Result<[Told; 2]> {
    told_of(settings, protocol, |_, _| true)
}

/// The same of those connections that are meant, by the port of the client and the name, where others ask, too.
///
/// # Panics
/// As [`told`].
pub fn told_of(settings: &KafkaSettings, protocol: &str, is_meant: impl Fn(u16, &str) -> bool) -> Result<[Told; 2]> {
    let mut sides = [Told::new(), Told::new()];
    topics::each_request(settings, |request| {
        let is_server = request.side == Side::Server;
        let port = if is_server { request.remote_port } else { request.local_port } as u16;
        if !is_meant(port, request.connection_id) {
            return;
        }
        assert_eq!(
            (request.protocol, request.path, request.status, request.weight),
            (protocol, "", 0, 1),
            "{request:?}"
        );
        // Names of operations are of bounded number.
        assert!([request.method, "{other}"].contains(&request.operation), "{request:?}");
        sides[usize::from(is_server)].entry((port, request.request_position)).or_default().push(Asked {
            port,
            position: request.request_position,
            operation: request.method.to_owned(),
            resource: request.resource.to_owned(),
            kind: request.kind,
            outcome: request.outcome,
            code: request.code.to_owned(),
            request_bytes: request.request_bytes,
            response_bytes: request.response_bytes,
        });
    })?;
    Ok(sides)
}

/// How what was told compares with what was asked.
#[derive(Debug, Default)]
pub struct Account {
    pub right: usize,
    /// Right, but for an operation or an outcome that is told to be unknown.
    pub partly: usize,
    /// Told otherwise, or told though nobody asked.
    pub wrong: Vec<String>,
    pub doubled: usize,
    pub missing: Vec<Asked>,
}

impl Account {
    /// Of all that was told: what was not asked is wrong.
    pub fn of(asked: &[Asked], told: &Told) -> Account {
        let mut account = Account::default();
        let places: BTreeMap<(u16, i64), &Asked> =
            asked.iter().map(|asked| ((asked.port, asked.position), asked)).collect();
        for (place, asked) in &places {
            match told.get(place).map(Vec::as_slice) {
                None => account.missing.push((*asked).clone()),
                Some([told]) if asked.is_told_by(told) => account.right += 1,
                Some([told]) if asked.is_told_in_part_by(told) => account.partly += 1,
                Some([told]) => account.wrong.push(format!("{asked:?} was told of as {told:?}")),
                Some(_) => account.doubled += 1,
            }
        }
        for (place, told) in told {
            if !places.contains_key(place) {
                account.wrong.push(format!("nobody asked {told:?}"));
            }
        }
        account
    }

    /// Each was told of once and as it was.
    pub fn is_exact(&self, asked: usize) -> bool {
        self.right == asked && self.wrong.is_empty() && self.doubled == 0 && self.missing.is_empty()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { right, partly, wrong, doubled, missing } = self;
        write!(
            out,
            "{right} right, {partly} in part, {} wrong, {doubled} doubled, {} missing",
            wrong.len(),
            missing.len()
        )?;
        wrong.iter().take(3).try_for_each(|wrong| write!(out, "; {wrong}"))
    }
}
