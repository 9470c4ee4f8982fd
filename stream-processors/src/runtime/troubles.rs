//! Tells people which node is in trouble: a warning now and then, and a metric.
//!
//! In: what the units found ([`NodeTrouble`]). Out: log and metric. Bounded: nodes beyond [`NODES_MAX`] are one, `unknown`, for the metric and
//! for how often a warning comes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use headwater_schemas::records::UNKNOWN;
use tracing::warn;

use crate::metrics;
use crate::processor::{NodeTrouble, Trouble};

const AGAIN_AFTER: Duration = Duration::from_secs(60);
const NODES_MAX: usize = 200;

/// What was told, and when.
#[derive(Default)]
pub struct Told(BTreeMap<(Trouble, String), Instant>);

impl Told {
    pub fn tell(&mut self, mode: &'static str, told: &NodeTrouble) {
        let NodeTrouble { node, trouble, count, most_us } = told;
        let mut key = (*trouble, node.clone());
        if self.0.len() >= NODES_MAX && !self.0.contains_key(&key) {
            key.1 = UNKNOWN.to_owned();
        }
        metrics::NODE_TROUBLES.add(&[mode, trouble.name(), &key.1], *count);
        if self.0.get(&key).is_some_and(|since| since.elapsed() < AGAIN_AFTER) {
            return;
        }
        self.0.insert(key, Instant::now());
        let seconds = most_us / 1_000_000;
        match trouble {
            Trouble::ClockAhead => warn!(
                node,
                seconds,
                "the clock of this node is ahead of the brokers' by so much beyond what is let pass; its records count at the time at \
                 which they came. Set its clock (NTP), or the brokers'"
            ),
            Trouble::Late => warn!(
                node,
                count,
                seconds,
                "records of this node came when their windows were closed, by at most so much: they count only where these windows are \
                 revised (docs/guarantees.md). Its agent was cut off from Kafka or stopped, or its clock is behind"
            ),
        }
    }
}
