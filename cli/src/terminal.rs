//! Text for a terminal: aligned tables, colours where a person looks, and nothing that a terminal would take for a command.

use std::env;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    None,
    Good,
    Warn,
    Bad,
    Muted,
    Strong,
}

/// Whether to colour what goes to standard output.
pub fn colours_wanted() -> bool {
    let asked_not = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !asked_not && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

pub fn paint(text: &str, colour: Colour, colours: bool) -> String {
    let code = match colour {
        Colour::None => return text.to_owned(),
        Colour::Good => "32",
        Colour::Warn => "33",
        Colour::Bad => "31",
        Colour::Muted => "2",
        Colour::Strong => "1",
    };
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Text of others without control characters: a path or a name must not move the cursor.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Prints lines. A reader that has enough, such as `head`, ends the program quietly.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("write to standard output"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows of cells below a head; each column is as wide as its widest cell.
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<(String, Colour)>>,
}

impl Table {
    pub fn new(columns: &[(&'static str, Align)]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// A row; its texts are cleaned.
    pub fn row(&mut self, cells: Vec<(String, Colour)>) {
        self.rows.push(cells.into_iter().map(|(text, colour)| (clean(&text), colour)).collect());
    }

    pub fn render(&self, colours: bool) -> String {
        let width = |text: &str| text.chars().count();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| self.rows.iter().filter_map(|row| row.get(i)).map(|cell| width(&cell.0)).max().unwrap_or(0))
            .zip(&self.columns)
            .map(|(widest, (head, _))| widest.max(width(head)))
            .collect();
        let head: Vec<(String, Colour)> =
            self.columns.iter().map(|(head, _)| ((*head).to_owned(), Colour::Muted)).collect();
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, colour), ((_, align), wide)) in row.iter().zip(self.columns.iter().zip(&widths)) {
                let gap = " ".repeat(wide - width(cell));
                let cell = paint(cell, *colour, colours);
                match align {
                    Align::Left => line.extend([&*cell, &gap, "  "]),
                    Align::Right => line.extend([&*gap, &cell, "  "]),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_the_colours() {
        let mut table = Table::new(&[("NAME", Align::Left), ("RATE", Align::Right)]);
        table.row(vec![("a".into(), Colour::None), ("1.0/s".into(), Colour::Bad)]);
        table.row(vec![("größer".into(), Colour::None), ("12.0/s".into(), Colour::Good)]);
        assert_eq!(table.render(false), "NAME      RATE\na        1.0/s\ngrößer  12.0/s\n");
        assert!(table.render(true).contains("\x1b[31m1.0/s\x1b[0m"));
    }

    #[test]
    fn nothing_of_others_commands_the_terminal() {
        assert_eq!(clean("GET /\x1b[2J\r\n"), "GET /\u{fffd}[2J\u{fffd}\u{fffd}");
    }
}
