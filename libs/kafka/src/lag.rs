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
    /// How reading each assigned partition stands, in librdkafka's words.
    pub readings: BTreeMap<TopicPartition, Reading>,
}

/// How reading a partition stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// What librdkafka does with it: `active` is the one state in which it asks for records.
    pub fetch_state: String,
    /// The broker that is asked, and the one that leads, as far as is known.
    pub broker: i32,
    pub leader: i32,
    /// The next offset to ask for, and the one behind the last record that was handed out; negative while there is none.
    pub next_offset: i64,
    pub app_offset: i64,
    /// The end of what readers of committed records may see, and of all, as of the last answer.
    pub stable_end: i64,
    pub end: i64,
    /// Records that wait to be handed out.
    pub queued: i64,
}

impl MemberState {
    pub(crate) fn of(statistics: &Statistics) -> MemberState {
        let group = statistics.cgrp.as_ref();
        let is_member = group.is_some_and(|group| group.state == "up" && group.join_state == "steady");
        let (mut lag_records, mut readings) = (BTreeMap::new(), BTreeMap::new());
        for (name, topic) in &statistics.topics {
            for (number, at) in topic.partitions.iter().filter(|(_, at)| at.desired) {
                let reading = Reading {
                    fetch_state: at.fetch_state.clone(),
                    broker: at.broker,
                    leader: at.leader,
                    next_offset: at.next_offset,
                    app_offset: at.app_offset,
                    stable_end: at.ls_offset,
                    end: at.hi_offset,
                    queued: at.fetchq_cnt,
                };
                readings.insert(TopicPartition::new(name, Partition(*number)), reading);
                // Before the first answer to a fetch these are below 0. What waits in the queue is fetched, and not read.
                if at.hi_offset >= 0 && at.next_offset >= 0 {
                    let unread = (at.hi_offset - at.next_offset).max(0) + at.fetchq_cnt.max(0);
                    lag_records.insert(TopicPartition::new(name, Partition(*number)), unread as u64);
                }
            }
        }
        MemberState { is_member, lag_records, readings }
    }
}
