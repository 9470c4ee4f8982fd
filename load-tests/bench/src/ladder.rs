//! What each step of observation adds: the same load with nothing beside it, and then with one thing more at a time.
//!
//! The steps below the agent are taken with the probes alone, loaded into this process. Each figure is processor time of the load, of this
//! process or the agent, and of Kafka for a request, less that of the lowest step of the same round.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_probe_loader::types::interest;
use headwater_probe_loader::{Event, Options, Probes};
use headwater_process::cpu_time;

use crate::ground::{Detail, Ground, until_at_rest};
use crate::load::{self, Speed};
use crate::report::{Report, median};
use crate::servers::{ANSWERS, Nginx, Redis};

const SECONDS: u32 = 2;
const REDIS_REQUESTS: u32 = 200_000;

/// The steps, each with all that is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Kafka and the registry stand still.
    Nothing,
    KafkaIdle,
    /// The programs are attached and return at once.
    SwitchedOff,
    /// They find out that a socket is none of theirs.
    Refused,
    /// They count what its calls move.
    Counted,
    /// They copy, into a ring buffer that nobody reads.
    NobodyReads,
    /// It is read, and nothing is done with it.
    Read,
    /// The agent, with a record of each exchange.
    Everything,
    /// Instead of that, the agent as it is by default.
    Summed,
}

const STEPS: [Step; 9] = [
    Step::Nothing,
    Step::KafkaIdle,
    Step::SwitchedOff,
    Step::Refused,
    Step::Counted,
    Step::NobodyReads,
    Step::Read,
    Step::Everything,
    Step::Summed,
];

/// Loads: a name, and what runs.
type Load<'a> = (String, Box<dyn Fn() -> Result<Speed> + 'a>);

pub fn measure(ground: &Ground, rounds: u32, report: &mut Report) -> Result<()> {
    let (nginx, redis) = (Nginx::start(ground)?, Redis::start(ground)?);
    let mut loads: Vec<Load<'_>> = Vec::new();
    for (bytes, path) in ANSWERS {
        let url = nginx.url(path);
        loads.push((format!("nginx_{bytes}b_32"), Box::new(move || load::wrk(ground, &url, 32, SECONDS))));
    }
    for connections in [1, 1000] {
        let url = nginx.url("/");
        let name = format!("nginx_13b_{connections}");
        loads.push((name, Box::new(move || load::wrk(ground, &url, connections, SECONDS))));
    }
    let port = redis.port();
    loads.push(("redis_13b_32".into(), Box::new(move || load::redis(ground, port, 32, REDIS_REQUESTS))));
    for (name, load) in &loads {
        println!("{name}, {rounds} rounds of {} steps", STEPS.len());
        let mut added: [Vec<f64>; STEPS.len()] = Default::default();
        for round in 0..rounds as usize {
            let mut times = [0.0; STEPS.len()];
            for turn in 0..STEPS.len() {
                let at = (turn + round) % STEPS.len();
                times[at] = run(ground, STEPS[at], &format!("{name}{round}."), load)?;
            }
            for (added, time) in added.iter_mut().zip(times) {
                added.push(time - times[0]);
            }
            println!(
                "  round {round}: {:.1} us, and with each step {:.2?}",
                times[0],
                times.map(|time| time - times[0])
            );
        }
        for (step, added) in STEPS.iter().zip(&added).skip(1) {
            report.add_named(format!("ladder_{name}_{}", snake(&format!("{step:?}"))), median(added), "us");
        }
    }
    Ok(())
}

/// Machine time of a request on one step, in microseconds.
fn run(ground: &Ground, step: Step, prefix: &str, load: &dyn Fn() -> Result<Speed>) -> Result<f64> {
    match step {
        Step::Nothing => ground.with_stack_standing_still(|| measured(ground, None, load)),
        Step::KafkaIdle => measured(ground, None, load),
        Step::Summed | Step::Everything => {
            let detail = if step == Step::Summed { Detail::Default } else { Detail::Full };
            let agent = ground.agent(ground.load_cgroup(), &format!("{prefix}{detail:?}."), detail)?;
            measured(ground, Some(agent.process.pid()), load)
        }
        _ => with_probes(ground, step, || measured(ground, Some(std::process::id()), load)),
    }
}

/// Processor time of the load, of Kafka and of whoever observes, for a request.
fn measured(ground: &Ground, observer: Option<u32>, load: &dyn Fn() -> Result<Speed>) -> Result<f64> {
    let observer_cpu = || observer.map_or(Ok(Duration::ZERO), cpu_time);
    let before = (ground.load_cpu()?, ground.stack_cpu()?, observer_cpu()?);
    let speed = load()?;
    if let Some(pid) = observer {
        until_at_rest(pid)?;
    }
    let all = (ground.load_cpu()? - before.0) + (ground.stack_cpu()? - before.1) + (observer_cpu()? - before.2);
    Ok(all.as_secs_f64() * 1e6 / speed.requests)
}

/// Runs with the probes in this process, as far as the step goes.
fn with_probes(ground: &Ground, step: Step, run: impl FnOnce() -> Result<f64>) -> Result<f64> {
    let sees = if step == Step::Refused { ground.empty_cgroup() } else { ground.load_cgroup() };
    let ring_bytes = if step == Step::NobodyReads { 256 << 20 } else { 16 << 20 };
    let options = Options {
        cgroups: vec![sees.to_owned()],
        pids: vec![],
        ring_bytes,
        hook: None,
        tls: false,
        unix: true,
        processes_per_second_max: 200,
    };
    let mut probes =
        if step == Step::SwitchedOff { Probes::load_switched_off(&options)? } else { Probes::load(&options)? };
    let mut interests = probes.take_interests().context("the table of interests")?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if matches!(step, Step::Counted | Step::Read) {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    probes.wait(Duration::from_millis(25));
                    probes.drain(Instant::now() + Duration::from_millis(50), |event| {
                        if let (Step::Counted, Event::Open(socket)) = (step, event) {
                            interests.set(socket.connection_id, u32::from(socket.role), interest::COUNTERS);
                        }
                    });
                }
            });
        }
        let measured = run();
        done.store(true, Ordering::Relaxed);
        measured
    })
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
