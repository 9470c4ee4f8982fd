//! What the agent costs servers whose protocols have state, at saturation: Redis, PostgreSQL and gRPC, without an agent and with one that sees both sides, in turn.
//!
//! The settings are the default ones, and everything runs on the same processors. What the probes cannot add up is told of one by one as far as
//! `capture.cpu_budget` goes; the rest is added up by the agent, and in the end not followed. So beside each ratio stands how much of what was asked
//! reached the topics.

use anyhow::Result;

use headwater_schemas::records::Side;
use headwater_system_tests::topics;

use crate::ground::{Detail, Ground};
use crate::grpc::Grpc;
use crate::load::{self, Speed};
use crate::overhead::{Observed, Run, run};
use crate::postgres::Postgres;
use crate::report::{Report, median};
use crate::servers::{Nginx, Redis};
use crate::warm;

/// Long enough for the budget to be felt.
const SECONDS: u32 = 20;
const CONNECTIONS: u32 = 32;
const REDIS_REQUESTS: u32 = 2_000_000;

pub fn measure(ground: &Ground, rounds: u32, report: &mut Report) -> Result<()> {
    let nginx = Nginx::start(ground)?;
    warm::up(ground, &nginx)?;
    drop(nginx);
    let redis = Redis::start(ground)?;
    compare(ground, "redis", rounds, report, || load::redis(ground, redis.port(), CONNECTIONS, REDIS_REQUESTS))?;
    drop(redis);
    let postgres = Postgres::start(ground)?;
    compare(ground, "postgres", rounds, report, || postgres.load(ground, SECONDS))?;
    drop(postgres);
    let grpc = Grpc::start(ground)?;
    compare(ground, "grpc", rounds, report, || grpc.load(ground, SECONDS))
}

fn compare(
    ground: &Ground,
    name: &str,
    rounds: u32,
    report: &mut Report,
    load: impl Fn() -> Result<Speed>,
) -> Result<()> {
    println!("{name} at full speed, {rounds} rounds: without an agent, and with one that sees both sides");
    let (mut ratios, mut seen) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let prefix = format!("{name}{round}.");
        let with = |observed: Observed| run(ground, observed, &prefix, &load);
        let (without, with) = if round % 2 == 0 {
            let without = with(Observed::Nothing)?;
            (without, with(Observed::Load(Detail::Default))?)
        } else {
            let seen = with(Observed::Load(Detail::Default))?;
            (with(Observed::Nothing)?, seen)
        };
        let told = told(ground, &prefix)? / with.speed.requests;
        let texts = [&without, &with].map(|run: &Run| {
            let Run { speed, machine_us, agent_us, stack_us } = run;
            format!("{:.0}/s {machine_us:.1} us (agent {agent_us:.2}, Kafka {stack_us:.2})", speed.requests_per_second)
        });
        println!("  round {round}: {}, {:.1} % told", texts.join(", "), 100.0 * told);
        ratios.push(with.speed.requests_per_second / without.speed.requests_per_second);
        seen.push(told);
    }
    report.add_named(format!("{name}_throughput_ratio"), median(&ratios), "ratio");
    report.add_named(format!("{name}_told_ratio"), median(&seen), "ratio");
    Ok(())
}

/// Exchanges in the topic, as the end says that tells of more of them: of busy connections within a node one end tells (`capture.ends`).
fn told(ground: &Ground, prefix: &str) -> Result<f64> {
    let mut told = [0; 2];
    topics::each_request(&ground.settings(prefix), |request| {
        told[usize::from(request.side == Side::Server)] += request.weight;
    })?;
    Ok(told.into_iter().max().unwrap_or_default() as f64)
}
