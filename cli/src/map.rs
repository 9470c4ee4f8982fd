//! `headwater map`: the service map in a terminal, from the edges and what closes their windows alone.
//!
//! As a table it is the map of the last minutes. With `--json` it is one object a line for each edge and window, in the form
//! that [`EdgeLine`] describes; `--watch` goes on with each record as it comes, revisions included.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use headwater_console::live::{EdgeView, Limits, Live, MapView, Range};
use headwater_console::records::{Item, ItemReader, place};
use headwater_kafka::{NextOfWindows as Next, RecordError, Start, WindowReader, connect_check};
use headwater_schemas::encryption::title;
use headwater_schemas::records::{Edge, NO_DATA, Workload};
use headwater_schemas::topics::Topic;
use serde::Serialize;

use crate::clock::{now_us, period, rfc3339};
use crate::format;
use crate::names::Names;
use crate::settings::Settings;
use crate::terminal::{Align, Colour, Table, clean, colours_wanted, paint, print};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(30);
/// Some kilobytes each; a day of more than twenty edges has more than these.
const RECORDS_MAX: usize = 200_000;
/// The word of edges for connections that are not encrypted.
const CLEAR_TEXT: &str = "none";
/// A window is published some seconds after its end.
const PUBLISHED_LATE_US: i64 = 60_000_000;

#[derive(Debug, clap::Args)]
pub struct MapArgs {
    /// Stay, and show each new window
    #[arg(long)]
    watch: bool,
    /// Print one JSON object a line, for each edge and window
    #[arg(long)]
    json: bool,
    /// How far back to look, from the newest complete window
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Only edges that have connections in clear text
    #[arg(long)]
    clear_text: bool,
}

/// One edge in one window, as `--json` prints it.
#[derive(Serialize)]
pub struct EdgeLine<'a> {
    /// RFC 3339 in UTC, such as `2026-01-31T12:00:10Z`.
    window_start: String,
    window_ms: i64,
    /// 0 at first; a line with a higher one replaces those before.
    revision: i32,
    client: &'a Workload,
    server: &'a Workload,
    protocol: &'a str,
    requests: i64,
    errors: i64,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    /// From 0 to 1.
    completeness: f64,
    both_sides: i64,
    client_to_server_bytes: i64,
    server_to_client_bytes: i64,
    connections_opened: i64,
    connections_closed: i64,
    connections_failed: i64,
    retransmits: i64,
    /// null if it was not measured.
    rtt_us: Option<f64>,
    /// What clients asked for, which may not be who answered; at most eight, then `{more}`.
    asked: &'a [String],
    /// Connections that moved bytes, by how they are encrypted.
    encryption: &'a BTreeMap<String, i64>,
}

pub fn run(settings: &Settings, args: &MapArgs) -> Result<()> {
    connect_check(&settings.kafka, CONNECT_TIMEOUT)?;
    let back_us = i64::from(args.minutes) * 60_000_000 + PUBLISHED_LATE_US;
    let mut reader = WindowReader::start(&settings.kafka, Topic::Edges, &Start::AtMs((now_us() - back_us) / 1000))?;
    let mut items = ItemReader::new(&settings.kafka);
    // Windows are no shorter than a second.
    let windows_max = (args.minutes as usize + 1) * 60;
    let limits = Limits { minutes: args.minutes + 1, records_max: RECORDS_MAX, windows_max, ..Limits::default() };
    let mut live = Live::new(limits);
    let range = Range::Minutes(args.minutes);
    let mut shown_to_us = None;
    let mut has_ended = false;
    loop {
        let mut idle = true;
        match reader.next(if has_ended { POLL } else { PATIENCE })? {
            Next::Record(message) => {
                idle = false;
                match items.read(Topic::Edges, &message) {
                    Ok(Item::Edge(edge)) => {
                        if args.watch && args.json && has_ended && is_wanted(&edge, args) {
                            print(&line(&edge)?)?;
                        }
                        live.edge(*edge, now_us());
                    }
                    Ok(_) => {}
                    Err(RecordError::Bad(error)) => eprintln!("passed over {}: {error}", place(Topic::Edges, &message)),
                    Err(RecordError::Registry(error)) => return Err(error.into()),
                }
            }
            Next::Closed(_, closed) => {
                idle = false;
                live.edges_closed(&closed, now_us());
            }
            Next::Unreadable(message, error) => {
                eprintln!("passed over {}: {error}", place(Topic::EdgeWindows, &message));
            }
            Next::End => {
                has_ended = true;
                if args.json {
                    let mut wanted = live.edges_of(range).into_iter().filter(|edge| is_wanted(edge, args));
                    wanted.try_for_each(|edge| print(&line(edge)?))?;
                }
            }
            Next::Idle if !has_ended => {
                bail!("nothing came from the brokers for {PATIENCE:?}; check that they are well")
            }
            Next::Idle => {}
        }
        if !has_ended {
            continue;
        }
        if args.json && !args.watch {
            return complete(&live);
        }
        let newest_us = live.newest_window_end_us();
        // Between two windows nothing changes; the first look is taken even if there is nothing to see.
        if !args.json && idle && (shown_to_us.is_none() || shown_to_us != Some(newest_us)) {
            shown_to_us = Some(newest_us);
            let colours = colours_wanted();
            let clear = if args.watch && colours { "\x1b[H\x1b[2J\x1b[3J" } else { "" };
            let mut map = live.map(range);
            map.edges.retain(|edge| !args.clear_text || is_in_clear_text(edge));
            print(&format!("{clear}{}", render(&map, colours)))?;
            if !args.watch {
                return complete(&live);
            }
        }
    }
}

fn is_wanted(edge: &Edge, args: &MapArgs) -> bool {
    !args.clear_text || edge.encryption.contains_key(CLEAR_TEXT)
}

/// What is printed must be what was asked for.
fn complete(live: &Live) -> Result<()> {
    let cut = live.cut_offs().edges;
    if cut.from_the_future > 0 {
        bail!(
            "{} records are of windows that begin after now and were left out: check the clocks",
            cut.from_the_future
        );
    }
    if cut.over_limit > 0 {
        bail!(
            "the oldest windows are not in it: {} records are more than the {RECORDS_MAX} that fit; ask for fewer --minutes",
            cut.over_limit
        );
    }
    Ok(())
}

/// One edge as a line of JSON.
pub fn line(edge: &Edge) -> Result<String> {
    let line = EdgeLine {
        window_start: rfc3339(edge.window_start_us),
        window_ms: edge.window_ms,
        revision: edge.revision,
        client: &edge.client,
        server: &edge.server,
        protocol: &edge.protocol,
        requests: edge.requests,
        errors: edge.errors,
        p50_us: edge.p50_us,
        p95_us: edge.p95_us,
        p99_us: edge.p99_us,
        completeness: edge.completeness,
        both_sides: edge.both_sides,
        client_to_server_bytes: edge.client_to_server_bytes,
        server_to_client_bytes: edge.server_to_client_bytes,
        connections_opened: edge.connections_opened,
        connections_closed: edge.connections_closed,
        connections_failed: edge.connections_failed,
        retransmits: edge.retransmits,
        rtt_us: (edge.rtt_us >= 0.0).then_some(edge.rtt_us),
        asked: &edge.asked,
        encryption: &edge.encryption,
    };
    Ok(format!("{}\n", serde_json::to_string(&line)?))
}

fn render(map: &MapView, colours: bool) -> String {
    let Some(span) = map.span else {
        return "No window in this time. Do the agent and the processors run? `headwater doctor` and `headwater topics` tell more.\n"
            .to_owned();
    };
    let age = format::age((now_us() - span.to_us) / 1000);
    let title = period(span.from_us, span.to_us);
    let completeness = format!("{} complete", format::completeness(map.completeness));
    let colour = if map.completeness < 1.0 { Colour::Warn } else { Colour::Muted };
    let mut text = format!(
        "{}  {}\n\n",
        paint(&format!("Service map, {title}"), Colour::Strong, colours),
        paint(&format!("ended {age} ago, {completeness}"), colour, colours)
    );
    let left = |name| (name, Align::Left);
    let right = |name| (name, Align::Right);
    let heads = ["RATE", "ERRORS", "P50", "P95", "P99", "BYTES", "RTT"].map(right);
    let names_of = ["CLIENT", "SERVER", "PROTOCOL", "ENCRYPTION"].map(left);
    let mut table = Table::new(&[names_of.as_slice(), &heads].concat());
    let names = Names::of(map.nodes.iter().map(|node| &node.workload.workload));
    map.edges.iter().for_each(|edge| table.row(row(edge, &names)));
    text.push_str(&table.render(colours));
    if map.cut_offs.edges.over_limit > 0 {
        let line = format!(
            "Not everything fits: {} records of the oldest windows are left out",
            map.cut_offs.edges.over_limit
        );
        text.push_str(&format!("{}\n", paint(&line, Colour::Warn, colours)));
    }
    for gap in &map.missing {
        let what = match (gap.reason.as_str(), gap.count) {
            (NO_DATA, _) => "sent no data".to_owned(),
            (reason, 0) => format!("dropped some records ({reason})"),
            (reason, count) => format!("dropped {count} records ({reason})"),
        };
        let line = format!("Incomplete: node {} {what}, {}", gap.node, period(gap.from_us, gap.to_us));
        text.push_str(&format!("{}\n", paint(&clean(&line), Colour::Warn, colours)));
    }
    text
}

fn row(edge: &EdgeView, names: &Names) -> Vec<(String, Colour)> {
    let EdgeView { requests, .. } = edge;
    let plain = |text: String| (text, Colour::None);
    let counted =
        |text: String| if requests.requests > 0 { (text, Colour::None) } else { ("–".into(), Colour::Muted) };
    let errors = match requests.error_share {
        share if share >= 0.05 => Colour::Bad,
        share if share >= 0.01 => Colour::Warn,
        _ => Colour::None,
    };
    vec![
        plain(names.text(&edge.client.workload)),
        plain(names.text(&edge.server.workload)),
        plain(edge.protocol.clone()),
        encryption(edge),
        counted(format::rate(requests.requests_per_s)),
        (counted(format::share(requests.error_share)).0, errors),
        counted(format::latency(requests.p50_us)),
        counted(format::latency(requests.p95_us)),
        counted(format::latency(requests.p99_us)),
        plain(format!("{}/s", format::bytes(edge.to_server_bytes_per_s + edge.to_client_bytes_per_s))),
        plain(edge.rtt_us.map_or("–".into(), format::latency)),
    ]
}

/// How its connections are encrypted, the weakest first.
fn encryption(edge: &EdgeView) -> (String, Colour) {
    let words: Vec<String> = edge.encryption.iter().map(|(word, _)| title(word)).collect();
    let colour = match edge.encryption.first() {
        Some(("ssl3.0" | "tls1.0" | "tls1.1", _)) => Colour::Warn,
        _ => Colour::None,
    };
    (if words.is_empty() { "–".into() } else { words.join(", ") }, colour)
}

fn is_in_clear_text(edge: &EdgeView) -> bool {
    edge.encryption.iter().any(|(word, _)| *word == CLEAR_TEXT)
}
