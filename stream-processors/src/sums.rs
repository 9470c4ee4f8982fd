//! What is added up for an edge or an operation in a window: the same numbers in the join and in the merge.
//!
//! Integers that stop at their maximum, and histograms: any order and any grouping of the additions gives the same bits.

use std::collections::BTreeMap;

use headwater_histogram::Histogram;
use headwater_schemas::asked::Asked;
use headwater_schemas::encryption::Encryptions;
use headwater_schemas::records::{Edge, Latency, Partial};

use crate::processor::BadInput;

/// The most that a sum in a partial record may be.
const SUM_MAX: i64 = i64::MAX / 2;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sum {
    pub requests: i64,
    pub errors: i64,
    pub both_sides: i64,
    pub request_bytes: i64,
    pub response_bytes: i64,
    pub duration_ns: Histogram,
    pub server_duration_ns: Histogram,
    pub client_to_server_bytes: i64,
    pub server_to_client_bytes: i64,
    pub connections_opened: i64,
    pub connections_closed: i64,
    pub connections_failed: i64,
    pub retransmits: i64,
    pub rtt_us_sum: i64,
    pub rtt_count: i64,
    pub asked: Asked,
    pub encryption: Encryptions,
}

fn asked(addresses: &[String]) -> Result<Asked, BadInput> {
    Asked::of(addresses).ok_or_else(|| BadInput("asked holds what are no addresses".into()))
}

fn encryption(counts: &BTreeMap<String, i64>) -> Result<Encryptions, BadInput> {
    Encryptions::of(counts).ok_or_else(|| BadInput("encryption holds what are no counts of connections".into()))
}

/// Adds to a sum that stops at its maximum.
pub fn add(sum: &mut i64, value: i64) {
    *sum = sum.saturating_add(value);
}

impl Sum {
    /// The sums of a partial record.
    ///
    /// # Errors
    /// If they cannot be those of any requests and connections.
    pub fn of(partial: Partial) -> Result<Sum, BadInput> {
        let sum = Sum {
            requests: partial.requests,
            errors: partial.errors,
            both_sides: partial.both_sides,
            request_bytes: partial.request_bytes,
            response_bytes: partial.response_bytes,
            duration_ns: partial.duration_ns,
            server_duration_ns: partial.server_duration_ns,
            client_to_server_bytes: partial.client_to_server_bytes,
            server_to_client_bytes: partial.server_to_client_bytes,
            connections_opened: partial.connections_opened,
            connections_closed: partial.connections_closed,
            connections_failed: partial.connections_failed,
            retransmits: partial.retransmits,
            rtt_us_sum: partial.rtt_us_sum,
            rtt_count: partial.rtt_count,
            asked: asked(&partial.asked)?,
            encryption: encryption(&partial.encryption)?,
        };
        sum.checked()
    }

    /// The sums of an edge. Its mean of round-trip times counts once, as a whole number.
    ///
    /// # Errors
    /// As [`Sum::of`].
    pub fn of_edge(edge: &Edge) -> Result<Sum, BadInput> {
        let has_rtt = edge.rtt_us.is_finite() && edge.rtt_us >= 0.0;
        let sum = Sum {
            requests: edge.requests,
            errors: edge.errors,
            both_sides: edge.both_sides,
            request_bytes: edge.request_bytes,
            response_bytes: edge.response_bytes,
            duration_ns: edge.duration_ns.clone(),
            server_duration_ns: edge.server_duration_ns.clone(),
            client_to_server_bytes: edge.client_to_server_bytes,
            server_to_client_bytes: edge.server_to_client_bytes,
            connections_opened: edge.connections_opened,
            connections_closed: edge.connections_closed,
            connections_failed: edge.connections_failed,
            retransmits: edge.retransmits,
            rtt_us_sum: if has_rtt { edge.rtt_us.round() as i64 } else { 0 },
            rtt_count: i64::from(has_rtt),
            asked: asked(&edge.asked)?,
            encryption: encryption(&edge.encryption)?,
        };
        sum.checked()
    }

    /// The sums of an operation.
    ///
    /// # Errors
    /// As [`Sum::of`].
    pub fn of_latency(latency: &Latency) -> Result<Sum, BadInput> {
        let sum = Sum {
            requests: latency.requests,
            errors: latency.errors,
            duration_ns: latency.duration_ns.clone(),
            server_duration_ns: latency.server_duration_ns.clone(),
            ..Sum::default()
        };
        sum.checked()
    }

    fn checked(self) -> Result<Sum, BadInput> {
        let sum = self;
        if let Some(bad) = sum.integers().into_iter().find(|value| !(0..=SUM_MAX).contains(value)) {
            return Err(BadInput(format!("a sum is {bad}, it must be from 0 to {SUM_MAX}")));
        }
        for histogram in [&sum.duration_ns, &sum.server_duration_ns] {
            histogram.check().map_err(|error| BadInput(error.to_string()))?;
        }
        Ok(sum)
    }

    /// Adds another sum, whose histograms are of the only scale that is let in.
    pub fn add(&mut self, other: &Sum) {
        let mine = self.integers_mut();
        for (sum, value) in mine.into_iter().zip(other.integers()) {
            add(sum, value);
        }
        self.asked.merge(&other.asked);
        self.encryption.merge(&other.encryption);
        for (sum, histogram) in
            [(&mut self.duration_ns, &other.duration_ns), (&mut self.server_duration_ns, &other.server_duration_ns)]
        {
            if let Err(error) = sum.merge(histogram) {
                tracing::error!(%error, "a histogram was let in that cannot be added");
            }
        }
    }

    fn integers(&self) -> [i64; 13] {
        [
            self.requests,
            self.errors,
            self.both_sides,
            self.request_bytes,
            self.response_bytes,
            self.client_to_server_bytes,
            self.server_to_client_bytes,
            self.connections_opened,
            self.connections_closed,
            self.connections_failed,
            self.retransmits,
            self.rtt_us_sum,
            self.rtt_count,
        ]
    }

    fn integers_mut(&mut self) -> [&mut i64; 13] {
        [
            &mut self.requests,
            &mut self.errors,
            &mut self.both_sides,
            &mut self.request_bytes,
            &mut self.response_bytes,
            &mut self.client_to_server_bytes,
            &mut self.server_to_client_bytes,
            &mut self.connections_opened,
            &mut self.connections_closed,
            &mut self.connections_failed,
            &mut self.retransmits,
            &mut self.rtt_us_sum,
            &mut self.rtt_count,
        ]
    }
}
