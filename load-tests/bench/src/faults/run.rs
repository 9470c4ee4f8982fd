//! Lets a system live for some time, and hands out the records of each window.
//!
//! Bounded: one window and the samples of one state are held at a time.

use headwater_schemas::records::{Edge, Latency};
use headwater_testing::Random;

use super::draw::{Part, Prepared, window};
use super::effect::State;
use super::life::Life;
use super::solve::solve;
use super::system::System;

pub const WINDOW_S: f64 = 10.0;
pub const WINDOW_US: i64 = 10_000_000;
/// A Monday, at midnight; a multiple of the window.
pub const BEGIN_US: i64 = 1_790_553_600_000_000;

/// Start of the window that holds a time of a system's life.
pub fn time_us(at_s: f64) -> i64 {
    BEGIN_US + (at_s * 1e6) as i64
}

/// The samples of one state.
struct Solved {
    state: State,
    prepared: Vec<Prepared>,
    hangs: Vec<bool>,
}

impl Solved {
    fn new(system: &System, state: State) -> Solved {
        let prepare = |tried: super::solve::Tried| {
            let call = &state.calls[tried.call];
            Prepared::new(tried, call.delay_us, call.lost)
        };
        let prepared = solve(system, &state).into_iter().map(prepare).collect();
        let hangs = state.services.iter().map(|service| service.hung > 0.0).collect();
        Solved { state, prepared, hangs }
    }
}

/// All windows from one time to another, which are whole windows.
pub fn run(
    system: &System,
    life: &Life,
    (from_s, to_s): (f64, f64),
    random: &mut Random,
    mut each: impl FnMut(i64, Vec<Edge>, Vec<Latency>),
) {
    let changes = life.changes_s(from_s, to_s);
    let mut next_change = 0;
    let mut solved = Solved::new(system, life.state(system, from_s));
    let mut at_s = from_s;
    while at_s < to_s {
        let end_s = at_s + WINDOW_S;
        // The states that the window has been in, and for how long.
        let mut lived: Vec<(f64, Solved)> = Vec::new();
        let mut since_s = at_s;
        while let Some(change_s) = changes.get(next_change).filter(|change_s| **change_s < end_s) {
            next_change += 1;
            let state = life.state(system, *change_s);
            if state == solved.state {
                continue;
            }
            let before = std::mem::replace(&mut solved, Solved::new(system, state));
            lived.push((change_s - since_s, before));
            since_s = *change_s;
        }
        let load = life.load(at_s);
        let last = (end_s - since_s, &solved);
        let parts = lived.iter().map(|(seconds, solved)| (*seconds, solved)).chain([last]);
        let parts: Vec<Part<'_>> = parts
            .filter(|(seconds, _)| *seconds > 0.0)
            .map(|(seconds, Solved { state, prepared, hangs })| Part {
                seconds,
                load,
                job_runs: state.job_runs,
                prepared,
                hangs,
            })
            .collect();
        let start_us = time_us(at_s);
        let (edges, latencies) = window(system, start_us, &parts, random);
        each(start_us, edges, latencies);
        at_s = end_s;
    }
}
