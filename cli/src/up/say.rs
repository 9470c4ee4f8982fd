//! Lines for the person who waits: each with the time since the start.

use std::time::Instant;

use crate::terminal::{Colour, clean, colours_wanted, paint, print};

#[derive(Clone)]
pub struct Say {
    started_at: Instant,
    colours: bool,
}

impl Say {
    pub fn new() -> Say {
        Say { started_at: Instant::now(), colours: colours_wanted() }
    }

    /// A step that was begun, or something that happened.
    pub fn step(&self, text: &str) {
        let time = format!("[{:6.1} s]", self.started_at.elapsed().as_secs_f64());
        self.line(&format!("{} {}", paint(&time, Colour::Muted, self.colours), clean(text)));
    }

    /// Something that needs a look.
    pub fn warn(&self, text: &str) {
        let time = format!("[{:6.1} s]", self.started_at.elapsed().as_secs_f64());
        let lines: Vec<String> = text.lines().map(clean).collect();
        self.line(&paint(&format!("{time} {}", lines.join("\n")), Colour::Warn, self.colours));
    }

    pub fn heading(&self, text: &str) {
        self.line(&paint(text, Colour::Strong, self.colours));
    }

    pub fn line(&self, text: &str) {
        // Nobody reads any more: that is no reason to stop what runs.
        let _ = print(&format!("{text}\n"));
    }
}
