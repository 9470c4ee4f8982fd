//! Full speed, by wrk.

use std::process::Command;

use anyhow::{Context, Result};

/// What wrk measured.
pub struct Speed {
    pub requests_per_second: f64,
    pub p99_us: f64,
}

/// Runs wrk for some seconds.
pub fn run(url: &str, seconds: u32) -> Result<Speed> {
    let output = Command::new("wrk")
        .args(["-t1", "-c32", &format!("-d{seconds}s"), "--latency", url])
        .output()
        .context("wrk is needed: apt-get install wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .map(|rest| rest.trim().to_owned())
            .with_context(|| format!("wrk printed no {name}: {text}"))
    };
    Ok(Speed {
        requests_per_second: field("Requests/sec:")?.parse().context("wrk's rate is no number")?,
        p99_us: duration_us(&field("99%")?)?,
    })
}

/// `1.23ms`, `456.00us`, `1.00s`.
fn duration_us(text: &str) -> Result<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("us") {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1e3)
    } else {
        (text.trim_end_matches('s'), 1e6)
    };
    Ok(number.parse::<f64>().with_context(|| format!("wrk's time `{text}` is not understood"))? * factor)
}
