//! The agent's pipeline, wired in one place:
//!
//! ```text
//! probes --ring buffer--> observer --records--> outlet --bounded queue--> Kafka
//!    \--counters, walk over sockets--/   |          \--ledger--> watermarks, heartbeats
//!                                  naming thread (names of workloads)
//! ```
//!
//! One thread does all of it in turn, without waiting for Kafka. It sleeps on the ring buffer, for a fixed time or until much
//! is waiting, so that a busy server is not interrupted for each of its requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_probe_loader::Probes;
use headwater_telemetry::Health;
use tracing::{info, warn};

use crate::clock::{Clock, monotonic_ns};
use crate::heartbeat::{self, About, Heartbeats, Moment};
use crate::ledger::{Ledger, Stream};
use crate::losses::Losses;
use crate::naming::{IdentityRecords, Naming};
use crate::observe::{Interest, Observer};
use crate::publish::Outlet;
use crate::settings::Settings;

/// Events taken from the ring buffer before anything else gets its turn.
const DRAIN_EVENTS_MAX: usize = 50_000;

/// Events older than this have left the probes: a program's run takes microseconds, and nothing interrupts it for long.
const SETTLED_NS: u64 = 50_000_000;

/// The walk over all sockets comes so long before the end of an interval, so that what a connection did in a window is
/// counted in that window.
const WALK_LEAD_US: i64 = 250_000;

const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// A turn takes milliseconds, a walk over all sockets of a large node some hundred.
const STALLS_AFTER: Duration = Duration::from_secs(60);
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// Runs until `stop` is set, then publishes what is left.
pub fn run(settings: &Settings, stop: &AtomicBool, health: &Health) -> Result<()> {
    let health = health.part("pipeline", STALLS_AFTER);
    let mut outlet = Outlet::open(settings)?;
    let mut probes = Probes::load(&settings.capture).context("load the probes")?;
    let mut interests = probes.take_interests().context("say what is wanted of connections")?;
    let capture_began_ns = monotonic_ns();
    let mut naming = Naming::start(&settings.naming, probes.hierarchies())?;
    let mut clock = Clock::measure();
    let started_at_us = clock.epoch_us(capture_began_ns);
    let mut observer = Observer::new(settings.observer.clone(), clock);
    let mut ledger = Ledger::new(settings.observer.node.clone(), started_at_us, started_at_us);
    let mut losses = Losses::default();
    let mut heartbeats = Heartbeats::new(About {
        node: settings.observer.node.clone(),
        agent_started_at_us: started_at_us,
        kernel: settings.kernel.clone(),
    });
    let identities = IdentityRecords {
        node: settings.observer.node.clone(),
        cluster: settings.naming.cluster.clone(),
        agent_started_at_us: started_at_us,
    };
    let mut walk_at_us = next_walk(started_at_us, settings.flows_interval);
    let (mut watermark_at, mut heartbeat_at, mut clock_at) =
        (Instant::now() + settings.watermark_interval, Instant::now(), Instant::now() + CLOCK_INTERVAL);
    info!(node = settings.observer.node, "capturing");
    health.ready();

    loop {
        health.beat();
        let stopping = stop.load(Ordering::Relaxed);
        if !stopping {
            probes.wait(settings.poll_interval);
        }
        let drained_ns = monotonic_ns();
        let now = Instant::now();
        observer.owners().set_now(now);
        let events = probes.drain(DRAIN_EVENTS_MAX, |event| {
            if let Some(event) = naming.event(event) {
                observer.event(event, &mut |output| outlet.take(output, &mut ledger));
            }
        });
        for Interest { connection_id, role, interest } in observer.interests() {
            interests.set(connection_id, role, interest);
        }
        for claim in naming.exchange(observer.owners()) {
            outlet.identity(&identities.record(claim));
        }
        outlet.release(now, &mut ledger);
        outlet.take_reports();
        if events == DRAIN_EVENTS_MAX {
            continue;
        }
        let now_us = clock.epoch_us(drained_ns);
        if stopping || now_us >= walk_at_us {
            walk(&mut probes, &mut observer, &mut outlet, &mut ledger);
            walk_at_us = next_walk(now_us, settings.flows_interval);
        }
        if stopping {
            observer.finish(drained_ns, &mut |output| outlet.take(output, &mut ledger));
            wait_for_names(settings.naming.wait, &mut naming, &mut observer, &mut outlet, &mut ledger);
        }
        if (stopping || now >= watermark_at) && outlet.watermarks_are_out() {
            watermark_at = now + settings.watermark_interval;
            if losses.book(&probes.counts()?, probes.missed_runs()?, &mut ledger) {
                naming.walk_again();
            }
            outlet.book_failed_deliveries(&mut ledger);
            let settled_us = clock.epoch_us(drained_ns.saturating_sub(SETTLED_NS)).max(started_at_us);
            // What is held comes behind this watermark.
            let up_to_us = outlet.held_since_us().map_or(settled_us, |held_us| settled_us.min(held_us - 1));
            // What was drained or lost is newer than the beginning of this turn.
            let booked_us = clock.epoch_us(monotonic_ns());
            let watermarks = ledger.watermarks(up_to_us, booked_us, stopping);
            outlet.watermarks(&watermarks)?;
        }
        if stopping || now >= heartbeat_at {
            heartbeat_at = now + HEARTBEAT_INTERVAL;
            let agent = heartbeats.next(
                &ledger,
                &Moment {
                    observed_at_us: now_us,
                    probe_counts: probes.counts()?,
                    missed_runs: probes.missed_runs()?,
                    connections: observer.connections(),
                    naming: naming_counters(&naming, &mut observer, &outlet),
                    delivered: Stream::ALL.map(|stream| outlet.delivered(stream)),
                    is_final: stopping,
                },
            );
            heartbeat::export(&agent);
            outlet.heartbeat(&agent)?;
            match outlet.is_stalled() {
                true => health.not_ready("captures, but Kafka takes nothing"),
                false => health.ready(),
            }
        }
        if now >= clock_at {
            clock_at = now + CLOCK_INTERVAL;
            clock = Clock::measure();
            observer.set_clock(clock);
        }
        if stopping {
            return outlet.close(settings.flush_timeout);
        }
    }
}

/// Gives the last records their names, for as long as records wait for names.
fn wait_for_names(
    wait: Duration,
    naming: &mut Naming,
    observer: &mut Observer,
    outlet: &mut Outlet,
    ledger: &mut Ledger,
) {
    let deadline = Instant::now() + wait;
    while outlet.held().0 > 0 {
        let _ = naming.exchange(observer.owners());
        let now = Instant::now();
        outlet.release(now, ledger);
        if now > deadline {
            // Whoever was first asked for in the last turn.
            return outlet.release(now + wait, ledger);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the heartbeat says of naming.
fn naming_counters(naming: &Naming, observer: &mut Observer, outlet: &Outlet) -> Vec<(&'static str, i64)> {
    let (held, overflows) = outlet.held();
    let mut counters = naming.counters();
    counters.extend([
        ("names_held_records", held as i64),
        ("names_held_overflows", overflows as i64),
        ("names_owners", observer.owners().count() as i64),
    ]);
    counters
}

/// Publishes what every connection did since the last walk.
fn walk(probes: &mut Probes, observer: &mut Observer, outlet: &mut Outlet, ledger: &mut Ledger) {
    observer.begin_walk();
    let walked = probes.sockets(|socket| {
        observer.walked(socket, &mut |output| outlet.take(output, ledger));
    });
    match walked {
        Ok(()) => observer.end_walk(monotonic_ns(), &mut |output| outlet.take(output, ledger)),
        // The counters stay on the sockets: the next walk says what this one could not.
        Err(error) => warn!(%error, "the walk over the sockets failed; their flows come with the next one"),
    }
}

/// When to walk next: shortly before a multiple of the interval, which is also where windows end.
fn next_walk(now_us: i64, interval: Duration) -> i64 {
    let interval_us = interval.as_micros() as i64;
    ((now_us + WALK_LEAD_US).div_euclid(interval_us) + 1) * interval_us - WALK_LEAD_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_come_just_before_the_end_of_each_interval() {
        let interval = Duration::from_secs(10);
        assert_eq!(next_walk(0, interval), 10_000_000 - WALK_LEAD_US);
        assert_eq!(next_walk(10_000_000 - WALK_LEAD_US - 1, interval), 10_000_000 - WALK_LEAD_US);
        assert_eq!(next_walk(10_000_000 - WALK_LEAD_US, interval), 20_000_000 - WALK_LEAD_US);
    }
}
