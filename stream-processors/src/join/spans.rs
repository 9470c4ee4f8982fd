//! Which times the watermarks of one node cover, and with which of its records.
//!
//! In: times in the order in which they were told. Out: how complete a window is of the node, and what is missing. Watermarks in a row that say
//! nothing that a window would want to know of each are one span.

use headwater_schemas::place::Offset;
use headwater_schemas::records::{Dropped, Missing, NO_DATA};
use serde::{Deserialize, Serialize};

use crate::windows::Windows;

/// What watermarks cover: one, or some in a row that say nothing that a window would want to know of each.
#[derive(Serialize, Deserialize)]
pub struct Span {
    /// Of the last one.
    pub offset: Offset,
    /// From where on the log must be read to understand it the same again. It counts from the watermark before it on only if the
    /// node was not gone between the two, and how long it was silent is known only if time is counted from when that one was heard.
    pub needed_from: Offset,
    /// The same for the last one alone, which is all that is needed of a time that is over.
    pub last_needed_from: Offset,
    /// When this run of the agent began.
    pub started_us: i64,
    pub from_us: i64,
    pub to_us: i64,
    pub published: i64,
    pub dropped: Vec<Dropped>,
    pub partitions: Option<i32>,
}

/// Among how many partitions the node spread what it tells of this time, in the end.
pub fn partitions(spans: &[Span], start_us: i64, end_us: i64) -> Option<i32> {
    let spans = spans.iter().filter(|span| span.from_us < end_us && span.to_us > start_us);
    spans.filter_map(|span| span.partitions).max()
}

/// The share of a time that is covered, and of the records that it had, which of a node of this name came; and what is missing.
pub fn completeness(spans: &[Span], name: &str, start_us: i64, end_us: i64, missing: &mut Vec<Missing>) -> f64 {
    let mut covered: Vec<(i64, i64)> = spans
        .iter()
        .map(|span| (span.from_us.max(start_us), span.to_us.min(end_us)))
        .filter(|(from_us, to_us)| from_us < to_us)
        .collect();
    covered.sort_unstable();
    let (mut covered_us, mut reached_us) = (0, start_us);
    for (from_us, to_us) in covered {
        if from_us > reached_us {
            missing.push(no_data(name, reached_us, from_us));
        }
        covered_us += (to_us - from_us.max(reached_us)).max(0);
        reached_us = reached_us.max(to_us);
    }
    if reached_us < end_us {
        missing.push(no_data(name, reached_us, end_us));
    }
    let share = covered_us as f64 / (end_us - start_us) as f64;
    share * published_share(spans, name, start_us, end_us, missing)
}

/// The share of published records among all that the node had for the window.
fn published_share(spans: &[Span], name: &str, start_us: i64, end_us: i64, missing: &mut Vec<Missing>) -> f64 {
    let (mut published, mut dropped_count) = (0.0, 0);
    for span in spans {
        published += span.published as f64 * overlap(span.from_us, span.to_us, start_us, end_us);
        for dropped in &span.dropped {
            let share = overlap(dropped.from_us, dropped.to_us, start_us, end_us);
            if share == 0.0 || dropped.count == 0 {
                continue;
            }
            let count = (dropped.count as f64 * share).ceil() as i64;
            dropped_count += count;
            missing.push(Missing {
                node: name.to_owned(),
                reason: dropped.reason.clone(),
                count,
                from_us: dropped.from_us.max(start_us),
                to_us: dropped.to_us.min(end_us),
            });
        }
    }
    if dropped_count == 0 { 1.0 } else { published / (published + dropped_count as f64) }
}

impl Span {
    /// Whether the next one adds to the same window, and to no other, what one of both would add. That spares thousands of nodes most of their spans.
    pub fn goes_on_in(&self, next: &Span, windows: Windows) -> bool {
        let is_plain = |span: &Span| span.from_us < span.to_us && span.dropped.is_empty();
        is_plain(self)
            && is_plain(next)
            && self.to_us == next.from_us
            && self.partitions == next.partitions
            && windows.at(self.from_us) == windows.at(next.to_us - 1)
    }

    pub fn extend(&mut self, next: Span) {
        self.offset = next.offset;
        self.needed_from = self.needed_from.min(next.needed_from);
        self.last_needed_from = next.last_needed_from;
        self.started_us = self.started_us.min(next.started_us);
        self.to_us = next.to_us;
        self.published += next.published;
    }

    /// Until when it has anything to say.
    pub fn reaches_us(&self) -> i64 {
        self.dropped.iter().map(|dropped| dropped.to_us).fold(self.to_us, i64::max)
    }
}

/// The share of `from..to` that lies in the window. An instant lies in it whole or not at all.
fn overlap(from_us: i64, to_us: i64, start_us: i64, end_us: i64) -> f64 {
    if from_us == to_us {
        return if (start_us..end_us).contains(&from_us) { 1.0 } else { 0.0 };
    }
    (to_us.min(end_us) - from_us.max(start_us)).max(0) as f64 / (to_us - from_us) as f64
}

pub fn no_data(node: &str, from_us: i64, to_us: i64) -> Missing {
    missing(node, NO_DATA, from_us, to_us)
}

pub fn missing(node: &str, reason: &str, from_us: i64, to_us: i64) -> Missing {
    Missing { node: node.to_owned(), reason: reason.to_owned(), count: 0, from_us, to_us }
}
