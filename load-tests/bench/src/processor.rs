//! Records a second and core through `headwater-processor all`: a backlog is worked off, and its processor time is counted.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headwater_kafka::{KafkaSettings, Next, SchemaCache, Start, TopicReader, admin};
use headwater_process::{Launch, cpu_time, program, tail};
use headwater_schemas::records::Edge;
use headwater_schemas::topics::Topic;
use headwater_stack::Stack;
use headwater_system_tests::fill::{Fill, fill};

use crate::report::Report;

const EVENT_SECONDS: u64 = 20;
const TIMEOUT: Duration = Duration::from_secs(300);
const STOP_PATIENCE: Duration = Duration::from_secs(10);

pub fn measure(stack: &Stack, records: u64, report: &mut Report) -> Result<()> {
    println!("the processor on a backlog of {records} records");
    let mut settings = KafkaSettings::local(&stack.bootstrap(), &stack.registry().url());
    settings.prefix = "backlog.".into();
    let records = records / 2 / EVENT_SECONDS * 2 * EVENT_SECONDS;
    let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros() as i64;
    let start_us = (now_us / 10_000_000 - 60) * 10_000_000;
    fill(&settings, &Fill { records, seconds: EVENT_SECONDS, start_us, in_the_past: false, lossy_second: None })?;
    admin::ensure_topics(&settings, &[Topic::Edges])?;
    let began = Instant::now();
    let log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(program("headwater-processor")?);
    command.arg("all").args(["--kafka-brokers", &settings.brokers, "--registry-url", &settings.registry_url]).args([
        "--kafka-prefix",
        &settings.prefix,
        "--log-level",
        "warn",
    ]);
    let mut processor = Launch::new("headwater-processor", command, log.path()).ending_softly().spawn()?;
    let result = wait_for_edges(&settings, records as i64 / 2);
    let cpu = cpu_time(processor.pid())?.as_secs_f64();
    processor.stop(STOP_PATIENCE);
    result.with_context(|| format!("the processor's log ends so:\n{}", tail(log.path())))?;
    println!("  {cpu:.2} s of processor time in {:.1} s", began.elapsed().as_secs_f64());
    report.add("records_per_second_core", records as f64 / cpu, "records/s/core");
    Ok(())
}

/// Waits until the edges hold every request, and not one more.
fn wait_for_edges(settings: &KafkaSettings, expected: i64) -> Result<()> {
    let mut cache = SchemaCache::new(settings);
    let mut reader = TopicReader::start(settings, &[Topic::Edges.name(&settings.prefix)], &Start::Earliest)?;
    let deadline = Instant::now() + TIMEOUT;
    let mut requests = 0;
    while requests < expected {
        if Instant::now() > deadline {
            bail!("the edges hold {requests} of {expected} requests after {TIMEOUT:?}");
        }
        if let Next::Record(message) = reader.next(Duration::from_millis(100))?
            && let Some(value) = message.value()
        {
            let (schema, datum) = cache.open(value).context("read an edge")?;
            requests += schema.decode::<Edge>(datum)?.requests;
        }
    }
    if requests > expected {
        bail!("the edges hold {requests} requests, more than the {expected} that were published");
    }
    Ok(())
}
