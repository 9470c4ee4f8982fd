//! Works a backlog off with real processes, and counts what that takes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use headwater_kafka::{KafkaSettings, Next, SchemaCache, Start, TopicReader, admin};
use headwater_process::{Child, Launch, cpu_time, program, rss_bytes, tail};
use headwater_schemas::records::{Edge, Latency};
use headwater_schemas::topics::Topic;

use super::Backlog;

const TIMEOUT: Duration = Duration::from_secs(300);
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What it took.
pub struct Cost {
    records: u64,
    cpu: Duration,
    took: Duration,
    /// The most that one instance had.
    pub rss_bytes: u64,
}

impl Cost {
    pub fn per_core(&self) -> f64 {
        self.records as f64 / self.cpu.as_secs_f64()
    }

    pub fn per_second(&self) -> f64 {
        self.records as f64 / self.took.as_secs_f64()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, took) = (self.cpu.as_secs_f64(), self.took.as_secs_f64());
        write!(f, "{:.0} records/s, {cpu:.2} s of processor time in {took:.1} s", self.per_second())
    }
}

/// Runs so many instances of all modes until edges and latencies hold every request of the backlog.
pub fn work_off(settings: &KafkaSettings, instances: u32, backlog: &Backlog) -> Result<Cost> {
    admin::ensure_topics(settings, &[Topic::Edges, Topic::Latencies])?;
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let mut processors = Vec::new();
    for instance in 0..instances {
        processors.push(start(settings, &format!("bench-{instance}"), &folder.path().join(format!("{instance}.log")))?);
    }
    let mut rss = 0;
    let result = wait_for_windows(settings, backlog, || {
        rss = processors.iter().filter_map(|processor| rss_bytes(processor.pid()).ok()).fold(rss, u64::max);
    });
    let took = began.elapsed();
    let cpu = processors.iter().map(|processor| cpu_time(processor.pid())).sum::<Result<Duration, _>>()?;
    for processor in &mut processors {
        processor.stop(STOP_PATIENCE);
    }
    result.with_context(|| format!("the first processor's log ends so:\n{}", tail(&folder.path().join("0.log"))))?;
    Ok(Cost { records: backlog.records, cpu, took, rss_bytes: rss })
}

/// Starts an instance of all modes, which has the same name at each start.
pub fn start(settings: &KafkaSettings, instance: &str, log: &Path) -> Result<Child> {
    let mut command = Command::new(program("headwater-processor")?);
    command.arg("all").args(["--kafka-brokers", &settings.brokers, "--registry-url", &settings.registry_url]);
    command.args(["--kafka-prefix", &settings.prefix, "--kafka-partitions", &settings.partitions.to_string()]);
    command.args(["--processor-instance", instance, "--log-level", "warn"]);
    Ok(Launch::new("headwater-processor", command, log).ending_softly().spawn()?)
}

/// Waits until edges and latencies hold every request, and not one more, and each window of the latencies all series.
fn wait_for_windows(settings: &KafkaSettings, backlog: &Backlog, mut meanwhile: impl FnMut()) -> Result<()> {
    let names = [Topic::Edges, Topic::Latencies].map(|topic| topic.name(&settings.prefix));
    let mut cache = SchemaCache::new(settings);
    let mut reader = TopicReader::start(settings, &names, &Start::Earliest)?;
    let deadline = Instant::now() + TIMEOUT;
    let (mut of_edges, mut of_latencies) = (0, 0);
    let mut series: BTreeMap<i64, u64> = BTreeMap::new();
    while of_edges.min(of_latencies) < backlog.requests {
        if Instant::now() > deadline {
            bail!(
                "edges hold {of_edges} and latencies {of_latencies} of {} requests after {TIMEOUT:?}",
                backlog.requests
            );
        }
        let Next::Record(message) = reader.next(Duration::from_millis(100))? else {
            meanwhile();
            continue;
        };
        let Some(value) = message.value() else { continue };
        let (schema, datum) = cache.open(value).context("read an edge or a latency")?;
        if message.topic() == names[0] {
            let edge: Edge = schema.decode(datum)?;
            ensure!(
                edge.completeness == 1.0,
                "the log has everything, and {} is {} complete",
                edge.key(),
                edge.completeness
            );
            of_edges += edge.requests;
        } else {
            let latency: Latency = schema.decode(datum)?;
            of_latencies += latency.requests;
            *series.entry(latency.window_start_us).or_default() += 1;
        }
    }
    let most = of_edges.max(of_latencies);
    ensure!(most == backlog.requests, "{most} requests came out of {} that were published", backlog.requests);
    ensure!(series.values().all(|count| *count == backlog.series), "of {} series there are {series:?}", backlog.series);
    Ok(())
}
