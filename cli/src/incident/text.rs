//! Incidents as a person reads them.

use std::collections::BTreeSet;
use std::fmt::Write;

use headwater_schemas::topics::Topic;

use super::find::Incidents;
use super::story::{Step, Story, Told};
use crate::clock::{now_us, period, rfc3339};
use crate::compare::Comparison;
use crate::compare::table::Shown;
use crate::format;
use crate::terminal::{Align, Colour, Table, clean, paint};

const INCIDENTS_SHOWN: usize = 20;
const ALERTS_SHOWN: usize = 40;
const EDGES_SHOWN: usize = 20;
/// Of a partition.
const OFFSETS_SHOWN: usize = 12;
const RUNNERS_UP_SHOWN: usize = 3;

/// All incidents, the newest first.
pub fn list(incidents: &Incidents, now_us: i64, colours: bool) -> String {
    let mut table = Table::new(&[
        ("BEGAN", Align::Left),
        ("STATE", Align::Left),
        ("SERVICE", Align::Left),
        ("ALERTS", Align::Right),
        ("ID", Align::Left),
    ]);
    let (mut shown, mut all) = (0, 0);
    for incident in incidents.newest_first() {
        all += 1;
        if all > INCIDENTS_SHOWN {
            continue;
        }
        shown += 1;
        let lasted = format::age((incident.told_at_us - incident.started_at_us) / 1000);
        let state = match incident.firing {
            0 => (format!("over after {lasted}"), Colour::Good),
            _ => (format!("fires for {}", format::age((now_us - incident.started_at_us) / 1000)), Colour::Bad),
        };
        table.row(vec![
            (rfc3339(incident.started_at_us), Colour::None),
            state,
            (incident.service.to_string(), Colour::Strong),
            (incident.alerts.to_string(), Colour::None),
            (incident.incident_id.clone(), Colour::None),
        ]);
    }
    if all == 0 {
        return "There is no incident: no alert was told. `headwater tail alerts` waits for one.\n".to_owned();
    }
    let mut text = table.render(colours);
    let more = (all - shown) as u64 + incidents.cut_off;
    if more > 0 {
        text.push_str(&paint(
            &format!("\n{more} older ones are not shown; --json has all that fit\n"),
            Colour::Muted,
            colours,
        ));
    }
    text
}

/// All of one incident.
pub fn story(
    story: &Story,
    edges: &Result<Comparison, String>,
    others: usize,
    (prefix, kcat): (&str, &str),
    colours: bool,
) -> String {
    let mut text = head(story, others, colours);
    text.push_str(&alerts(story, colours));
    text.push_str(&edges_text(edges, colours));
    text.push_str(&evidence(story, prefix, kcat, colours));
    text
}

fn head(story: &Story, others: usize, colours: bool) -> String {
    let (from_us, to_us) = story.span_us(now_us());
    let lasted = format::age((to_us - from_us) / 1000);
    let state = match story.is_firing() {
        true => paint(&format!("fires for {lasted}"), Colour::Bad, colours),
        false => paint(&format!("over after {lasted}"), Colour::Good, colours),
    };
    let mut text =
        format!("{}  {state}\n", paint(&clean(&format!("Incident {}", story.incident_id)), Colour::Strong, colours));
    let _ = writeln!(text, "{}", period(from_us, to_us));
    if let Some(blame) = story.blame() {
        let score = if blame.score > 0.0 { format!(" (score {:.0})", blame.score) } else { String::new() };
        let service = paint(&clean(&blame.service.to_string()), Colour::Strong, colours);
        let _ = writeln!(text, "Blamed: {service}{score}");
        let candidates = blame.runners_up.iter().take(RUNNERS_UP_SHOWN);
        let named: Vec<String> = candidates
            .map(|other| clean(&format!("{}, called by {} (score {:.0})", other.server, other.client, other.score)))
            .collect();
        if !named.is_empty() {
            let _ = writeln!(text, "It might also be: {}", named.join("; "));
        }
    }
    if others > 0 {
        let line = format!(
            "{others} older incident{} blame it too: `headwater incident` lists them",
            if others == 1 { "" } else { "s" }
        );
        let _ = writeln!(text, "{}", paint(&line, Colour::Muted, colours));
    }
    text
}

fn alerts(story: &Story, colours: bool) -> String {
    let mut text = format!("\n{}\n", paint("Alerts", Colour::Strong, colours));
    for (step, told) in story.alerts.iter().take(ALERTS_SHOWN) {
        let (word, colour) = match step {
            Step::Fired => ("fires   ", Colour::Bad),
            Step::Changed => ("changed ", Colour::Warn),
            Step::Resolved => ("resolved", Colour::Good),
        };
        let Told { alert, .. } = told;
        let severity = [alert.severity.as_str(), alert.owner.as_str()].into_iter().filter(|word| !word.is_empty());
        let severity = severity.collect::<Vec<_>>().join(", ");
        let severity = if severity.is_empty() { String::new() } else { format!(" [{severity}]") };
        let score = if alert.score > 0.0 { format!(" (score {:.0})", alert.score) } else { String::new() };
        let _ = writeln!(
            text,
            "  {}  {}  {}",
            rfc3339(alert.observed_at_us),
            paint(word, colour, colours),
            clean(&format!("{}{severity}{score}", alert.message))
        );
    }
    let more = story.alerts.len().saturating_sub(ALERTS_SHOWN) as u64 + story.cut_off;
    if more > 0 {
        let _ = writeln!(text, "  and {more} more; --json has them");
    }
    text
}

fn edges_text(edges: &Result<Comparison, String>, colours: bool) -> String {
    let title = paint("Its edges before (A) and meanwhile (B)", Colour::Strong, colours);
    match edges {
        Ok(comparison) => {
            format!("\n{title}\n{}", comparison.text(Shown { rows_max: EDGES_SHOWN, all: true, colours }))
        }
        Err(why) => format!("\n{title}\n{}\n", paint(&clean(why), Colour::Warn, colours)),
    }
}

/// Where the records are, and how to read exactly those.
fn evidence(story: &Story, prefix: &str, kcat: &str, colours: bool) -> String {
    let mut text = format!("\n{}\n", paint("Evidence", Colour::Strong, colours));
    if story.evidence.is_empty() {
        return text + "  No alert names a record.\n";
    }
    for ((topic, partition), offsets) in &story.evidence {
        let count = offsets.len();
        let _ = writeln!(
            text,
            "  {} partition {partition}: {count} record{}, offsets {}",
            clean(topic),
            if count == 1 { "" } else { "s" },
            some(offsets, ", ", |offset| offset.to_string())
        );
        if let Some(known) = Topic::from_name(prefix, topic) {
            let at = some_alone(offsets, ",", |offset| format!("{partition}:{offset}"));
            let _ = writeln!(text, "    headwater tail {} --json --at {at}", known.suffix());
        }
        if let Some(first) = offsets.first() {
            let topic = clean(topic);
            let _ = writeln!(text, "    {kcat} -C -t {topic} -p {partition} -o {first} -c 1 -e");
        }
    }
    text
}

fn some(offsets: &BTreeSet<i64>, between: &str, text: impl Fn(&i64) -> String) -> String {
    let shown = some_alone(offsets, between, text);
    match offsets.len().saturating_sub(OFFSETS_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more (--json has them)"),
    }
}

fn some_alone(offsets: &BTreeSet<i64>, between: &str, text: impl Fn(&i64) -> String) -> String {
    offsets.iter().take(OFFSETS_SHOWN).map(text).collect::<Vec<_>>().join(between)
}
