//! What an idle connection takes of the agent's memory: a node may have a hundred thousand of them.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "shared/sockets.rs"]
mod sockets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use headwater_agent::clock::Clock;
use headwater_agent::observe::{Cells, Observer, ObserverOptions, Paths};
use headwater_probe_loader::types::{DataEvent, SocketRecord, direction, kind, role};
use headwater_probe_loader::{Event, Fits, Taken};
use headwater_protocols::Options;
use sockets::socket;

const CONNECTIONS: usize = 20_000;
/// Of each end, after its first exchange; between another one and the walk that finds the connection idle; and from then on.
const NEW_BYTES_MAX: usize = 330;
const AWAKE_BYTES_MAX: usize = 570;
const IDLE_BYTES_MAX: usize = 330;

const REQUEST: &[u8] = b"GET /stock/17 HTTP/1.1\r\nHost: bench\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static ALLOCATED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Counts what is allocated, as glibc rounds it.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn chunk_bytes(layout: Layout) -> usize {
    (layout.size() + size_of::<usize>()).next_multiple_of(16).max(32)
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED_BYTES.fetch_add(chunk_bytes(layout), Ordering::Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED_BYTES.fetch_sub(chunk_bytes(layout), Ordering::Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Nothing is added up, but might be.
struct NoCells;

impl Cells for NoCells {
    fn set_day_offset(&mut self, _: i64) {}
    fn open(&mut self, _: u32, _: Fits) {}
    fn settle(&mut self, _: u32, _: u64) {}
    fn close(&mut self, _: u32) {}
    fn take(&mut self, _: u32, _: u64, _: &mut dyn FnMut(Taken)) {}
}

fn moved(connection_id: u64, role: u32, direction: u32, bytes: &[u8], other: u64) -> DataEvent {
    DataEvent {
        kind: kind::DATA,
        captured_bytes: bytes.len() as u32,
        connection_id,
        at_ns: 1_000,
        position: 0,
        other_position: other,
        length: bytes.len() as u32,
        direction: direction as u8,
        marks: 0,
        role: role as u16,
        thread: 1,
        reserved: 0,
    }
}

#[test]
fn an_idle_connection_takes_little() {
    let options = ObserverOptions {
        node: "node".into(),
        paths: Paths::Templated,
        connections_max: 4 * CONNECTIONS,
        memory_bytes: 1 << 20,
        operations_max: 10,
        name_wait: Duration::from_secs(1),
        spares_second_ends: true,
        watches_tls: false,
        protocols: Options::default(),
    };
    let mut observer = Observer::new(options, Some(Box::new(NoCells)), Clock::measure());
    let before = ALLOCATED_BYTES.load(Ordering::Relaxed);
    let each = || (ALLOCATED_BYTES.load(Ordering::Relaxed) - before) / (2 * CONNECTIONS);
    let ends = || (1..=CONNECTIONS as u64).flat_map(|id| [role::CLIENT, role::SERVER].map(|role| (id, role)));
    ends().for_each(|(id, role)| observer.event(Event::Open(socket(id, role)), &mut |_| {}));
    ends().for_each(|end| exchange(&mut observer, end, 0));
    let new = each();
    ends().for_each(|end| exchange(&mut observer, end, 1));
    let awake = each();
    observer.begin_walk();
    for (id, role) in ends() {
        observer.walked(&SocketRecord { at_ns: 2_000_000_000, ..socket(id, role) }, &mut |_| {});
    }
    observer.end_walk(2_000_000_000, &mut |_| {});
    let idle = each();
    println!(
        "{new} bytes for each end of a new connection, {awake} of a used one, {idle} of an idle one; {:?}",
        observer.memory()
    );
    assert_eq!(observer.connections(), 2 * CONNECTIONS);
    assert!(new <= NEW_BYTES_MAX, "{new} bytes for each end of a new connection");
    assert!(awake <= AWAKE_BYTES_MAX, "{awake} bytes for each end of a used connection");
    assert!(idle <= IDLE_BYTES_MAX, "{idle} bytes for each end of an idle connection");
}

/// Has one exchange on one end of a connection, behind so many others.
fn exchange(observer: &mut Observer, (id, role): (u64, u32), others: u64) {
    let is_client = role == role::CLIENT;
    let (first, second) =
        if is_client { (direction::SEND, direction::RECEIVE) } else { (direction::RECEIVE, direction::SEND) };
    let (request, answer) = (others * REQUEST.len() as u64, others * ANSWER.len() as u64);
    let asked = DataEvent { position: request, ..moved(id, role, first, REQUEST, answer) };
    observer.event(Event::Data(asked, REQUEST), &mut |_| {});
    let answered = DataEvent { position: answer, ..moved(id, role, second, ANSWER, request + REQUEST.len() as u64) };
    observer.event(Event::Data(answered, ANSWER), &mut |_| {});
    // What has been decided is taken by the pipeline.
    observer.interests().for_each(drop);
}
