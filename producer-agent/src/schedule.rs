//! What the agent does beside draining the ring buffer, and when.
//!
//! In: the time, and what was done. Out: the duties that are due, in the order in which a turn does them. Promise: a duty that is due is
//! named in every turn until it is done or put off for a moment, however much arrives. Pure: no clock of its own.

use std::time::{Duration, Instant};

/// The walk over all sockets comes so long before the end of an interval, so that what a connection did in a window is
/// counted in that window.
const WALK_LEAD_US: i64 = 250_000;

/// Runs of the probes that have begun in a second are over so long behind it.
const SUMS_LAG_US: i64 = 50_000;

const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// What cannot be done now is tried again after this: what is said of progress waits for minutes where Kafka takes nothing, and turns without a pause
/// would take a whole processor meanwhile.
const AGAIN: Duration = Duration::from_millis(20);

/// Something to do at an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Measure the time of day anew.
    Clock,
    /// Begin to walk over all sockets.
    Walk,
    /// Take what the probes have added up in the second before.
    Sums,
    /// Say up to when the records are complete.
    Progress,
    /// Say how the agent is.
    Heartbeat,
}

/// One moment, as both clocks tell it.
#[derive(Debug, Clone, Copy)]
pub struct At {
    pub now: Instant,
    /// Microseconds since the epoch.
    pub day_us: i64,
}

/// When each duty is due next.
#[derive(Debug)]
pub struct Schedule {
    flows_interval: Duration,
    progress_interval: Duration,
    walk_at_us: i64,
    sums_at_us: i64,
    clock_at: Instant,
    progress_at: Instant,
    heartbeat_at: Instant,
}

impl Schedule {
    /// A heartbeat is due at once, everything else after its interval.
    pub fn new(flows_interval: Duration, progress_interval: Duration, at: At) -> Schedule {
        Schedule {
            flows_interval,
            progress_interval,
            walk_at_us: next_walk(at.day_us, flows_interval),
            sums_at_us: next_sums(at.day_us),
            clock_at: at.now + CLOCK_INTERVAL,
            progress_at: at.now + progress_interval,
            heartbeat_at: at.now,
        }
    }

    /// What is due, each once, in the order in which it is to be done.
    pub fn due(&self, at: At) -> impl Iterator<Item = Duty> + use<> {
        [
            (Duty::Clock, at.now >= self.clock_at),
            (Duty::Walk, at.day_us >= self.walk_at_us),
            (Duty::Sums, at.day_us >= self.sums_at_us),
            (Duty::Progress, at.now >= self.progress_at),
            (Duty::Heartbeat, at.now >= self.heartbeat_at),
        ]
        .into_iter()
        .filter_map(|(duty, is_due)| is_due.then_some(duty))
    }

    /// A duty was done; it is due again an interval later. What was missed meanwhile is not made up for.
    pub fn done(&mut self, duty: Duty, at: At) {
        match duty {
            Duty::Clock => self.clock_at = at.now + CLOCK_INTERVAL,
            Duty::Walk => self.walk_at_us = next_walk(at.day_us, self.flows_interval),
            Duty::Sums => self.sums_at_us = next_sums(at.day_us),
            Duty::Progress => self.progress_at = at.now + self.progress_interval,
            Duty::Heartbeat => self.heartbeat_at = at.now + HEARTBEAT_INTERVAL,
        }
    }

    /// A duty could not be done; it is due again in a moment.
    pub fn put_off(&mut self, duty: Duty, at: At) {
        self.hasten(duty, At { now: at.now + AGAIN, day_us: at.day_us + AGAIN.as_micros() as i64 });
    }

    /// A duty is due at once.
    pub fn hasten(&mut self, duty: Duty, at: At) {
        match duty {
            Duty::Clock => self.clock_at = at.now,
            Duty::Walk => self.walk_at_us = at.day_us,
            Duty::Sums => self.sums_at_us = at.day_us,
            Duty::Progress => self.progress_at = at.now,
            Duty::Heartbeat => self.heartbeat_at = at.now,
        }
    }

    /// How long there is nothing to do, at most `most`.
    pub fn pause(&self, at: At, most: Duration) -> Duration {
        let until = |instant: Instant| instant.saturating_duration_since(at.now);
        let until_day = |day_us: i64| Duration::from_micros((day_us - at.day_us).max(0).unsigned_abs());
        let (walk, sums) = (until_day(self.walk_at_us), until_day(self.sums_at_us));
        let next = [until(self.clock_at), walk, sums, until(self.progress_at), until(self.heartbeat_at)];
        next.into_iter().fold(most, Duration::min)
    }
}

/// Up to when everything that the probes saw has been drained.
#[derive(Debug)]
pub struct Progress {
    complete_to_ns: u64,
}

impl Progress {
    /// Nothing came before the capture.
    pub fn new(capture_began_ns: u64) -> Progress {
        Progress { complete_to_ns: capture_began_ns }
    }

    /// The ring buffer was drained from `began_ns` on. What was left in it, if it was not emptied, is no older than the newest that was
    /// taken out, since it keeps the order, but for the time that a probe takes from its look at the clock to its place in the buffer.
    pub fn drained(&mut self, began_ns: u64, newest_ns: u64, is_empty: bool) {
        let complete_to_ns = if is_empty { began_ns } else { newest_ns.min(began_ns) };
        self.complete_to_ns = self.complete_to_ns.max(complete_to_ns);
    }

    /// CLOCK_MONOTONIC.
    pub fn complete_to_ns(&self) -> u64 {
        self.complete_to_ns
    }
}

/// When to walk next: shortly before a multiple of the interval, which is also where windows end.
fn next_walk(day_us: i64, interval: Duration) -> i64 {
    let interval_us = interval.as_micros() as i64;
    ((day_us + WALK_LEAD_US).div_euclid(interval_us) + 1) * interval_us - WALK_LEAD_US
}

/// When to take sums next: when the second's last exchanges have been added.
fn next_sums(day_us: i64) -> i64 {
    ((day_us - SUMS_LAG_US).div_euclid(1_000_000) + 1) * 1_000_000 + SUMS_LAG_US
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOWS: Duration = Duration::from_secs(10);
    const WATERMARK: Duration = Duration::from_secs(1);

    #[test]
    fn walks_come_just_before_the_end_of_each_interval() {
        assert_eq!(next_walk(0, FLOWS), 10_000_000 - WALK_LEAD_US);
        assert_eq!(next_walk(10_000_000 - WALK_LEAD_US - 1, FLOWS), 10_000_000 - WALK_LEAD_US);
        assert_eq!(next_walk(10_000_000 - WALK_LEAD_US, FLOWS), 20_000_000 - WALK_LEAD_US);
    }

    #[test]
    fn every_duty_comes_in_its_turn_however_long_the_turns_are() {
        let start = Instant::now();
        let at = |ms: u64| At { now: start + Duration::from_millis(ms), day_us: (ms * 1000).cast_signed() };
        for turn_ms in [7, 50, 400, 2_500] {
            let mut schedule = Schedule::new(FLOWS, WATERMARK, at(0));
            let mut counts = [0_u64; 5];
            for turn in 0..60_000 / turn_ms {
                let at = at(turn * turn_ms);
                for duty in schedule.due(at) {
                    counts[duty as usize] += 1;
                    schedule.done(duty, at);
                }
            }
            let [clocks, walks, sums, progress, heartbeats] = counts;
            assert!((5..=6).contains(&clocks) && (5..=6).contains(&walks), "{counts:?} with turns of {turn_ms} ms");
            let most = 60_000 / (1_000_u64.div_ceil(turn_ms) * turn_ms);
            assert!((most - 1..=most).contains(&progress), "{counts:?} with turns of {turn_ms} ms");
            assert!((most - 1..=60).contains(&sums), "{counts:?} with turns of {turn_ms} ms");
            assert!((8..=12).contains(&heartbeats), "{counts:?} with turns of {turn_ms} ms");
        }
    }

    #[test]
    fn what_was_not_done_stays_due_and_what_was_missed_is_not_made_up_for() {
        let start = Instant::now();
        // The time of day stands still, far from what is done by it.
        let at = |ms: u64| At { now: start + Duration::from_millis(ms), day_us: 60_000 };
        let mut schedule = Schedule::new(FLOWS, WATERMARK, at(0));
        schedule.done(Duty::Heartbeat, at(0));
        assert_eq!(schedule.due(at(999)).count(), 0);
        assert_eq!(schedule.pause(at(700), Duration::from_secs(9)), Duration::from_millis(300));
        assert_eq!(schedule.pause(at(700), Duration::from_millis(50)), Duration::from_millis(50));
        for ms in [1_000, 3_000, 4_999] {
            assert_eq!(schedule.due(at(ms)).collect::<Vec<_>>(), [Duty::Progress]);
            assert_eq!(schedule.pause(at(ms), Duration::from_secs(9)), Duration::ZERO);
        }
        schedule.done(Duty::Progress, at(4_000));
        assert_eq!(schedule.due(at(4_999)).count(), 0);
        schedule.hasten(Duty::Clock, at(4_999));
        assert_eq!(schedule.due(at(4_999)).collect::<Vec<_>>(), [Duty::Clock]);
        schedule.done(Duty::Clock, at(4_999));
        assert_eq!(schedule.due(at(5_000)).collect::<Vec<_>>(), [Duty::Progress, Duty::Heartbeat]);
    }

    #[test]
    fn between_two_tries_of_what_cannot_be_done_is_a_pause() {
        let start = Instant::now();
        let at = |ms: u64| At { now: start + Duration::from_millis(ms), day_us: (ms * 1000).cast_signed() };
        for (duty, first_ms) in [(Duty::Progress, 1_000), (Duty::Walk, 9_750), (Duty::Heartbeat, 0)] {
            let mut schedule = Schedule::new(FLOWS, WATERMARK, at(0));
            let (mut ms, mut tries) = (0, 0);
            while ms < 10_000 {
                for due in schedule.due(at(ms)) {
                    if due == duty {
                        tries += 1;
                        schedule.put_off(due, at(ms));
                    } else {
                        schedule.done(due, at(ms));
                    }
                }
                let pause = schedule.pause(at(ms), Duration::from_millis(50));
                assert!(pause >= Duration::from_millis(1), "no pause at {ms} ms where {duty:?} cannot be done");
                ms += pause.as_millis() as u64;
            }
            assert_eq!(tries, (10_000_u64 - first_ms).div_ceil(AGAIN.as_millis() as u64), "{duty:?}");
        }
    }

    #[test]
    fn what_is_left_in_the_ring_buffer_holds_progress_back() {
        let mut progress = Progress::new(100);
        progress.drained(500, 480, true);
        assert_eq!(progress.complete_to_ns(), 500, "all was taken out that was there at the beginning");
        progress.drained(900, 620, false);
        assert_eq!(progress.complete_to_ns(), 620, "the next one may be as old as the last one");
        progress.drained(1_000, 0, false);
        assert_eq!(progress.complete_to_ns(), 620, "time does not run back");
        progress.drained(1_200, 1_900, false);
        assert_eq!(progress.complete_to_ns(), 1_200, "what came while it was drained says nothing of what comes after");
        progress.drained(1_300, 0, true);
        assert_eq!(progress.complete_to_ns(), 1_300);
    }
}
