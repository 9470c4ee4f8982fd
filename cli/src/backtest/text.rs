//! What a backtest says, for people and for programs.

use std::collections::BTreeMap;

use anyhow::Result;
use headwater_processors::backtest::Event;
use headwater_processors::objectives::windows_of;
use headwater_schemas::records::{Alert, AlertState};
use serde::Serialize;

use super::read::Report;
use crate::clock::{period, rfc3339};
use crate::format;
use crate::past::collect::LeftOut;
use crate::past::incomplete::{self, Incomplete};
use crate::terminal::{Align, Colour, Table, clean, paint};

/// Rows of the table.
const ALERTS_SHOWN: usize = 200;

/// An alert that would have been told.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    /// `fires`, `resolves`, or `fires_already` if it began before the range.
    event: &'static str,
    long: Option<String>,
    short: Option<String>,
    #[serde(flatten)]
    alert: &'a Alert,
}

/// The last line.
#[derive(Serialize)]
struct Summary<'a> {
    event: &'static str,
    from: String,
    to: String,
    fired: usize,
    resolved: usize,
    firing_at_the_end: usize,
    windows: i64,
    windows_in_range: i64,
    /// Of the time before that long windows hold.
    windows_before: i64,
    windows_before_wanted: i64,
    completeness: f64,
    incomplete: &'a [Incomplete],
    left_out: LeftOut,
    records_unreadable: u64,
    /// What the judge says of bounds that were hit, and the like.
    counters: BTreeMap<&'static str, u64>,
    /// Objectives that no request fits.
    without_requests: &'a [String],
}

pub fn json(report: &Report) -> Result<String> {
    let mut text = String::new();
    for event in &report.outcome.events {
        let (word, _, alert) = parts(event);
        let windows = windows_of(alert);
        let line = Line {
            time: rfc3339(alert.observed_at_us),
            event: word,
            long: windows.map(|(long, _)| long.to_string()),
            short: windows.map(|(_, short)| short.to_string()),
            alert,
        };
        text.push_str(&format!("{}\n", serde_json::to_string(&line)?));
    }
    let (fired, resolved) = counts(report);
    let summary = Summary {
        event: "summary",
        from: rfc3339(report.range.from_us),
        to: rfc3339(report.range.to_us),
        fired,
        resolved,
        firing_at_the_end: firing(report).len(),
        windows: report.read.windows,
        windows_in_range: report.read.windows_in_range,
        windows_before: report.before.windows,
        windows_before_wanted: report.before.windows_in_range,
        completeness: report.read.completeness,
        incomplete: &report.read.incomplete,
        left_out: report.read.left_out,
        records_unreadable: report.unreadable,
        counters: report.outcome.counters.iter().collect(),
        without_requests: &report.outcome.without_requests,
    };
    text.push_str(&format!("{}\n", serde_json::to_string(&summary)?));
    Ok(text)
}

pub fn text(report: &Report, colours: bool) -> String {
    let mut text = String::new();
    let events = &report.outcome.events;
    if !events.is_empty() {
        text.push_str(&table(events, colours));
        if events.len() > ALERTS_SHOWN {
            text.push_str(&format!("and {} more; --json has them\n", events.len() - ALERTS_SHOWN));
        }
        text.push('\n');
    }
    text.push_str(&summary(report, colours));
    text
}

fn table(events: &[Event], colours: bool) -> String {
    let mut table = Table::new(&[
        ("TIME", Align::Left),
        ("", Align::Left),
        ("OBJECTIVE", Align::Left),
        ("SERVICE", Align::Left),
        ("SEVERITY", Align::Left),
        ("WINDOWS", Align::Left),
        ("BURN RATE", Align::Right),
        ("LIMIT", Align::Right),
        ("LASTED", Align::Right),
    ]);
    for event in events.iter().take(ALERTS_SHOWN) {
        let (word, colour, alert) = parts(event);
        let plain = |text: String| (text, Colour::None);
        let windows = windows_of(alert).map(|(long, short)| format!("{long} and {short}")).unwrap_or_default();
        let lasted = match alert.state {
            AlertState::Firing => String::new(),
            AlertState::Resolved => format::age((alert.observed_at_us - alert.started_at_us) / 1000),
        };
        table.row(vec![
            plain(rfc3339(alert.observed_at_us)),
            (word.replace('_', " "), colour),
            plain(alert.objective.clone()),
            plain(alert.service.to_string()),
            plain(alert.severity.clone()),
            plain(windows),
            plain(format!("{:.1}", alert.value)),
            plain(format!("{}", alert.threshold)),
            plain(lasted),
        ]);
    }
    table.render(colours)
}

/// One line of what would have been told, and what it rests on.
fn summary(report: &Report, colours: bool) -> String {
    let (fired, resolved) = counts(report);
    let firing = firing(report);
    let still = match firing.len() {
        0 => String::new(),
        1 => ", and one fires at the end".to_owned(),
        several => format!(", and {several} fire at the end"),
    };
    let what = match fired {
        0 => "No alert would have fired".to_owned(),
        1 => "1 alert would have fired".to_owned(),
        fired => format!("{fired} alerts would have fired"),
    };
    let read = &report.read;
    let incomplete = match read.incomplete.len() as u64 + read.left_out.incomplete_not_named {
        0 => "all complete".to_owned(),
        count => format!("{count} of them incomplete"),
    };
    let span = period(report.range.from_us, report.range.to_us);
    let head = format!(
        "{what}, {resolved} resolved{still}: {span}, {} of {} windows read, {incomplete}",
        read.windows, read.windows_in_range,
    );
    let mut text = format!("{}\n", paint(&head, Colour::Strong, colours));
    for note in notes(report) {
        text.push_str(&format!("{}\n", paint(&clean(&note), Colour::Warn, colours)));
    }
    text
}

/// What is missing, a line each.
fn notes(report: &Report) -> Vec<String> {
    let (read, before) = (&report.read, &report.before);
    let mut notes = Vec::new();
    let not_there = read.windows_in_range - read.windows;
    if not_there > 0 {
        let windows = if not_there == 1 { "window is" } else { "windows are" };
        notes.push(format!("{not_there} {windows} not there: nothing was observed then, or it is not published yet or not kept any more"));
    }
    if before.windows < before.windows_in_range {
        let there = format::age(before.covered_us / 1000);
        let wanted = format::age(report.before_us / 1000);
        notes.push(format!(
            "Of the {wanted} before, of which the long windows hold something, {there} are there: at the beginning of the range they hold less"
        ));
    }
    let not_named = read.left_out.incomplete_not_named;
    notes.extend(incomplete::notes("", "Incomplete, counted as seen", &read.incomplete, not_named));
    if report.unreadable > 0 {
        notes.push(format!("{} records cannot be read and do not count", report.unreadable));
    }
    for (name, count) in
        report.outcome.counters.iter().filter(|(name, _)| ["objectives_cut_off", "windows_given_up"].contains(name))
    {
        notes.push(format!("{name}: {count} (docs/metrics.md says what that is)"));
    }
    for name in &report.outcome.without_requests {
        notes.push(format!("{name}: no request fits this objective; `headwater rules check` says what it asks for, `headwater map` which services there are"));
    }
    notes
}

fn parts(event: &Event) -> (&'static str, Colour, &Alert) {
    match event {
        Event::FiresAlready(alert) => ("fires_already", Colour::Warn, alert),
        Event::Told(alert) if alert.state == AlertState::Firing => ("fires", Colour::Bad, alert),
        Event::Told(alert) => ("resolves", Colour::Good, alert),
    }
}

/// Alerts that fired and resolved in the range.
fn counts(report: &Report) -> (usize, usize) {
    let of = |state: AlertState| {
        let events = report.outcome.events.iter();
        events.filter(|event| matches!(event, Event::Told(alert) if alert.state == state)).count()
    };
    (of(AlertState::Firing), of(AlertState::Resolved))
}

/// Ids of those that fire at the end.
fn firing(report: &Report) -> Vec<&str> {
    let mut firing: Vec<&str> = Vec::new();
    for event in &report.outcome.events {
        let (_, _, alert) = parts(event);
        firing.retain(|id| *id != alert.alert_id);
        if alert.state == AlertState::Firing {
            firing.push(&alert.alert_id);
        }
    }
    firing
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_processors::backtest::Outcome;
    use headwater_processors::processor::Counters;
    use headwater_schemas::records::Workload;
    use headwater_schemas::samples;

    use super::*;
    use crate::past::collect::Collected;
    use crate::past::range::Range;

    fn alert(id: &str, state: AlertState, observed_at_us: i64) -> Alert {
        Alert {
            alert_id: format!("burn_rate answers //program/orders 3600 300 {id}"),
            state,
            kind: "burn_rate".into(),
            service: Workload::local("program", "orders"),
            objective: "answers".into(),
            observed_at_us,
            started_at_us: 10_000_000,
            value: 14.93,
            threshold: 14.4,
            ..samples::alert()
        }
    }

    fn report() -> Report {
        let of = |windows, windows_in_range| Collected {
            windows,
            windows_in_range,
            covered_us: windows * 10_000_000,
            completeness: 1.0,
            ..Collected::default()
        };
        let events = vec![
            Event::FiresAlready(alert("1", AlertState::Firing, 20_000_000)),
            Event::Told(alert("2", AlertState::Firing, 600_000_000)),
            Event::Told(alert("1", AlertState::Resolved, 700_000_000)),
        ];
        Report {
            range: Range { prefix: "x.".into(), from_us: 60_000_000, to_us: 900_000_000 },
            outcome: Outcome { events, without_requests: vec!["typo".into()], counters: Counters::default() },
            read: of(83, 84),
            before: of(6, 480),
            before_us: 4_800_000_000,
            unreadable: 0,
        }
    }

    #[test]
    fn a_line_for_each_alert_and_what_it_rests_on() {
        assert_eq!(
            text(&report(), false),
            "\
TIME                                 OBJECTIVE  SERVICE  SEVERITY  WINDOWS    BURN RATE  LIMIT  LASTED
1970-01-01T00:00:20Z  fires already  answers    orders   page      1h and 5m       14.9   14.4
1970-01-01T00:10:00Z  fires          answers    orders   page      1h and 5m       14.9   14.4
1970-01-01T00:11:40Z  resolves       answers    orders   page      1h and 5m       14.9   14.4  12 min

1 alert would have fired, 1 resolved, and one fires at the end: 1970-01-01 00:01:00 – 00:15:00 UTC, 83 of 84 windows read, all complete
1 window is not there: nothing was observed then, or it is not published yet or not kept any more
Of the 80 min before, of which the long windows hold something, 60 s are there: at the beginning of the range they hold less
typo: no request fits this objective; `headwater rules check` says what it asks for, `headwater map` which services there are
"
        );
    }

    #[test]
    fn programs_are_told_the_same() {
        let lines: Vec<serde_json::Value> =
            json(&report()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["fires_already", "fires", "resolves", "summary"]);
        assert_eq!(
            (&lines[1]["long"], &lines[1]["short"], &lines[1]["value"]),
            (&"1h".into(), &"5m".into(), &14.93.into())
        );
        let summary = &lines[3];
        assert_eq!((&summary["fired"], &summary["firing_at_the_end"]), (&1.into(), &1.into()));
        assert_eq!(summary["without_requests"], serde_json::json!(["typo"]));
    }
}
