//! One workload of the sample application for a cluster: it serves, calls others, or both.
//!
//! In: HTTP requests, or a rate. Out: for each, a call to every given URL. Promise: names are looked up anew for each new connection, so
//! a workload that moves is found again. Bounds: eight connections to each address, five seconds for a call.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::serve::ListenerExt;
use clap::Parser;
use headwater_demo_shop::http::HttpClient;
use headwater_demo_shop::service::{self, Failure, READY};
use tokio::net::{TcpListener, lookup_host};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

const CONNECTIONS_MAX: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(5);

/// A workload of the sample application.
#[derive(Parser)]
struct Args {
    /// Serves here; each request makes all calls. Without it, the calls are made at a rate.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// A URL to call, such as http://catalog:8080/products.
    #[arg(long = "call", value_parser = Upstream::parse)]
    calls: Vec<Arc<Upstream>>,
    /// How often to make the calls.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    per_second: u32,
    /// Ends after so long; at a signal if absent.
    #[arg(long)]
    for_s: Option<u64>,
}

/// Another workload, by its name.
struct Upstream {
    authority: String,
    path: String,
    /// Dropped at the first failure: the name may mean another address by then.
    client: Mutex<Option<Arc<HttpClient>>>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    service::run(async move {
        let mut terminated = signal(SignalKind::terminate()).context("listening for signals")?;
        let end = async {
            match args.for_s {
                Some(seconds) => sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        let work = async {
            match args.listen {
                Some(address) => tokio::select! {
                    result = serve(address, args.calls) => result,
                    () = end => Ok(()),
                },
                None => call_at_rate(&args.calls, args.per_second, end).await,
            }
        };
        tokio::select! {
            result = work => result,
            _ = terminated.recv() => Ok(()),
        }
    })
}

async fn serve(address: SocketAddr, calls: Vec<Arc<Upstream>>) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    println!("{READY} {}", listener.local_addr().context("asking for the address of the listener")?);
    let listener = listener.tap_io(|stream| {
        // An answer must not wait for the client's delayed acknowledgement; without the option it is only slower.
        let _ = stream.set_nodelay(true);
    });
    let routes = Router::new().fallback(answer).with_state(calls.into());
    axum::serve(listener, routes).await.context("serving HTTP")
}

async fn answer(State(calls): State<Arc<[Arc<Upstream>]>>) -> Result<&'static str, Failure> {
    for upstream in calls.iter() {
        upstream.call().await.map_err(|error| Failure::upstream(format!("{error:#}\n")))?;
    }
    Ok("ok\n")
}

/// A call that was begun is waited for: who leaves before the answer makes it a failed one.
async fn call_at_rate(calls: &[Arc<Upstream>], per_second: u32, end: impl Future<Output = ()>) -> Result<()> {
    let mut turns = interval(Duration::from_secs(1) / per_second);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            biased;
            () = &mut end => return Ok(()),
            _ = turns.tick() => {}
        }
        for upstream in calls {
            if let Err(error) = upstream.call().await {
                eprintln!("{error:#}");
            }
        }
    }
}

impl Upstream {
    fn parse(url: &str) -> Result<Arc<Upstream>> {
        let rest = url.strip_prefix("http://").with_context(|| format!("{url} does not start with http://"))?;
        let (authority, path) = rest.split_once('/').with_context(|| format!("{url} has no path"))?;
        Ok(Arc::new(Upstream { authority: authority.to_owned(), path: format!("/{path}"), client: Mutex::default() }))
    }

    /// Whatever is no success is an error.
    async fn call(&self) -> Result<()> {
        let called = self.get().await.with_context(|| format!("calling {}{}", self.authority, self.path));
        if called.is_err() {
            self.client().take();
        }
        called
    }

    async fn get(&self) -> Result<()> {
        let known = self.client().clone();
        let client = match known {
            Some(client) => client,
            None => {
                let address = lookup_host(&self.authority).await?.next().context("the name has no address")?;
                let client = Arc::new(HttpClient::new(address, CONNECTIONS_MAX, TIMEOUT));
                self.client().insert(client).clone()
            }
        };
        let status = client.get(&self.path).await?.status;
        anyhow::ensure!(status < 300, "status {status}");
        Ok(())
    }

    fn client(&self) -> std::sync::MutexGuard<'_, Option<Arc<HttpClient>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
