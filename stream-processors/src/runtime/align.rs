//! Keeps the units of one process together while they catch up, so that no merge has to hold what one partition gave long before another.
//!
//! In: how far each unit has closed windows, and how much it has not read. Out: which units wait. What a unit gives does not depend on it.
//! Bound: no unit is further ahead of one that has something to read than [`AHEAD_WINDOWS_MAX`] and what it reads in a second. A unit that
//! has nothing to read, or reads nothing since one of its partitions does not come, is waited for by nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_kafka::{MemberState, Partition, TopicPartition};

use super::unit::Unit;

/// About as many windows as a merge holds of a system with thousands of edges.
const AHEAD_WINDOWS_MAX: i64 = 12;

/// So much is on its way at any time; who has less to read is not catching up.
const CATCHES_UP_ABOVE: u64 = 1000;

/// Who reads nothing for so long does not catch up.
const READS_WITHIN: Duration = Duration::from_secs(10);

/// How far one unit is.
#[derive(Debug, Clone, Copy)]
struct Reach {
    /// End of the last window that it closed; none before the first.
    closed_to_us: Option<i64>,
    unread_records: u64,
}

/// Tells each unit whether it has to wait for another.
pub fn align(units: &mut BTreeMap<Partition, Unit>, topics: &[String], state: &MemberState, window_us: i64) {
    let unread = |partition: Partition| -> u64 {
        let lag = |topic| state.lag_records.get(&TopicPartition::new(topic, partition)).copied().unwrap_or(0);
        topics.iter().map(lag).sum()
    };
    let reach = |(partition, unit): (&Partition, &Unit)| Reach {
        closed_to_us: unit.closed_to_us(),
        unread_records: if unit.read_at.elapsed() < READS_WITHIN { unread(*partition) } else { 0 },
    };
    let reaches: Vec<Reach> = units.iter().map(reach).collect();
    units.values_mut().zip(who_waits(&reaches, window_us)).for_each(|(unit, waits)| unit.waits = waits);
}

fn who_waits(units: &[Reach], window_us: i64) -> Vec<bool> {
    let catches_up = units.iter().filter(|unit| unit.unread_records > CATCHES_UP_ABOVE);
    let Some(slowest_us) = catches_up.filter_map(|unit| unit.closed_to_us).min() else {
        return vec![false; units.len()];
    };
    let most_us = slowest_us.saturating_add(window_us.saturating_mul(AHEAD_WINDOWS_MAX));
    units.iter().map(|unit| unit.closed_to_us.is_some_and(|closed_to_us| closed_to_us > most_us)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_US: i64 = 10_000_000;

    fn wait(units: &[(i64, u64)]) -> Vec<bool> {
        let reach = |&(window, unread_records): &(i64, u64)| {
            let closed_to_us = (window >= 0).then_some(window * WINDOW_US);
            Reach { closed_to_us, unread_records }
        };
        who_waits(&units.iter().map(reach).collect::<Vec<_>>(), WINDOW_US)
    }

    #[test]
    fn who_is_ahead_of_one_that_catches_up_waits_for_it() {
        assert_eq!(wait(&[(100, 50_000), (112, 50_000), (113, 50_000), (500, 0)]), [false, false, true, true]);
        assert_eq!(wait(&[(112, 50_000), (113, 50_000)]), [false, false]);
    }

    #[test]
    fn nobody_waits_for_one_that_has_nothing_to_read_or_has_not_begun() {
        assert_eq!(wait(&[(100, 0), (500, 50_000)]), [false, false]);
        assert_eq!(wait(&[(-1, 50_000), (500, 50_000)]), [false, false]);
        assert_eq!(wait(&[]), [false; 0]);
    }
}
