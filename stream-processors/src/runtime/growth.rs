//! Sees that partitions were added to a worker's topics, after which it has to begin again with all of them.
//!
//! In: how many partitions topics have now, asked for now and then. Out: what to say when it is time to begin again. A member with a name
//! gets what it was given last when it begins again, so of an input it first waits, for so long at most, until the group gives out anew.

use std::time::{Duration, Instant};

const COUNT_INTERVAL: Duration = Duration::from_secs(10);
const GIVEN_OUT_WITHIN: Duration = Duration::from_secs(45);

/// What is known of it.
pub struct Growth {
    topics: Vec<Known>,
    counted_at: Instant,
    grown: Option<Grown>,
}

struct Grown {
    since: Instant,
    is_input: bool,
    what: String,
}

/// A topic as it was at the start.
pub struct Known {
    pub name: String,
    pub partitions: i32,
    pub is_input: bool,
}

impl Growth {
    pub fn of(topics: Vec<Known>) -> Growth {
        Growth { topics, counted_at: Instant::now(), grown: None }
    }

    pub fn is_due(&self) -> bool {
        self.grown.is_none() && self.counted_at.elapsed() > COUNT_INTERVAL
    }

    /// Looks at all topics; `count` says how many partitions one has now, if the brokers tell.
    pub fn look(&mut self, count: impl Fn(&str) -> Option<usize>) {
        self.counted_at = Instant::now();
        let grown = self.topics.iter().filter_map(|Known { name, partitions, is_input }| {
            let now = count(name).filter(|now| *now > *partitions as usize)?;
            let what = format!("{name} has {now} partitions now, and had {partitions}");
            Some(Grown { since: Instant::now(), is_input: *is_input, what })
        });
        self.grown = grown.max_by_key(|grown| grown.is_input);
    }

    /// What has grown, if it is time to begin again. `has_new` says whether one of the new partitions is here already.
    pub fn told(&self, assigned_at: Instant, has_new: bool) -> Option<&str> {
        let grown = self.grown.as_ref()?;
        let waits = grown.is_input && !has_new && assigned_at < grown.since && grown.since.elapsed() < GIVEN_OUT_WITHIN;
        (!waits).then_some(grown.what.as_str())
    }
}
