//! The load generator: sends the plan at its rate, whatever the answers do (an open loop).
//!
//! In: a gateway and a plan. Out: a report. It says `ready` once the first answer is there.
//! Bounds: requests that wait for their answers; one that would exceed the bound is not sent, and reported so. Time
//! for one request. The load ends after its requests or its duration, or when told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::http::HttpClient;
use crate::plan::{Plan, PlannedRequest};
use crate::report::{Exchange, NoAnswer, Outcome, Report, Total};
use crate::service::READY;

/// Requests a second without a word from anyone.
pub const DEFAULT_RATE: f64 = 20.0;
const RATE_MAX: f64 = 5_000.0;
const IN_FLIGHT_MAX: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Requests a second.
    pub rate: f64,
    pub seed: u32,
    /// Ends the load after so many requests.
    pub requests: Option<u64>,
    /// Ends the load after this time.
    pub duration: Option<Duration>,
    /// Where to write down each request, as JSON lines.
    pub report: Option<PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { rate: DEFAULT_RATE, seed: 1, requests: None, duration: None, report: None }
    }
}

/// Runs the load until it ends or `stop` completes, and waits for the answers that are still due.
pub async fn run(gateway: SocketAddr, options: &LoadOptions, stop: impl Future<Output = ()>) -> Result<Vec<Total>> {
    ensure!(options.rate > 0.0 && options.rate <= RATE_MAX, "the rate is {}, it goes up to {RATE_MAX}", options.rate);
    let mut report = Report::new(options.report.as_deref())?;
    let client = Arc::new(HttpClient::new(gateway, IN_FLIGHT_MAX, PATIENCE));
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    // Every sender of an outcome holds one of the permits, so the queue never fills.
    let (outcomes, mut arrived) = mpsc::channel(IN_FLIGHT_MAX);
    let mut plan = Plan::new(options.seed, options.rate);
    let start = Instant::now();
    let mut ready = false;
    let mut stop = std::pin::pin!(stop);
    let mut sent: u64 = 0;
    loop {
        let due = start + Duration::from_secs_f64(sent as f64 / options.rate);
        let over = options.requests.is_some_and(|most| sent >= most)
            || options.duration.is_some_and(|longest| due >= start + longest);
        if over {
            break;
        }
        tokio::select! {
            () = &mut stop => break,
            Some(outcome) = arrived.recv() => record(&mut report, outcome, &mut ready)?,
            () = sleep_until(due) => {
                sent += 1;
                let request = plan.next().context("the plan has no end")?;
                match Arc::clone(&in_flight).try_acquire_owned() {
                    Err(_) => report.add(Outcome { request, result: Err(NoAnswer::NotSent) })?,
                    Ok(permit) => {
                        let (client, outcomes) = (Arc::clone(&client), outcomes.clone());
                        tokio::spawn(async move {
                            // The load outlives its requests; without it nobody would read the outcome.
                            let _ = outcomes.send(send(&client, request).await).await;
                            drop(permit);
                        });
                    }
                }
            }
        }
    }
    drop(outcomes);
    while let Some(outcome) = arrived.recv().await {
        record(&mut report, outcome, &mut ready)?;
    }
    report.finish()
}

async fn send(client: &HttpClient, request: PlannedRequest) -> Outcome {
    let body = request.body.clone().map(String::into_bytes);
    let result = match client.send(request.method, &request.path, body).await {
        Ok(answer) => Ok(Exchange { status: answer.status, sent: answer.sent, received: answer.received }),
        Err(error) => Err(NoAnswer::Failed(format!("{error:#}"))),
    };
    Outcome { request, result }
}

fn record(report: &mut Report, outcome: Outcome, ready: &mut bool) -> Result<()> {
    if !*ready && outcome.result.is_ok() {
        *ready = true;
        println!("{READY}");
    }
    report.add(outcome)
}
