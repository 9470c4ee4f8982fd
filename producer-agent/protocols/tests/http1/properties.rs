//! The same streams, cut, captured, reordered and thinned out in arbitrary ways.

use headwater_protocols::{Direction, Options, Parser, Side};
use proptest::prelude::*;

use crate::plan::{Cuts, Script, Turn, cuts, in_turn, pipelined, script, turns};
use crate::wire::{FINISHED, Output, OwnedSegment, Seen};

fn run(side: Side, segments: &[OwnedSegment]) -> Output {
    let output = run_asleep(side, segments, 0);
    for sleeps in [u64::MAX, 0x5555_5555_5555_5555, 0x9249_2492_4924_9249] {
        let asleep = run_asleep(side, segments, sleeps);
        assert_eq!((&asleep.exchanges, &asleep.losses), (&output.exchanges, &output.losses), "{sleeps:x}");
    }
    output
}

/// The connection is said to be idle behind those segments whose bit is set.
fn run_asleep(side: Side, segments: &[OwnedSegment], sleeps: u64) -> Output {
    let mut connection = Parser::new(side, &Options::default());
    let mut output = Output::default();
    for (index, segment) in segments.iter().enumerate() {
        segment.feed(&mut connection, &mut output);
        if sleeps >> (index % 64) & 1 == 1 {
            let before = (connection.recognition(), connection.interest(), connection.protocol(), connection.is_idle());
            connection.sleep(u64::MAX);
            let asleep = (connection.recognition(), connection.interest(), connection.protocol(), connection.is_idle());
            assert_eq!(asleep, before);
        }
    }
    let end_ns = segments.len() as u64 * 10 + 1_000;
    connection.close(end_ns, FINISHED, &mut |event| output.take(event));
    let completed: Vec<u64> = output.exchanges.iter().map(|seen| seen.completed_ns).collect();
    assert!(completed.is_sorted(), "{completed:?}");
    output
}

/// Each exchange that was emitted is right; the time of knowing may be later.
fn check_none_wrong(output: &Output, expected: &[Seen]) -> Result<(), TestCaseError> {
    let mut last = None;
    for seen in &output.exchanges {
        let same = expected.iter().find(|expected| expected.request_position == seen.request_position);
        let Some(expected) = same else {
            return Err(TestCaseError::fail(format!("never happened: {seen:?}")));
        };
        prop_assert!(seen.completed_ns >= expected.completed_ns);
        prop_assert_eq!(&Seen { completed_ns: expected.completed_ns, ..seen.clone() }, expected);
        prop_assert!(last < Some(seen.request_position), "twice: {:?}", seen);
        last = Some(seen.request_position);
    }
    Ok(())
}

/// One line a segment, for the message of a failed test.
fn describe(segments: &[OwnedSegment]) -> String {
    let line = |segment: &OwnedSegment| {
        format!(
            "\n{:?} {}..{} other {}: {:?}",
            segment.direction,
            segment.position,
            segment.position + segment.length,
            segment.other_position,
            String::from_utf8_lossy(&segment.captured)
        )
    };
    segments.iter().map(line).collect()
}

fn check_exact(output: &Output, expected: &[Seen]) -> Result<(), TestCaseError> {
    prop_assert_eq!(&output.exchanges, expected);
    prop_assert_eq!(output.lost(), 0, "{:?}", output.losses);
    Ok(())
}

/// Exchanges without anything unusual, and one more to close with.
fn plain() -> impl Strategy<Value = (Vec<Turn>, Cuts)> {
    (turns(false, true), cuts(true, false))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_exchanges(turns in turns(true, false), cuts in cuts(false, false)) {
        let script = script(&turns, in_turn(&turns), &cuts);
        check_exact(&run(Side::Server, &script.segments), &script.exchanges)?;
        check_exact(&run(Side::Client, &script.segments), &script.exchanges)?;
    }

    #[test]
    fn any_cut_of_pipelined_streams_gives_the_same_exchanges(
        turns in turns(true, false), cuts in cuts(false, false), depth in 1usize..5,
    ) {
        let script = script(&turns, pipelined(&turns, depth), &cuts);
        check_exact(&run(Side::Server, &script.segments), &script.exchanges)?;
    }

    #[test]
    fn limited_capture_is_right_or_counted_exactly((turns, cuts) in plain()) {
        let script = script(&turns, in_turn(&turns), &cuts);
        let output = run(Side::Server, &script.segments);
        check_none_wrong(&output, &script.exchanges)?;
        // Where nothing was recognised as HTTP, there is nothing to count.
        if !output.exchanges.is_empty() {
            let total = output.exchanges.len() as u64 + output.lost();
            prop_assert_eq!(total, turns.len() as u64, "{:?} {}", output.losses, describe(&script.segments));
        }
    }

    #[test]
    fn limited_capture_is_never_wrong(turns in turns(false, false), cuts in cuts(true, false)) {
        let script = script(&turns, in_turn(&turns), &cuts);
        let output = run(Side::Server, &script.segments);
        check_none_wrong(&output, &script.exchanges)?;
    }

    #[test]
    fn limited_capture_of_pipelined_responses_is_never_wrong(
        turns in turns(false, false), cuts in cuts(true, true), depth in 1usize..5,
    ) {
        let script = script(&turns, pipelined(&turns, depth), &cuts);
        let output = run(Side::Server, &script.segments);
        check_none_wrong(&output, &script.exchanges)?;
        let complete = output.exchanges.len() == turns.len();
        prop_assert!(complete == (output.lost() == 0), "{:?}", output.losses);
    }

    #[test]
    fn late_writers_change_nothing(
        turns in turns(true, false), cuts in cuts(false, false), late in any::<u64>(), stale in any::<bool>(),
    ) {
        for side in [Side::Client, Side::Server] {
            let script = script(&turns, in_turn(&turns), &cuts);
            let segments = delay_writers(side, &script, late, stale);
            let output = run(side, &segments);
            check_none_wrong(&output, &script.exchanges)?;
            prop_assert_eq!(output.exchanges.len(), turns.len(), "{:?}", output.losses);
            prop_assert_eq!(output.lost(), 0, "{:?}", output.losses);
        }
    }

    #[test]
    fn missing_events_are_never_wrong_and_heal(
        (turns, cuts) in plain(), missing in any::<u64>(), full in any::<bool>(),
    ) {
        let cuts = if full { Cuts { captures: vec![usize::MAX], ..cuts } } else { cuts };
        // Three exchanges that are seen in full follow.
        let all: Vec<Turn> = turns.iter().chain(&[tail(), tail(), tail()]).cloned().collect();
        let mut script = script(&all, in_turn(&all), &cuts);
        let clean_from = script.exchanges[turns.len()].request_position;
        let clean_at = script.segments.iter().position(|segment| {
            segment.direction == Direction::Request && segment.position + segment.length > clean_from
        }).unwrap();
        let mut bit = 0;
        script.segments.retain(|segment| {
            bit += 1;
            bit > clean_at || segment.captured.is_empty() || missing >> (bit % 64) & 1 == 0
        });
        let output = run(Side::Server, &script.segments);
        check_none_wrong(&output, &script.exchanges)?;
        if full {
            prop_assert_eq!(
                output.exchanges.last(), script.exchanges.last(), "{:?} {}", output.losses, describe(&script.segments)
            );
        }
    }

    #[test]
    fn a_capture_that_begins_anywhere_is_never_wrong(
        turns in turns(false, false), cuts in cuts(true, false), from in any::<prop::sample::Index>(),
    ) {
        let script = script(&turns, in_turn(&turns), &cuts);
        let from = from.index(script.segments.len());
        for side in [Side::Client, Side::Server] {
            check_none_wrong(&run(side, &script.segments[from..]), &script.exchanges)?;
        }
    }
}

fn tail() -> Turn {
    Turn {
        method: "GET",
        request_padding: 0,
        request_body: crate::plan::Body::None,
        interims: 0,
        status: 200,
        response_padding: 0,
        response_body: crate::plan::Body::None,
        order: crate::plan::Order::RequestFirst,
    }
}

/// Where a written segment is followed by one that was read, the write is reported later, by the bits of `late`. If
/// `stale`, it then tells the position that the other direction has reached by that time.
fn delay_writers(side: Side, script: &Script, late: u64, stale: bool) -> Vec<OwnedSegment> {
    let mut segments = script.segments.clone();
    let mut at = 0;
    while at + 1 < segments.len() {
        let written = side.sends(segments[at].direction);
        if written && !side.sends(segments[at + 1].direction) && late >> (at % 64) & 1 == 1 {
            if stale {
                segments[at].other_position = segments[at + 1].position + segments[at + 1].length;
            }
            segments.swap(at, at + 1);
            at += 1;
        }
        at += 1;
    }
    segments
}
