//! Secrets of forty kinds, said in every protocol: nothing that the agent tells of a connection has any of them in it, as it would be published.
//!
//! Each kind is a conversation in which the same word stands in a place of its own. A kind proves something only if the exchange that holds the
//! word is told of, so each one names what has to come out.
#![allow(clippy::unwrap_used)]

#[path = "secrets/conversations.rs"]
mod conversations;
#[path = "../protocols/tests/shared/documents.rs"]
mod documents;
#[path = "../protocols/tests/shared/envelopes.rs"]
mod envelopes;
#[path = "../protocols/tests/shared/frames.rs"]
mod frames;
#[path = "shared/sockets.rs"]
mod sockets;

use std::collections::BTreeSet;
use std::time::Duration;

use conversations::{Kind, SECRET, Said, kinds};
use headwater_agent::clock::Clock;
use headwater_agent::observe::{Observer, ObserverOptions, Output, Paths};
use headwater_probe_loader::Event;
use headwater_probe_loader::types::{DataEvent, SocketRecord, direction, flag, kind, role};
use headwater_protocols::Options;
use sockets::socket;

#[test]
fn no_secret_of_any_kind_leaves() {
    let kinds = kinds();
    let names: BTreeSet<&str> = kinds.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), kinds.len(), "two kinds have one name");
    assert!(names.len() >= 40, "{}", names.len());
    let mut problems = Vec::new();
    for kind in &kinds {
        for role in [role::CLIENT, role::SERVER] {
            let told = told(kind, role);
            let leaks = |text: &&String| text.contains(SECRET) || text.to_lowercase().contains(&SECRET.to_lowercase());
            if let Some(text) = told.iter().find(leaks) {
                problems.push(format!("{}: {text}", kind.name));
            }
            if !told.iter().any(|text| text.contains(kind.comes)) {
                problems.push(format!("{}: {:?} is not told of: {told:?}", kind.name, kind.comes));
            }
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// All that is published of a conversation that one end sees, but for names of the workload.
fn told(of: &Kind, role: u32) -> Vec<String> {
    let options = ObserverOptions {
        node: "node".into(),
        paths: Paths::Templated,
        connections_max: 10,
        memory_bytes: 1 << 20,
        operations_max: 100,
        name_wait: Duration::from_secs(1),
        spares_second_ends: true,
        watches_tls: false,
        protocols: Options::default(),
    };
    let mut observer = Observer::new(options, None, Clock::measure());
    let mut told = Vec::new();
    let mut take = |output: Output<'_>| match output {
        Output::Request(request, _) => told.push(format!("{request:?}")),
        Output::Flow(flow, _) => told.push(format!("{flow:?}")),
        Output::RequestsDropped(reason, count, _) => told.push(format!("{count} dropped: {reason}")),
        Output::Process(process, _) => told.push(format!("{process:?}")),
        Output::FlowsDropped(..) => {}
    };
    observer.event(Event::Open(socket(1, role)), &mut take);
    let (mut at, mut at_ns) = ([0, 0], 1_000_000);
    for Said { by_client, bytes } in &of.said {
        at_ns += 1_000_000;
        let own = usize::from(!by_client);
        let sends = *by_client == (role == role::CLIENT);
        let event = DataEvent {
            kind: kind::DATA,
            captured_bytes: bytes.len() as u32,
            connection_id: 1,
            at_ns,
            position: at[own],
            other_position: at[1 - own],
            length: bytes.len() as u32,
            direction: (if sends { direction::SEND } else { direction::RECEIVE }) as u8,
            marks: 0,
            role: role as u16,
            thread: 1,
            reserved: 0,
        };
        observer.event(Event::Data(event, bytes), &mut take);
        at[own] += bytes.len() as u64;
    }
    let closed = SocketRecord { at_ns: at_ns + 1_000_000, tcp_state: 7, flags: flag::ESTABLISHED, ..socket(1, role) };
    observer.event(Event::Close(closed), &mut take);
    told
}
