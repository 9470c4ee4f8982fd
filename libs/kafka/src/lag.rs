//! What librdkafka's statistics say of a group member: whether it is one, and how much of its partitions is still to be read.

use std::collections::BTreeMap;

use rdkafka::statistics::Statistics;

use crate::{Partition, TopicPartition};

/// How often the statistics come.
pub const INTERVAL_MS: &str = "1000";

/// A member's state as of the newest statistics, which are at most about a second old while it is polled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberState {
    /// Its group has given it what it is to read, which may be nothing.
    pub is_member: bool,
    /// Records behind the high watermark that have not come out of [`GroupMember::poll`](crate::GroupMember::poll) yet, for
    /// each assigned partition that was fetched from; while it is held back, as of when it was fetched last. A marker of a transaction counts as a record until it was fetched.
    pub lag_records: BTreeMap<TopicPartition, u64>,
}

impl MemberState {
    pub(crate) fn of(statistics: &Statistics) -> MemberState {
        let group = statistics.cgrp.as_ref();
        let is_member = group.is_some_and(|group| group.state == "up" && group.join_state == "steady");
        let mut lag_records = BTreeMap::new();
        for (name, topic) in &statistics.topics {
            for (number, at) in topic.partitions.iter().filter(|(_, at)| at.desired) {
                // Before the first answer to a fetch these are below 0. What waits in the queue is fetched, and not read.
                if at.hi_offset >= 0 && at.next_offset >= 0 {
                    let unread = (at.hi_offset - at.next_offset).max(0) + at.fetchq_cnt.max(0);
                    lag_records.insert(TopicPartition::new(name, Partition(*number)), unread as u64);
                }
            }
        }
        MemberState { is_member, lag_records }
    }
}
