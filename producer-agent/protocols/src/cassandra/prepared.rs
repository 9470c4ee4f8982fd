//! Prepared statements by their ids.
//!
//! A server gives an id, and it stands for the statement on the connection that prepared it. Cassandra's ids are the MD5 sum of the statement, with the
//! keyspace before it unless the statement names its own (`QueryProcessor.computeId`). Where that is seen to hold, the id stands for the statement
//! everywhere, and other connections of the workload learn it.

use std::sync::Arc;

use md5::{Digest, Md5};

use crate::known::{Id, Known};
use crate::statements::{self, Names, Operation};

/// What a client prepares.
#[derive(Clone, Debug)]
pub struct Prepares {
    pub operation: Arc<str>,
    /// The ids that it has if they are checksums; None if not all of the statement was captured.
    checksums: Option<[[u8; 16]; 2]>,
}

impl Prepares {
    /// `text`: the whole statement, if it is here.
    pub fn of(operation: Arc<str>, text: Option<&[u8]>, keyspace: &[u8]) -> Self {
        let checksum = |keyspace, text| Md5::new().chain_update(keyspace).chain_update(text).finalize().into();
        Self { operation, checksums: text.map(|text| [checksum(keyspace, text), checksum(&[][..], text)]) }
    }
}

/// The statements that are known.
#[derive(Debug)]
pub struct Prepared {
    own: Names,
    /// With other connections.
    pub known: Known,
}

impl Prepared {
    pub fn new(statements_max: u32, known: Known) -> Self {
        Self { own: Names::new(statements_max), known }
    }

    /// A server has given an id.
    pub fn learn(&mut self, id: &[u8], prepares: Option<&Prepares>) {
        self.own.insert(&statements::name_of(id), prepares.map(|prepares| Arc::clone(&prepares.operation)));
        let Some((prepares, id)) = prepares.zip(<[u8; 16]>::try_from(id).ok()) else { return };
        if prepares.checksums.is_some_and(|checksums| checksums.contains(&id)) {
            self.known.learn(Id::Statement(id), &prepares.operation);
        }
    }

    pub fn get(&mut self, id: &[u8]) -> Operation {
        self.own.get(id).or_else(|| self.known.get(Id::Statement(id.try_into().ok()?)))
    }

    pub fn clear(&mut self) {
        self.own.clear();
    }

    pub fn heap_bytes(&self) -> usize {
        self.own.heap_bytes()
    }
}
