//! `headwater tail TOPIC`: a topic as it grows, one line a record.
//!
//! For people a line says the most important; with `--json` it is the whole record, with where it stands as `@partition`,
//! `@offset` and `@timestamp_ms`, and for windows a readable `window_start`.

mod at;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use headwater_kafka::{Message, Next, RecordError, SchemaCache, Start, TopicReader, connect_check};
use headwater_schemas::asked::with_port;
use headwater_schemas::encryption;
use headwater_schemas::records::{
    Agent, Alert, AlertState, DeadLetter, Edge, Flow, Identity, Latency, Partial, Process, ProcessKind, Progress,
    Record, Request, Tls, WindowClosed,
};
use headwater_schemas::topics::{Topic, WINDOW_CLOSED_HEADER};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::at::{Spot, Wanted};
use crate::clock::{now_us, parse_time_us, rfc3339, rfc3339_ms};
use crate::format::{age, bytes, completeness, latency, rate, share};
use crate::settings::Settings;
use crate::terminal::{clean, print};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
/// For places that may not be there.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub struct TailArgs {
    /// Which topic, without the prefix
    #[arg(value_parser = PossibleValuesParser::new(Topic::ALL.map(Topic::suffix)).map(topic_named))]
    topic: Topic,
    /// Print each record as one JSON object a line
    #[arg(long)]
    json: bool,
    /// Where to start: earliest, latest, a time such as 2026-01-31T12:00:00Z (UTC), or one before now such as -5m
    #[arg(long, default_value = "latest", allow_hyphen_values = true)]
    from: String,
    /// Only the records at these places, such as 0:1234,0:1240; then stop
    #[arg(long, value_name = "PARTITION:OFFSET", value_delimiter = ',', value_parser = Spot::parse,
        conflicts_with_all = ["from", "count", "to_end"])]
    at: Vec<Spot>,
    /// Stop after so many records
    #[arg(long)]
    count: Option<u64>,
    /// Stop at the end instead of waiting for more
    #[arg(long)]
    to_end: bool,
    /// Only records with this value in this field, such as encryption=none or tls.mutual=true; several must all hold
    #[arg(long = "where", value_name = "FIELD=VALUE", value_parser = Condition::parse)]
    conditions: Vec<Condition>,
    /// Show records without a value too: keys that are deleted, and in internal.partials which windows are closed
    #[arg(long)]
    markers: bool,
}

/// What a record must say to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    /// The names of a field and of those within it.
    path: Vec<String>,
    value: String,
}

impl Condition {
    fn parse(text: &str) -> Result<Condition, String> {
        let (path, value) = text.split_once('=').ok_or("it must be FIELD=VALUE, as in encryption=none")?;
        Ok(Condition { path: path.split('.').map(str::to_owned).collect(), value: value.to_owned() })
    }

    /// A field that is not there has no value, not even an empty one; null is `null`.
    fn holds(&self, record: &Value) -> bool {
        let field = self.path.iter().try_fold(record, |value, name| value.get(name));
        let text = field.map(|field| field.as_str().map_or_else(|| field.to_string(), str::to_owned));
        text.as_ref() == Some(&self.value)
    }
}

/// A record in both forms.
struct Shown {
    human: String,
    json: Value,
}

pub fn run(settings: &Settings, args: &TailArgs) -> Result<()> {
    let name = args.topic.name(&settings.kafka.prefix);
    let mut wanted = (!args.at.is_empty()).then(|| Wanted::of(&args.at));
    let start = match &wanted {
        Some(wanted) => Start::Offsets(wanted.starts(&name)),
        None => start(&args.from)?,
    };
    connect_check(&settings.kafka, CONNECT_TIMEOUT)?;
    let mut heard_at = Instant::now();
    let mut reader = TopicReader::start(&settings.kafka, std::slice::from_ref(&name), &start)?;
    let mut cache = SchemaCache::new(&settings.kafka);
    let (mut left, mut ends) = (args.count.unwrap_or(u64::MAX), 0);
    let partitions = reader.partitions().len();
    while left > 0 && !(args.to_end && ends >= partitions) && !wanted.as_ref().is_some_and(Wanted::is_done) {
        let message = match reader.next(POLL)? {
            Next::Record(message) => message,
            Next::End(at) => {
                ends += 1;
                if let Some(wanted) = &mut wanted {
                    wanted.end(at.partition.0);
                }
                continue;
            }
            Next::Idle if wanted.is_some() && heard_at.elapsed() > PATIENCE => {
                let partitions: BTreeSet<i32> = args.at.iter().map(|spot| spot.partition).collect();
                bail!(
                    "read {name}, partitions {partitions:?}: nothing came for {PATIENCE:?}; `headwater topics` tells which are there"
                )
            }
            Next::Idle => continue,
        };
        heard_at = Instant::now();
        if wanted.as_mut().is_some_and(|wanted| !wanted.take(message.partition().0, message.offset().0)) {
            continue;
        }
        if message.value().is_none() && !args.markers {
            continue;
        }
        match show(args.topic, &message, &mut cache) {
            Ok(shown) if !args.conditions.iter().all(|condition| condition.holds(&shown.json)) => continue,
            Ok(shown) => print(&line(&shown, &message, args.json)?)?,
            Err(RecordError::Bad(error)) => {
                let place =
                    format!("{} partition {} offset {}", message.topic(), message.partition(), message.offset());
                eprintln!("passed over {place}: {error}");
            }
            Err(RecordError::Registry(error)) => return Err(error.into()),
        }
        left -= 1;
    }
    wanted.map_or(Ok(()), |wanted| wanted.check(&name))
}

pub fn topic_named(name: String) -> Topic {
    // Clap lets only the names of topics pass.
    Topic::from_name("", &name).unwrap_or(Topic::Edges)
}

fn start(from: &str) -> Result<Start> {
    match from {
        "earliest" => Ok(Start::Earliest),
        "latest" | "now" => Ok(Start::Latest),
        time => match parse_time_us(time, now_us()) {
            Ok(us) => Ok(Start::AtMs(us / 1000)),
            Err(error) => bail!("--from: {error}, earliest or latest"),
        },
    }
}

fn line(shown: &Shown, message: &Message<'_>, json: bool) -> Result<String> {
    if !json {
        return Ok(format!("{}\n", clean(&shown.human)));
    }
    let mut object = serde_json::Map::new();
    object.insert("@partition".into(), message.partition().0.into());
    object.insert("@offset".into(), message.offset().0.into());
    object.insert("@timestamp_ms".into(), message.timestamp_ms().into());
    if let Value::Object(fields) = &shown.json {
        if let Some(start_us) = fields.get("window_start_us").and_then(Value::as_i64) {
            object.insert("window_start".into(), rfc3339(start_us).into());
        }
        object.extend(fields.clone());
    }
    serde_json::to_string(&object).map(|text| text + "\n").context("write a record as JSON")
}

fn show(topic: Topic, message: &Message<'_>, cache: &mut SchemaCache) -> Result<Shown, RecordError> {
    let Some(value) = message.value() else { return show_marker(topic, message, cache) };
    match topic {
        Topic::Requests => decoded(cache, value, request),
        Topic::Flows => decoded(cache, value, flow),
        Topic::Identities => decoded(cache, value, identity),
        Topic::Processes => decoded(cache, value, process),
        Topic::Agents => decoded(cache, value, agent),
        Topic::Progress => decoded(cache, value, progress),
        Topic::Partials => decoded(cache, value, partial),
        Topic::Edges | Topic::EdgeMinutes | Topic::EdgeHours => decoded(cache, value, edge),
        Topic::Latencies | Topic::LatencyMinutes | Topic::LatencyHours => decoded(cache, value, operation),
        Topic::EdgeWindows | Topic::LatencyWindows => decoded(cache, value, window_closed),
        Topic::Alerts => decoded(cache, value, alert),
        Topic::DeadLetters => decoded(cache, value, dead_letter),
    }
}

fn show_marker(topic: Topic, message: &Message<'_>, cache: &mut SchemaCache) -> Result<Shown, RecordError> {
    if let Some(mark) = message.header(WINDOW_CLOSED_HEADER).filter(|_| topic == Topic::Partials) {
        return decoded(cache, mark, |mark: &WindowClosed| format!("-- {}", window_closed(mark)));
    }
    let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
    Ok(Shown { human: format!("-- the key {key} is deleted"), json: serde_json::json!({ "@deleted": key }) })
}

fn decoded<'v, R: Record + Deserialize<'v> + Serialize>(
    cache: &mut SchemaCache,
    value: &'v [u8],
    human: impl Fn(&R) -> String,
) -> Result<Shown, RecordError> {
    let (schema, datum) = cache.open(value)?;
    let record: R = schema.decode(datum).map_err(|error| RecordError::Bad(error.to_string()))?;
    let json = serde_json::to_value(&record).map_err(|error| RecordError::Bad(error.to_string()))?;
    Ok(Shown { human: human(&record), json })
}

fn progress(told: &Progress) -> String {
    let covered = format!("{} to {}", rfc3339_ms(told.covers_from_us), rfc3339_ms(told.up_to_us));
    let shares = [("flows", &told.flows), ("requests", &told.requests)].map(|(topic, share)| {
        let dropped: i64 = share.dropped.iter().map(|dropped| dropped.count).sum();
        format!("{} {topic} up to offset {}, {dropped} dropped", share.records, share.through_offset)
    });
    format!("{}  {covered}  {}", told.node, shares.join("  "))
}

fn request(r: &Request<'_>) -> String {
    let result = match r.failure {
        Some(failure) => failure.to_owned(),
        None if r.status != 0 => r.status.to_string(),
        None if r.code.is_empty() => "ok".to_owned(),
        None => r.code.to_owned(),
    };
    let (latency_ns, request_bytes, response_bytes, several) = match &r.sums {
        None => (r.latency_ns() as f64, r.request_bytes, r.response_bytes, String::new()),
        Some(sums) => {
            let several = format!("  {} requests, half of them within that time", r.weight);
            (sums.duration_ns.quantile(0.5), sums.request_bytes, sums.response_bytes, several)
        }
    };
    let named = |what: &str, value: &str| if value.is_empty() { String::new() } else { format!("  {what} {value}") };
    format!(
        "{}  {:<18} {:<6}  {:<40} {:>4}  {:>7}  {:>8} out {:>8} back  {}{}{}{}{several}",
        rfc3339_ms(r.started_at_us),
        r.workload,
        side(r.side),
        r.operation,
        result,
        latency(latency_ns / 1e3),
        bytes(request_bytes as f64),
        bytes(response_bytes as f64),
        remote(r.remote_name, r.remote_address, r.remote_port),
        named("for", r.resource),
        named("trace", r.trace_id),
        named("request", r.request_id),
    )
}

/// The other end, by its name if it has one.
fn remote(name: &str, address: &str, port: i32) -> String {
    if name.is_empty() { place(address, port) } else { format!("{name}:{port} ({address})") }
}

fn place(address: &str, port: i32) -> String {
    with_port(address, u16::try_from(port).unwrap_or_default())
}

fn flow(f: &Flow<'_>) -> String {
    let state = format!("{:?}", f.state).to_lowercase();
    format!(
        "{}  {:<18} {:<6}  {:<6} {:<5} {:<10} {} to {}  {} sent  {} received  RTT {}{}{}",
        rfc3339_ms(f.observed_at_us),
        f.workload,
        side(f.side),
        state,
        f.protocol,
        encryption::title(f.encryption),
        place(f.local_address, f.local_port),
        remote(f.remote_name, f.remote_address, f.remote_port),
        bytes(f.sent_bytes as f64),
        bytes(f.received_bytes as f64),
        latency(f.rtt_us as f64),
        f.tls.as_ref().map(tls).unwrap_or_default(),
        f.failure.map(|failure| format!("  failed: {failure}")).unwrap_or_default(),
    )
}

/// What the handshake said, as far as it was seen.
fn tls(tls: &Tls<'_>) -> String {
    let words = [
        ("for", tls.server_name),
        ("with", tls.cipher_suite),
        ("by", tls.key_exchange_group),
        ("issued by", tls.certificate_issuer),
    ];
    let said = words.into_iter().filter_map(|(what, value)| Some((what, value.filter(|value| !value.is_empty())?)));
    said.map(|(what, value)| format!("  {what} {value}")).collect()
}

fn identity(i: &Identity) -> String {
    let end = if i.ended { "ended" } else { "holds" };
    format!(
        "{}  {:<39} {end}  since {}  {} {}/{}  {}",
        rfc3339_ms(i.until_us),
        i.address,
        rfc3339_ms(i.from_us),
        i.kind,
        i.namespace,
        i.name,
        i.pod
    )
}

fn process(p: &Process<'_>) -> String {
    let what = match p.kind {
        ProcessKind::Exec => "began the program".to_owned(),
        ProcessKind::Exit => format!("ended {}", end(p)),
        ProcessKind::OomKill => "was killed for want of memory (OOM)".to_owned(),
        ProcessKind::Listen => format!("listens on {}", listened(p)),
        ProcessKind::Listening => format!("has been listening on {}", listened(p)),
        ProcessKind::ListenEnd => format!("listens no more on {}", listened(p)),
        ProcessKind::Unknown => "did something that this version does not know".to_owned(),
    };
    // As seconds and parts of them as long as these say something.
    let lived = if p.lived_us < 100_000_000 { latency(p.lived_us as f64) } else { age(p.lived_us / 1000) };
    format!(
        "{}  {:<18} {:<15} {:>7}  {what}  after {lived}  on {}",
        rfc3339_ms(p.observed_at_us),
        p.workload,
        p.executable_name,
        p.pid,
        p.node
    )
}

/// How a process ended.
fn end(p: &Process<'_>) -> String {
    match (p.signal, p.exit_code) {
        (Some(signal), _) => format!("by {}", signal_name(signal)),
        (None, Some(code)) => format!("with code {code}"),
        (None, None) => "in a way that nobody knows".to_owned(),
    }
}

fn listened(p: &Process<'_>) -> String {
    place(p.local_address.unwrap_or("?"), p.local_port.unwrap_or(0))
}

/// Of signals that end processes, as Linux numbers them on x86_64 and arm64 (signal(7)).
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

fn agent(a: &Agent) -> String {
    let sum = |counts: &std::collections::BTreeMap<String, i64>| counts.values().sum::<i64>();
    let state = if a.is_final { "stopped" } else { "beats" };
    format!(
        "{}  {:<18} {state}  captured {}  published {}  in flight {}  dropped {}  CPU {} ms  memory {}",
        rfc3339_ms(a.observed_at_us),
        a.node,
        sum(&a.captured),
        sum(&a.published),
        sum(&a.in_flight),
        sum(&a.dropped),
        a.cpu_ms,
        bytes(a.rss_bytes as f64),
    )
}

fn edge(e: &Edge) -> String {
    let call = format!("{} → {}", e.client, e.server);
    let seconds = e.window_ms as f64 / 1e3;
    let figures = if e.requests > 0 {
        let errors = share(e.errors as f64 / e.requests as f64);
        format!("{} · {errors} · p95 {}", rate(e.requests as f64 / seconds), latency(e.p95_us))
    } else {
        let both = (e.client_to_server_bytes + e.server_to_client_bytes) as f64;
        format!("{}/s · RTT {}", bytes(both / seconds), latency(e.rtt_us))
    };
    format!(
        "{}  {call:<36} {:<5} {figures}{}",
        window(e.window_start_us, e.revision),
        e.protocol,
        lacking(e.completeness)
    )
}

fn operation(l: &Latency) -> String {
    let call = format!("{} → {}", l.client, l.server);
    format!(
        "{}  {call:<36} {:<40} {}  {:>7}  p50 {}  p95 {}  p99 {}{}",
        window(l.window_start_us, l.revision),
        l.operation,
        l.status_class,
        rate(l.requests as f64 * 1e3 / l.window_ms.max(1) as f64),
        latency(l.p50_us),
        latency(l.p95_us),
        latency(l.p99_us),
        lacking(l.completeness),
    )
}

fn partial(p: &Partial) -> String {
    let call = format!("{} → {}", p.client, p.server);
    let start = rfc3339(p.window_start_us);
    format!(
        "{start}  raw partition {}  {call:<36} {:<40} {}  {} requests",
        p.raw_partition, p.operation, p.status_class, p.requests
    )
}

fn window_closed(w: &WindowClosed) -> String {
    let records = if w.records < 0 { String::new() } else { format!("  {} records", w.records) };
    let lacks = w.missing.iter().map(|missing| format!("  {} {}", missing.node, missing.reason)).collect::<String>();
    format!(
        "{}  closed by partition {} of {}  {} complete{records}{lacks}",
        window(w.window_start_us, w.revision),
        w.source_partition,
        w.source_partitions,
        completeness(w.completeness)
    )
}

fn alert(a: &Alert) -> String {
    let state = if a.state == AlertState::Firing { "FIRING" } else { "RESOLVED" };
    format!("{}  {state:<8}  {}  {}", rfc3339_ms(a.observed_at_us), a.service, a.message)
}

fn dead_letter(d: &DeadLetter<'_>) -> String {
    format!(
        "{} partition {} offset {}: {} ({} bytes, read by {})",
        d.topic, d.partition, d.offset, d.error, d.value_bytes, d.read_by
    )
}

fn side(side: headwater_schemas::records::Side) -> &'static str {
    match side {
        headwater_schemas::records::Side::Client => "client",
        headwater_schemas::records::Side::Server => "server",
    }
}

fn window(start_us: i64, revision: i32) -> String {
    let start = rfc3339(start_us);
    if revision > 0 { format!("{start} (revision {revision})") } else { start }
}

fn lacking(part: f64) -> String {
    if part < 1.0 { format!("  only {} complete", completeness(part)) } else { String::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn conditions_look_into_records() {
        let record =
            serde_json::json!({"encryption": "tls1.2", "pid": 7, "tls": {"mutual": true, "issuer": null, "alpn": ""}});
        let holds = |text| Condition::parse(text).unwrap().holds(&record);
        assert!(
            ["encryption=tls1.2", "pid=7", "tls.mutual=true", "tls.issuer=null", "tls.alpn="].into_iter().all(holds)
        );
        assert!(!["encryption=none", "tls.mutual=false", "tls.none=", "pid.x=7", "e="].into_iter().any(holds));
        assert!(Condition::parse("encryption").is_err());
    }

    #[test]
    fn what_happened_to_a_process_is_a_line() {
        let sample = headwater_schemas::samples::process();
        let line = |p: &Process<'_>| process(p).split_once("4711  ").unwrap().1.to_owned();
        assert_eq!(line(&sample), "was killed for want of memory (OOM)  after 60 min  on node-a");
        let exit = Process { kind: ProcessKind::Exit, ..sample.clone() };
        assert!(line(&exit).starts_with("ended by SIGKILL  "), "{}", line(&exit));
        assert!(line(&Process { signal: None, ..exit }).starts_with("ended with code 3  "));
        let listen = Process { kind: ProcessKind::Listen, local_address: Some("::"), ..sample };
        assert!(line(&listen).starts_with("listens on [::]:8080  "), "{}", line(&listen));
    }

    #[test]
    fn starts_are_understood() {
        assert_eq!(start("earliest").unwrap(), Start::Earliest);
        assert_eq!(start("latest").unwrap(), Start::Latest);
        let before_ms = now_us() / 1000;
        let Start::AtMs(ms) = start("-5m").unwrap() else { panic!("a time was given") };
        assert!((before_ms..=now_us() / 1000).contains(&(ms + 300_000)));
        assert!(start("soon").unwrap_err().to_string().contains("earliest or latest"));
    }
}
