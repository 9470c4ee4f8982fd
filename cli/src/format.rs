//! Numbers as people read them: the same forms as in the page's `format.js`.

/// `12.3/s`.
pub fn rate(per_s: f64) -> String {
    match per_s {
        0.0 => "0/s".to_owned(),
        _ if per_s < 0.1 => "<0.1/s".to_owned(),
        _ if per_s < 1000.0 => format!("{per_s:.1}/s"),
        _ => format!("{}/s", scaled(per_s, &["", "k", "M", "G"], "")),
    }
}

/// `0.4 %`.
pub fn share(part: f64) -> String {
    match part * 100.0 {
        percent if percent > 0.0 && percent < 0.1 => "<0.1 %".to_owned(),
        percent if percent > 99.9 && percent < 100.0 => ">99.9 %".to_owned(),
        percent => format!("{percent:.1} %"),
    }
}

/// Rounded down: what is not complete never reads as 100 %.
pub fn completeness(part: f64) -> String {
    if part >= 1.0 { "100 %".to_owned() } else { format!("{:.1} %", (part * 1000.0).floor() / 10.0) }
}

/// `4.1 ms`; a dash for nothing.
pub fn latency(us: f64) -> String {
    match us {
        _ if us <= 0.0 => "–".to_owned(),
        _ if us < 1000.0 => format!("{us:.0} µs"),
        _ if us < 10_000.0 => format!("{:.1} ms", us / 1e3),
        _ if us < 1e6 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.1} s", us / 1e6),
    }
}

/// `1.2 MB`.
pub fn bytes(count: f64) -> String {
    scaled(count, &["B", "KB", "MB", "GB", "TB"], " ")
}

/// `4 s`, `12 min`.
pub fn age(ms: i64) -> String {
    match (ms.max(0) + 500) / 1000 {
        s @ 0..100 => format!("{s} s"),
        s @ 100..6000 => format!("{} min", (s + 30) / 60),
        s @ 6000..259_200 => format!("{} h", (s + 1800) / 3600),
        s => format!("{} d", (s + 43_200) / 86_400),
    }
}

fn scaled(mut value: f64, units: &[&str], space: &str) -> String {
    let mut unit = 0;
    while value.abs() >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$}{space}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([rate(0.0), rate(0.04), rate(12.34), rate(12_345.0)], ["0/s", "<0.1/s", "12.3/s", "12.3k/s"]);
        assert_eq!([share(0.0), share(0.0004), share(0.5), share(0.9999)], ["0.0 %", "<0.1 %", "50.0 %", ">99.9 %"]);
        assert_eq!([completeness(1.0), completeness(0.99999)], ["100 %", "99.9 %"]);
        assert_eq!(
            [latency(0.0), latency(870.2), latency(4123.0), latency(41_234.0)],
            ["–", "870 µs", "4.1 ms", "41 ms"]
        );
        assert_eq!([bytes(12.0), bytes(1234.0), bytes(999_600.0)], ["12 B", "1.2 KB", "1.0 MB"]);
        assert_eq!([age(4400), age(720_000), age(7_200_000)], ["4 s", "12 min", "2 h"]);
    }
}
