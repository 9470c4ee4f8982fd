//! A comparison as a person reads it.

use super::{Change, Compared, Comparison, Figures, Quantity, Side};
use crate::clock::period;
use crate::format;
use crate::names::Names;
use crate::past::incomplete;
use crate::terminal::{Align, Colour, Table, clean, paint};

/// Statements of databases are long.
const OPERATION_CHARS_MAX: usize = 60;

/// How much is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Rows at most.
    pub rows_max: usize,
    /// Also edges that are as before.
    pub all: bool,
    pub colours: bool,
}

impl Comparison {
    pub fn text(&self, shown: Shown) -> String {
        let mut text = self.head(shown.colours);
        text.push_str(&self.table(shown));
        for (name, side) in [("A", &self.a), ("B", &self.b)] {
            side.notes(name).iter().for_each(|note| text.push_str(&line(note, Colour::Warn, shown.colours)));
        }
        text
    }

    /// Which ranges these are.
    fn head(&self, colours: bool) -> String {
        let of = |name: &str, side: &Side| {
            let when = side.span_us.map_or("no window".to_owned(), |(from_us, to_us)| period(from_us, to_us));
            let from = if self.a.prefix == self.b.prefix { String::new() } else { format!(" of {}*", side.prefix) };
            let windows = if side.windows == 1 { "window" } else { "windows" };
            let title = paint(&format!("{name}  {when}{from}"), Colour::Strong, colours);
            let colour = if side.completeness < 1.0 { Colour::Warn } else { Colour::Muted };
            let state = format!("{} {windows}, {} complete", side.windows, format::completeness(side.completeness));
            format!("{title}  {}\n", paint(&state, colour, colours))
        };
        format!("{}{}\n", of("A", &self.a), of("B", &self.b))
    }

    /// The edges, and how many are not among them.
    pub fn table(&self, shown: Shown) -> String {
        let wanted: Vec<&Compared> =
            self.edges.iter().filter(|edge| shown.all || edge.change != Change::Same).collect();
        let rows = &wanted[..wanted.len().min(shown.rows_max)];
        let mut text = String::new();
        if !rows.is_empty() {
            text.push_str(&table(rows).render(shown.colours));
        }
        let what = if self.edges.iter().any(|edge| !edge.subject.operation.is_empty()) { "operation" } else { "edge" };
        let count = |count: usize| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut notes = Vec::new();
        match wanted.len() - rows.len() {
            0 => {}
            1 => notes.push(format!("1 {what} that surprises less is not shown: --json has it")),
            more => notes.push(format!("{more} {what}s that surprise less are not shown: --json has them")),
        }
        let same = self.edges.iter().filter(|edge| edge.change == Change::Same).count();
        match (same, shown.all) {
            _ if self.edges.is_empty() => notes.push(format!("There is no {what} in either range.")),
            (0, _) | (_, true) => {}
            (same, false) if wanted.is_empty() => {
                let (all, are) = if same == 1 { ("The one", "is") } else { ("All", "are") };
                let what = if same == 1 { what.to_owned() } else { count(same) };
                notes.push(format!("{all} {what} {are} as before (--all shows the figures)"));
            }
            (same, false) => {
                let are = if same == 1 { "is" } else { "are" };
                notes.push(format!("{} {are} as before (--all shows them)", count(same)));
            }
        }
        if !notes.is_empty() && !rows.is_empty() {
            text.push('\n');
        }
        notes.iter().for_each(|note| text.push_str(&line(note, Colour::Muted, shown.colours)));
        text
    }
}

impl Side {
    /// What is missing of a range, a line each.
    pub fn notes(&self, name: &str) -> Vec<String> {
        let mut notes = Vec::new();
        let windows = |count: usize| format!("{count} {}", if count == 1 { "window" } else { "windows" });
        let not_there = self.windows_in_range - self.windows - self.left_out.windows_not_closed;
        if not_there > 0 {
            notes.push(format!(
                "{name}: {} of {} {} not there: nothing was observed then, or it is not published yet or not kept any more",
                not_there,
                windows(self.windows_in_range as usize),
                if not_there == 1 { "is" } else { "are" }
            ));
        }
        for (count, one, several) in [
            (
                self.left_out.windows_not_closed.max(0).cast_unsigned(),
                "window is not closed yet and is",
                "windows are not closed yet and are",
            ),
            (self.left_out.records_unreadable, "record cannot be read and is", "records cannot be read and are"),
            (
                self.left_out.records_over_limit,
                "record is of more edges than fit and is",
                "records are of more edges than fit and are",
            ),
            (
                self.left_out.records_too_late,
                "record came when its window was closed and is",
                "records came when their window was closed and are",
            ),
        ] {
            match count {
                0 => {}
                1 => notes.push(format!("{name}: 1 {one} not in it")),
                _ => notes.push(format!("{name}: {count} {several} not in it")),
            }
        }
        let of = format!("{name}: ");
        notes.extend(incomplete::notes(&of, "incomplete", &self.incomplete, self.left_out.incomplete_not_named));
        notes
    }
}

fn line(text: &str, colour: Colour, colours: bool) -> String {
    format!("{}\n", paint(&clean(text), colour, colours))
}

fn table(rows: &[&Compared]) -> Table {
    let has_operations = rows.iter().any(|row| !row.subject.operation.is_empty());
    let has_failed = rows.iter().any(|row| {
        row.changed.contains(&Quantity::FailedConnectionShare)
            || [&row.a, &row.b].into_iter().flatten().any(|figures| figures.connections_failed > 0)
    });
    let mut columns =
        vec![("", Align::Left), ("CLIENT", Align::Left), ("SERVER", Align::Left), ("PROTOCOL", Align::Left)];
    if has_operations {
        columns.push(("OPERATION", Align::Left));
    }
    columns.extend(["RATE", "ERRORS", "P50", "P95", "P99"].map(|head| (head, Align::Right)));
    if has_failed {
        columns.push(("FAILED CONNECTIONS", Align::Right));
    }
    columns.push(("SCORE", Align::Right));
    let workloads = rows.iter().flat_map(|row| [&row.subject.client, &row.subject.server]);
    let names = Names::of(workloads);
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = vec![
            word(row.change),
            plain(names.text(&row.subject.client)),
            plain(names.text(&row.subject.server)),
            plain(row.subject.protocol.clone()),
        ];
        if has_operations {
            cells.push(plain(shortened(&row.subject.operation)));
        }
        cells.extend(figures(row));
        if has_failed {
            cells.push(cell(row, Quantity::FailedConnectionShare, failed, |figures| figures.failed_connection_share));
        }
        cells.push(plain(format!("{:.0}", row.score)));
        table.row(cells);
    }
    table
}

fn word(change: Change) -> (String, Colour) {
    match change {
        Change::Appeared => ("+ new".into(), Colour::Good),
        Change::Vanished => ("- gone".into(), Colour::Bad),
        Change::Changed => ("~ changed".into(), Colour::Warn),
        Change::Same => ("  as before".into(), Colour::Muted),
    }
}

fn shortened(operation: &str) -> String {
    if operation.chars().count() <= OPERATION_CHARS_MAX {
        return operation.to_owned();
    }
    let start: String = operation.chars().take(OPERATION_CHARS_MAX - 1).collect();
    format!("{start}…")
}

fn plain(text: String) -> (String, Colour) {
    (text, Colour::None)
}

fn figures(row: &Compared) -> Vec<(String, Colour)> {
    let of_requests = [&row.a, &row.b].into_iter().flatten().any(|figures| figures.requests > 0);
    let rate = move |figures: &Figures| {
        if of_requests {
            format::rate(figures.requests_per_s)
        } else {
            format!("{}/s", format::bytes(figures.bytes_per_s))
        }
    };
    let per_s = move |figures: &Figures| if of_requests { figures.requests_per_s } else { figures.bytes_per_s };
    let counted = |text: String, figures: &Figures| if figures.requests > 0 { text } else { "–".into() };
    vec![
        // More or less traffic is neither good nor bad.
        match cell(row, Quantity::Rate, rate, per_s) {
            (text, Colour::Good | Colour::Bad) => (text, Colour::Warn),
            other => other,
        },
        cell(row, Quantity::ErrorShare, |f| counted(format::share(f.error_share), f), |f| f.error_share),
        cell(row, Quantity::P50, |f| counted(format::latency(f.p50_us), f), |f| f.p50_us),
        cell(row, Quantity::P95, |f| counted(format::latency(f.p95_us), f), |f| f.p95_us),
        cell(row, Quantity::P99, |f| counted(format::latency(f.p99_us), f), |f| f.p99_us),
    ]
}

fn failed(figures: &Figures) -> String {
    match (figures.connections_opened, figures.connections_failed) {
        (0, 0) => "–".into(),
        (opened, failed) => format!("{failed} of {}", opened.saturating_add(failed)),
    }
}

/// What changed as `before → now`, in red if there is more of it; else what it is.
fn cell(
    row: &Compared,
    quantity: Quantity,
    text: impl Fn(&Figures) -> String,
    value: impl Fn(&Figures) -> f64,
) -> (String, Colour) {
    match (&row.a, &row.b) {
        (Some(a), Some(b)) if row.changed.contains(&quantity) => {
            let colour = if value(b) > value(a) { Colour::Bad } else { Colour::Good };
            (format!("{} → {}", text(a), text(b)), colour)
        }
        (_, Some(b)) => (text(b), Colour::None),
        (Some(a), None) => (text(a), Colour::Muted),
        (None, None) => (String::new(), Colour::None),
    }
}
