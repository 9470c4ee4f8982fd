//! The way from a client to Kafka, on which a test holds a request back and lets it through later.
//!
//! In: requests in Kafka's framing. Out: the same requests. A connection with a held request is silent from there on, as if the network had
//! lost its way; Kafka's side of it stays open, so that the request can still arrive when the client has long given up.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Far more than any request or answer of these tests has.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// The kinds of requests that matter here, by Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Api(i16);

pub const PRODUCE: Api = Api(0);
pub const ADD_OFFSETS: Api = Api(25);
pub const END_TXN: Api = Api(26);
pub const TXN_OFFSET_COMMIT: Api = Api(28);

/// A proxy on a port of its own.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    server: Option<SocketAddr>,
    hold_next: Option<Api>,
    release_before: Option<Api>,
    held: Option<Held>,
    answers: BTreeMap<Api, usize>,
}

/// A request that has not got to Kafka yet.
struct Held {
    to_server: TcpStream,
    frame: Vec<u8>,
    api: Api,
}

impl Proxy {
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = of_thread.state().server;
                if let Some(server) = server.and_then(|address| TcpStream::connect(address).ok()) {
                    Connection::pass_on(&of_thread, &client, &server);
                }
            }
        });
        Proxy { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pass_on_to(&self, server: SocketAddr) {
        self.shared.state().server = Some(server);
    }

    /// Holds the next request of this kind back.
    pub fn hold_next(&self, api: Api) {
        self.shared.state().hold_next = Some(api);
    }

    /// Lets the held request through when one of this kind comes, before that one.
    pub fn release_before(&self, api: Api) {
        self.shared.state().release_before = Some(api);
    }

    /// Lets the held request through, and waits until Kafka has answered it.
    pub fn release(&self) {
        self.shared.release(self.shared.state());
    }

    /// Whether a request is held back.
    pub fn holds(&self) -> bool {
        self.shared.state().held.is_some()
    }

    /// How many requests of this kind Kafka has answered.
    pub fn answers(&self, api: Api) -> usize {
        self.shared.state().answers.get(&api).copied().unwrap_or(0)
    }

    /// Waits until Kafka has answered more than so many requests of a kind.
    pub fn wait_for_more_answers(&self, api: Api, than: usize) {
        drop(self.shared.wait(self.shared.state(), &format!("an answer to {api:?}"), |state| {
            state.answers.get(&api).is_some_and(|count| *count > than)
        }));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        what: &str,
        holds: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let (state, waited) = self.changed.wait_timeout_while(state, PATIENCE, |state| !holds(state)).unwrap();
        assert!(!waited.timed_out(), "not within {PATIENCE:?}: {what}");
        state
    }

    fn release(&self, mut state: MutexGuard<'_, State>) {
        let mut held = state.held.take().expect("nothing is held back");
        let before = state.answers.get(&held.api).copied().unwrap_or(0);
        held.to_server.write_all(&held.frame).expect("Kafka closed the connection of the held request");
        drop(self.wait(state, "an answer to the late request", |state| {
            state.answers.get(&held.api).is_some_and(|count| *count > before)
        }));
    }
}

/// One connection: what is asked for on it, in order, as Kafka answers in that order.
struct Connection {
    shared: Arc<Shared>,
    asked: Mutex<BTreeMap<i32, Api>>,
}

impl Connection {
    fn pass_on(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) {
        let connection = Arc::new(Connection { shared: Arc::clone(shared), asked: Mutex::default() });
        let clones = || (client.try_clone().unwrap(), server.try_clone().unwrap());
        let ((from, to), (of_answers, source)) = (clones(), clones());
        let of_thread = Arc::clone(&connection);
        std::thread::spawn(move || of_thread.requests(from, to));
        std::thread::spawn(move || connection.answers(source, of_answers));
    }

    fn requests(&self, mut client: TcpStream, mut server: TcpStream) {
        while let Some(frame) = read_frame(&mut client) {
            // Length, kind, version, number of the request.
            let api = Api(i16::from_be_bytes([frame[4], frame[5]]));
            let number = i32::from_be_bytes([frame[8], frame[9], frame[10], frame[11]]);
            self.asked.lock().unwrap().insert(number, api);
            let mut state = self.shared.state();
            if state.hold_next == Some(api) {
                state.hold_next = None;
                state.held = Some(Held { to_server: server, frame, api });
                drop(state);
                // What the client says from here on, its goodbye included, is lost.
                while read_frame(&mut client).is_some() {}
                return;
            }
            if state.release_before == Some(api) && state.held.is_some() {
                state.release_before = None;
                self.shared.release(state);
            } else {
                drop(state);
            }
            if server.write_all(&frame).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
    }

    fn answers(&self, mut server: TcpStream, mut client: TcpStream) {
        let mut client_listens = true;
        while let Some(frame) = read_frame(&mut server) {
            let number = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
            client_listens = client_listens && client.write_all(&frame).is_ok();
            if let Some(api) = self.asked.lock().unwrap().remove(&number) {
                *self.shared.state().answers.entry(api).or_default() += 1;
                self.shared.changed.notify_all();
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    }
}

/// A length and as many bytes; none at the end of the connection.
fn read_frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).ok()?;
    let bytes = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    assert!((8..FRAME_BYTES_MAX).contains(&bytes), "a frame of {bytes} bytes");
    frame.resize(4 + bytes, 0);
    from.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}
