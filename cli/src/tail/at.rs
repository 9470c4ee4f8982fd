//! Records at places that are known, such as those that an alert names as its evidence.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use headwater_kafka::{Offset, Partition, TopicPartition};

/// `PARTITION:OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub partition: i32,
    pub offset: i64,
}

impl Spot {
    pub fn parse(text: &str) -> Result<Spot, String> {
        let parsed = text.split_once(':').and_then(|(partition, offset)| {
            Some(Spot { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
        });
        let spot = parsed.filter(|spot| spot.partition >= 0 && spot.offset >= 0);
        spot.ok_or_else(|| "it must be PARTITION:OFFSET, as in 0:1234".to_owned())
    }
}

/// The places that are still to be read.
#[derive(Debug)]
pub struct Wanted {
    left: BTreeMap<i32, BTreeSet<i64>>,
    passed: Vec<Spot>,
}

impl Wanted {
    pub fn of(spots: &[Spot]) -> Wanted {
        let mut left: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
        for spot in spots {
            left.entry(spot.partition).or_default().insert(spot.offset);
        }
        Wanted { left, passed: Vec::new() }
    }

    /// Where to start reading.
    pub fn starts(&self, topic: &str) -> Vec<(TopicPartition, Offset)> {
        let first = |(partition, offsets): (&i32, &BTreeSet<i64>)| {
            Some((TopicPartition::new(topic, Partition(*partition)), Offset(*offsets.first()?)))
        };
        self.left.iter().filter_map(first).collect()
    }

    /// A record was read: whether it is one of them. What comes before it in its partition will not come any more.
    pub fn take(&mut self, partition: i32, offset: i64) -> bool {
        let Some(offsets) = self.left.get_mut(&partition) else { return false };
        let later = offsets.split_off(&offset);
        self.passed.extend(offsets.iter().map(|offset| Spot { partition, offset: *offset }));
        *offsets = later;
        let is_wanted = offsets.remove(&offset);
        if offsets.is_empty() {
            self.left.remove(&partition);
        }
        is_wanted
    }

    /// A partition has no more.
    pub fn end(&mut self, partition: i32) {
        let offsets = self.left.remove(&partition).unwrap_or_default();
        self.passed.extend(offsets.into_iter().map(|offset| Spot { partition, offset }));
    }

    pub fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// # Errors
    /// If some of them are not there.
    pub fn check(&self, topic: &str) -> Result<()> {
        let Some(Spot { partition, offset }) = self.passed.first() else { return Ok(()) };
        let more = match self.passed.len() - 1 {
            0 => String::new(),
            more => format!(", nor at {more} other places"),
        };
        bail!(
            "there is no record in {topic} partition {partition} at offset {offset}{more}: it is not kept any more, or not written yet; \
             `headwater topics` tells what is there"
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_read() {
        assert_eq!(Spot::parse("0:12"), Ok(Spot { partition: 0, offset: 12 }));
        for text in ["12", "0:", "a:1", "-1:1", "0:-1"] {
            assert!(Spot::parse(text).unwrap_err().contains("PARTITION:OFFSET"), "{text}");
        }
    }

    #[test]
    fn what_is_passed_over_is_not_there() {
        let spots = [(0, 5), (0, 9), (1, 3)].map(|(partition, offset)| Spot { partition, offset });
        let mut wanted = Wanted::of(&spots);
        let starts: Vec<_> = wanted.starts("t").into_iter().map(|(at, offset)| (at.partition.0, offset.0)).collect();
        assert_eq!(starts, [(0, 5), (1, 3)]);
        assert!(!wanted.take(0, 6), "a record that nobody wants");
        assert!(wanted.take(0, 9) && !wanted.is_done());
        wanted.end(1);
        assert!(wanted.is_done());
        let error = wanted.check("t").unwrap_err().to_string();
        assert!(error.contains("t partition 0 at offset 5, nor at 1 other"), "{error}");
        let mut wanted = Wanted::of(&spots[..1]);
        assert!(wanted.take(0, 5) && wanted.is_done());
        wanted.check("t").unwrap();
    }
}
