//! The pages of docs/topics are what the schemas say: `UPDATE_DOCS=1` writes them.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use headwater_schemas::topics::{TIMESTAMP_TYPE, Topic};
use serde_json::Value;

/// What the schema of a topic cannot say: what names one of its records, and what else is in it.
fn beyond_the_schema(topic: Topic) -> [&'static str; 2] {
    const MARKS: &str = "Records without a value, with the header `headwater.window-closed`, carry a `WindowClosed` (see [edge-windows](edge-windows.md)).";
    const OF_EDGES: &str = "[edge-windows](edge-windows.md) says when a window is whole, and what is missing of it.";
    const OF_LATENCIES: &str =
        "[latency-windows](latency-windows.md) says when a window is whole, and what is missing of it.";
    match topic {
        Topic::Flows => ["connection_id, side and observed_at_us", ""],
        Topic::Requests => ["connection_id, side and request_position", ""],
        Topic::Identities => ["network, address and from_us", ""],
        Topic::Processes => ["the key, kind and observed_at_us", ""],
        Topic::Agents => ["node, agent_started_at_us and sequence", ""],
        Topic::Progress => ["node, agent_started_at_us and sequence, in each partition", INTERNAL],
        Topic::Partials => ["nothing that readers may rely on: the topic is internal to the processors", MARKS],
        Topic::Edges => ["the key, window_start_us and revision", OF_EDGES],
        Topic::Latencies => ["the key, window_start_us and revision", OF_LATENCIES],
        Topic::EdgeWindows | Topic::LatencyWindows => ["its partition, the key, window_start_us and revision", ""],
        Topic::EdgeMinutes => ["the key, window_start_us and revision", MINUTES],
        Topic::LatencyMinutes => ["the key, window_start_us and revision", MINUTES],
        Topic::EdgeHours | Topic::LatencyHours => ["the key, window_start_us and revision", HOURS],
        Topic::Alerts => ["alert_id and state", ""],
        Topic::DeadLetters => ["topic, partition, offset and read_by", ""],
    }
}

const MINUTES: &str = "A minute holds the windows that begin in it, and is there when the last of them is closed: all of it at once. When one of them is published again, the whole minute is, under a higher \
     `revision`. Requests, bytes, connections and histograms add up; `rtt_us` is the mean of the windows' means, `encryption` the most of any window. `completeness` is the mean of what the windows say of \
     this edge, also of those in which nothing is seen of it, and 0 of one that was never closed.";
const HOURS: &str = "An hour is what its minutes add up to, as a minute does of its windows. It is there when none of its windows can change any more in good order, which is `join.horizon_ms` (a quarter of an \
     hour) after its end, and once more under a higher `revision` if one did.";

const INTERNAL: &str = "It is how agents and processors speak to each other, and may change in any version.";

#[test]
fn every_topic_has_its_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/topics");
    let pages = Topic::ALL.map(|topic| (format!("{}.md", topic.suffix()), page(topic)));
    for (file, page) in &pages {
        let path = folder.join(file);
        if fs::read_to_string(&path).is_ok_and(|found| found == *page) {
            continue;
        }
        assert!(
            env::var_os("UPDATE_DOCS").is_some(),
            "docs/topics/{file} is out of date: run this test with UPDATE_DOCS=1"
        );
        fs::create_dir_all(&folder).unwrap();
        fs::write(path, page).unwrap();
    }
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".md") {
            continue;
        }
        assert!(name == "README.md" || pages.iter().any(|(file, _)| *file == name), "{name} is no topic's page");
    }
}

fn page(topic: Topic) -> String {
    let schema: Value = serde_json::from_str(topic.schema()).unwrap();
    let config = topic.config();
    let setting = |name: &str| config.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
    let hours = |name: &str| setting(name).map_or(0, |ms| ms.parse::<u64>().unwrap() / 3_600_000);
    let kept = match (setting("cleanup.policy").unwrap(), hours("retention.ms")) {
        ("delete", kept) => duration(kept),
        (_, kept) => {
            format!("{}, then the newest of each key for {}", duration(hours("min.compaction.lag.ms")), duration(kept))
        }
    };
    let stamped = match setting(TIMESTAMP_TYPE) {
        Some(_) => "when the broker took it",
        None if topic.windows().is_some()
            || matches!(topic, Topic::Partials | Topic::EdgeWindows | Topic::LatencyWindows)
            || matches!(topic, Topic::EdgeMinutes | Topic::EdgeHours | Topic::LatencyMinutes | Topic::LatencyHours) =>
        {
            "when it was written, and never before the end of its window"
        }
        None => "when it was written",
    };
    let [identity, beside] = beyond_the_schema(topic);
    let name = topic.suffix();
    let mut page = format!(
        "# {name}\n\n<!-- Made from schemas/avro by schemas/tests/pages.rs. -->\n\n{}\n\n| | |\n|---|---|\n",
        text(&schema["doc"])
    );
    let partitions = if topic.partitions(0) == 0 {
        "as many as `kafka.partitions` says".to_owned()
    } else {
        topic.partitions(0).to_string()
    };
    let rows = [
        ("key", topic.key().to_owned()),
        ("one record is named by", identity.to_owned()),
        ("Kafka's timestamp", stamped.to_owned()),
        ("partitions", partitions),
        ("kept for", kept),
        ("written by", topic.written_by().to_owned()),
    ];
    rows.iter().for_each(|(what, value)| writeln!(page, "| {what} | {value} |").unwrap());
    if !beside.is_empty() {
        write!(page, "\n{beside}\n").unwrap();
    }
    let mut nested = Vec::new();
    page.push_str("\n## Fields\n\n");
    fields(&mut page, &schema, &mut nested);
    let mut at = 0;
    while at < nested.len() {
        let record: Value = nested[at].clone();
        write!(page, "\n## {}\n\n", text(&record["name"])).unwrap();
        if let Some(doc) = record["doc"].as_str() {
            write!(page, "{}\n\n", escaped(doc)).unwrap();
        }
        fields(&mut page, &record, &mut nested);
        at += 1;
    }
    page
}

fn duration(hours: u64) -> String {
    if hours.is_multiple_of(24) && hours > 24 { format!("{} days", hours / 24) } else { format!("{hours} hours") }
}

/// A table of a record's fields; the records that they hold are put behind those that are still to come.
fn fields(page: &mut String, record: &Value, nested: &mut Vec<Value>) {
    page.push_str("| field | type | unit | meaning |\n|---|---|---|---|\n");
    for field in record["fields"].as_array().unwrap() {
        let (name, doc) = (text(&field["name"]), field["doc"].as_str());
        let doc = doc.unwrap_or_else(|| panic!("{}.{name} has no doc", text(&record["name"])));
        let default = match field.get("default") {
            Some(_) => " Has a default.",
            None => "",
        };
        let kind = kind(&field["type"], nested);
        writeln!(page, "| `{name}` | {kind} | {} | {}{default} |", unit(name, &kind), escaped(doc)).unwrap();
    }
}

fn kind(schema: &Value, nested: &mut Vec<Value>) -> String {
    match schema {
        Value::String(name) if name.starts_with(char::is_uppercase) => link(name),
        Value::String(name) => name.clone(),
        Value::Array(either) => either.iter().map(|one| kind(one, nested)).rev().collect::<Vec<_>>().join(" or "),
        _ => match text(&schema["type"]) {
            "record" => {
                nested.push(schema.clone());
                link(text(&schema["name"]))
            }
            "enum" => schema["symbols"].as_array().unwrap().iter().map(text).collect::<Vec<_>>().join(", "),
            "array" => format!("array of {}", kind(&schema["items"], nested)),
            "map" => format!("map to {}", kind(&schema["values"], nested)),
            _ => text(&schema["logicalType"]).to_owned(),
        },
    }
}

fn link(record: &str) -> String {
    format!("[{record}](#{})", record.to_lowercase())
}

fn unit(field: &str, kind: &str) -> &'static str {
    match field.rsplit('_').next().unwrap_or_default() {
        _ if kind.contains("timestamp-micros") => "µs since 1970",
        "us" | "sum" if field.contains("_us") => "µs",
        "ns" => "ns",
        "ms" => "ms",
        "bytes" => "bytes",
        _ => "",
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// As a cell of a table: names of headers and the like may hold what Markdown reads.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('{', "\\{")
}
