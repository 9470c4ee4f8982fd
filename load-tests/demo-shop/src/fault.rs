//! The switch that makes one service slow or wrong.
//!
//! In: one JSON object a line on a Unix socket: a fault to set, or `null` to only ask. Out: one line with the fault
//! now in force. It is a Unix socket so that throwing the switch adds no TCP connection to the traffic that is looked
//! at. Bounds: a line of 4 KiB, latency of a minute.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream as AsyncUnixStream};

const LINE_BYTES_MAX: u64 = 4096;
const LATENCY_MS_MAX: u64 = 60_000;

/// What a service does wrong. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Added before each request is handled.
    pub latency_ms: u64,
    /// The share of requests, from 0 to 1, that get status 500 instead of being handled.
    pub error_rate: f64,
}

impl Fault {
    pub const NONE: Self = Self { latency_ms: 0, error_rate: 0.0 };

    fn validate(&self) -> Result<()> {
        ensure!(self.latency_ms <= LATENCY_MS_MAX, "latency_ms is {}, the most is {LATENCY_MS_MAX}", self.latency_ms);
        ensure!((0.0..=1.0).contains(&self.error_rate), "error_rate is {}, it goes from 0 to 1", self.error_rate);
        Ok(())
    }
}

/// The services of our own, which have the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Service {
    #[value(name = "shop-bank", alias = "bank")]
    Bank,
    #[value(name = "shop-catalog", alias = "catalog")]
    Catalog,
    #[value(name = "shop-orders", alias = "orders")]
    Orders,
    #[value(name = "shop-payments", alias = "payments")]
    Payments,
    #[value(name = "shop-shipping", alias = "shipping")]
    Shipping,
}

impl Service {
    /// The program's name, which is also its name on the map.
    pub fn program(self) -> &'static str {
        match self {
            Self::Bank => "shop-bank",
            Self::Catalog => "shop-catalog",
            Self::Orders => "shop-orders",
            Self::Payments => "shop-payments",
            Self::Shipping => "shop-shipping",
        }
    }

    /// Where the service takes its fault, in the folder of a shop.
    pub fn fault_socket(self, shop_dir: &Path) -> PathBuf {
        shop_dir.join(format!("{}.fault", self.program()))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reply {
    Now(Fault),
    Refused { error: String },
}

/// Sets the fault of a running service through its socket and returns what is now in force.
pub fn set(socket: &Path, fault: Fault) -> Result<Fault> {
    fault.validate()?;
    let doing = || format!("setting a fault through {}", socket.display());
    let mut stream = UnixStream::connect(socket).with_context(doing)?;
    let patience = Some(Duration::from_secs(5));
    stream.set_read_timeout(patience).with_context(doing)?;
    stream.set_write_timeout(patience).with_context(doing)?;
    let mut line = serde_json::to_string(&fault).with_context(doing)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).with_context(doing)?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).with_context(doing)?;
    match serde_json::from_str(&reply).with_context(doing)? {
        Reply::Now(now) => Ok(now),
        Reply::Refused { error } => bail!("{}: the service refused: {error}", doing()),
    }
}

/// The service's side of the switch.
#[derive(Clone, Default)]
pub struct Switch {
    state: Arc<Mutex<SwitchState>>,
}

#[derive(Default)]
struct SwitchState {
    fault: Fault,
    /// Adds up the error rate, and gives an error each time that it passes one: exact shares, no chance.
    error_debt: f64,
}

impl Switch {
    /// Answers on the Unix socket for as long as the service lives.
    pub async fn listen(&self, socket: &Path) -> Result<()> {
        // A service that was killed leaves its socket behind.
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).with_context(|| format!("listening on {}", socket.display()))?;
        let switch = self.clone();
        tokio::spawn(async move {
            // One caller at a time is enough for a switch. An error ends only that caller's connection.
            while let Ok((stream, _)) = listener.accept().await {
                let _ = tokio::time::timeout(Duration::from_secs(5), switch.answer(stream)).await;
            }
        });
        Ok(())
    }

    async fn answer(&self, stream: AsyncUnixStream) -> Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut line = String::new();
        tokio::io::BufReader::new(reader.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
        let mut reply = match self.apply(&line) {
            Ok(fault) => serde_json::to_string(&fault)?,
            Err(error) => serde_json::json!({ "error": format!("{error:#}") }).to_string(),
        };
        reply.push('\n');
        writer.write_all(reply.as_bytes()).await?;
        Ok(())
    }

    fn apply(&self, line: &str) -> Result<Fault> {
        let wanted: Option<Fault> =
            serde_json::from_str(line).context("a fault is {\"latency_ms\":N,\"error_rate\":X}")?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = wanted {
            fault.validate()?;
            *state = SwitchState { fault, error_debt: 0.0 };
        }
        Ok(state.fault)
    }

    /// What to do to the next request: how long to wait, and whether to fail it.
    fn next(&self) -> (Duration, bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.error_debt += state.fault.error_rate;
        let fails = state.error_debt >= 1.0;
        if fails {
            state.error_debt -= 1.0;
        }
        (Duration::from_millis(state.fault.latency_ms), fails)
    }
}

/// The layer around a service's routes that carries the fault out.
pub async fn inject(State(switch): State<Switch>, request: Request, next: Next) -> Response {
    let (latency, fails) = switch.next();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    if fails {
        return (StatusCode::INTERNAL_SERVER_ERROR, "injected error").into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fails_the_exact_share_of_requests() {
        let switch = Switch::default();
        switch.apply(r#"{"latency_ms":7,"error_rate":0.25}"#).unwrap();
        let failed = (0..400).filter(|_| switch.next().1).count();
        assert_eq!(failed, 100);
        assert_eq!(switch.next().0, Duration::from_millis(7));
        switch.apply(r#"{"error_rate":1.0}"#).unwrap();
        assert!((0..10).all(|_| switch.next().1));
    }

    #[test]
    fn refuses_what_is_no_fault_and_keeps_the_old_one() {
        let switch = Switch::default();
        switch.apply(r#"{"latency_ms":7}"#).unwrap();
        for bad in ["", "{", r#"{"latency":1}"#, r#"{"error_rate":1.5}"#, r#"{"latency_ms":60001}"#] {
            assert!(switch.apply(bad).is_err(), "{bad}");
        }
        assert_eq!(switch.apply("null").unwrap(), Fault { latency_ms: 7, error_rate: 0.0 });
    }
}
