//! The way from the agent to the API server, which a test can cut, close or let fall silent, and on which it counts.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const SILENT: u8 = 2;

/// Bytes go through it as they are, TLS included.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    mode: AtomicU8,
    /// Connections that the agent opened or tried to open.
    attempts: AtomicU64,
    /// From the server to the agent.
    bytes: AtomicU64,
    streams: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn start(server: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            server,
            mode: AtomicU8::new(OPEN),
            attempts: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            streams: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                of_thread.attempts.fetch_add(1, Ordering::Relaxed);
                // Without a server behind it, it is closed at once.
                if of_thread.mode.load(Ordering::Relaxed) != CLOSED {
                    let _ = of_thread.pass_on(stream);
                }
            }
        });
        Ok(Proxy { port, shared })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn attempts(&self) -> u64 {
        self.shared.attempts.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Ends all connections; new ones work.
    pub fn cut(&self) {
        for stream in self.streams().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends all connections and lets none be made.
    pub fn close(&self) {
        self.shared.mode.store(CLOSED, Ordering::Relaxed);
        self.cut();
    }

    /// Connections stay, and nothing comes through them any more.
    pub fn fall_silent(&self) {
        self.shared.mode.store(SILENT, Ordering::Relaxed);
    }

    /// New connections work again; those that fell silent stay so.
    pub fn open(&self) {
        self.shared.mode.store(OPEN, Ordering::Relaxed);
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.shared.streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Shared {
    fn pass_on(self: &Arc<Shared>, agent: TcpStream) -> Result<()> {
        let server = TcpStream::connect_timeout(&self.server, Duration::from_secs(5))?;
        let mut streams = self.streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        streams.extend([agent.try_clone()?, server.try_clone()?]);
        drop(streams);
        for (from, to, is_answer) in [(agent.try_clone()?, server.try_clone()?, false), (server, agent, true)] {
            let shared = Arc::clone(self);
            std::thread::spawn(move || shared.pump(from, to, is_answer));
        }
        Ok(())
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let mut buffer = vec![0; 64 * 1024];
        let mut is_silent = false;
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            is_silent |= self.mode.load(Ordering::Relaxed) == SILENT;
            if is_silent {
                continue;
            }
            if is_answer {
                self.bytes.fetch_add(n as u64, Ordering::Relaxed);
            }
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        if !is_silent {
            let _ = to.shutdown(Shutdown::Both);
        }
    }
}
