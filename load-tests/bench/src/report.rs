//! The figures, for people and for programs.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// Figures in the order in which they were measured.
#[derive(Default)]
pub struct Report {
    figures: Vec<(String, f64, &'static str)>,
}

impl Report {
    pub fn add(&mut self, figure: &str, value: f64, unit: &'static str) {
        self.add_named(figure.to_owned(), value, unit);
    }

    /// The same with a name that was put together.
    pub fn add_named(&mut self, figure: String, value: f64, unit: &'static str) {
        println!("  {figure}: {value:.4} {unit}");
        self.figures.push((figure, value, unit));
    }

    pub fn print(&self) {
        println!("\n{:<34} {:>14}  unit", "figure", "value");
        for (figure, value, unit) in &self.figures {
            println!("{figure:<34} {value:>14.4}  {unit}");
        }
    }

    /// One JSON object a line.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = String::new();
        for (figure, value, unit) in &self.figures {
            let line = serde_json::json!({ "figure": figure, "value": value, "unit": unit });
            writeln!(text, "{line}")?;
        }
        std::fs::write(path, text).with_context(|| format!("write the figures to {}", path.display()))
    }
}

/// The median; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}
