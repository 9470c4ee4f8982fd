//! Connections that end, or seem to, before everything is read.

use headwater_schemas::records::{FlowState, Side};

use crate::seen::{self, Seen};

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// Both sides saw these requests answered by 200, and nothing is missing.
fn all_is_seen(seen: &Seen, requests: usize) {
    for side in SIDES {
        let of_side = seen.requests_of(side);
        assert_eq!(of_side.len(), requests, "{side:?}");
        assert!(of_side.iter().all(|request| request.status == 200 && request.failure.is_none()), "{side:?}");
    }
    assert_eq!(seen.missing(), 0);
}

/// A receive call of no bytes is not the end of the stream.
#[test]
fn http_zero_length_receive() {
    all_is_seen(&seen::of("zero-length-receive"), 6);
}

#[test]
fn a_client_that_shuts_down_writing_still_reads_its_answer() {
    let seen = seen::of("half-close");
    all_is_seen(&seen, 1);
    assert!(seen.flows.iter().all(|flow| flow.state == FlowState::Closed));
}

#[test]
fn an_answer_that_is_read_after_a_reset_is_an_answer() {
    let seen = seen::of("reset-unread");
    all_is_seen(&seen, 1);
    assert!(seen.flows.iter().all(|flow| flow.failure.as_deref() == Some("reset")));
}

/// What a flow would be made of went past: it is counted, once for each end.
#[test]
fn ends_of_which_nothing_was_seen_before_are_counted() {
    let seen = seen::of("silent-and-older");
    assert_eq!((seen.flows.len(), seen.counts["unseen_ends"]), (0, 2));
    let known = seen::of("half-close");
    assert_eq!((known.flows.len(), known.counts["unseen_ends"]), (2, 0));
}

/// Connections that are reset at once failed, on both sides, and it is known whose they were.
#[test]
fn flow_reset_at_once() {
    let seen = seen::of("reset-at-once");
    for side in SIDES {
        let flows = seen.flows_of(side);
        assert_eq!(flows.len(), 100, "{side:?}");
        for flow in flows {
            assert_eq!((flow.state, flow.failure.as_deref()), (FlowState::Failed, Some("reset")), "{side:?}");
            assert_eq!((flow.opened, flow.pid), (1, seen.pid), "{side:?}: whose it is");
        }
    }
}
