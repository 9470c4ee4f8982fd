//! `headwater topics`: which topics there are, what is in them, and who writes them.

use std::time::Duration;

use anyhow::Result;
use headwater_kafka::{admin, connect_check};
use headwater_schemas::records::{
    Agent, Alert, DeadLetter, Edge, Flow, Identity, Latency, Partial, Process, Progress, Record, Request, WindowClosed,
};
use headwater_schemas::topics::Topic;
use serde::Serialize;

use crate::settings::Settings;
use crate::terminal::{Align, Colour, Table, colours_wanted, print};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub struct TopicsArgs {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct TopicLine {
    name: String,
    key: &'static str,
    record: &'static str,
    /// 0 if the topic is not there yet.
    partitions: usize,
    /// Offsets in use: transaction markers count too, and compaction leaves holes.
    records_at_most: i64,
    written_by: &'static str,
}

pub fn run(settings: &Settings, args: &TopicsArgs) -> Result<()> {
    connect_check(&settings.kafka, CONNECT_TIMEOUT)?;
    let states = admin::topics(&settings.kafka)?;
    let lines = Topic::ALL.map(|topic| {
        let name = topic.name(&settings.kafka.prefix);
        let kept = states.iter().find(|state| state.name == name).map(|state| &*state.kept).unwrap_or_default();
        TopicLine {
            name,
            key: topic.key(),
            record: record(topic),
            partitions: kept.len(),
            records_at_most: kept.iter().map(|kept| kept.end.0 - kept.first.0).sum(),
            written_by: topic.written_by(),
        }
    });
    if args.json {
        return lines.iter().try_for_each(|line| print(&format!("{}\n", serde_json::to_string(line)?)));
    }
    print(&render(&lines))
}

fn render(lines: &[TopicLine]) -> String {
    let mut table = Table::new(&[
        ("TOPIC", Align::Left),
        ("KEY", Align::Left),
        ("RECORD", Align::Left),
        ("PARTITIONS", Align::Right),
        ("RECORDS (AT MOST)", Align::Right),
        ("WRITTEN BY", Align::Left),
    ]);
    for line in lines {
        let there = line.partitions > 0;
        let count = |count: String| if there { (count, Colour::None) } else { ("not there".to_owned(), Colour::Warn) };
        table.row(vec![
            (line.name.clone(), Colour::Strong),
            (line.key.to_owned(), Colour::None),
            (line.record.to_owned(), Colour::None),
            count(line.partitions.to_string()),
            count(line.records_at_most.to_string()),
            (line.written_by.to_owned(), Colour::None),
        ]);
    }
    table.render(colours_wanted())
}

fn record(topic: Topic) -> &'static str {
    match topic {
        Topic::Flows => Flow::NAME,
        Topic::Requests => Request::NAME,
        Topic::Identities => Identity::NAME,
        Topic::Processes => Process::NAME,
        Topic::Agents => Agent::NAME,
        Topic::Progress => Progress::NAME,
        Topic::Partials => Partial::NAME,
        Topic::Edges | Topic::EdgeMinutes | Topic::EdgeHours => Edge::NAME,
        Topic::Latencies | Topic::LatencyMinutes | Topic::LatencyHours => Latency::NAME,
        Topic::EdgeWindows | Topic::LatencyWindows => WindowClosed::NAME,
        Topic::Alerts => Alert::NAME,
        Topic::DeadLetters => DeadLetter::NAME,
    }
}
