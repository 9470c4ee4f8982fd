//! How improbable it is that two counts differ as they do if nothing has changed.
//!
//! In: counts of two ranges. Out: a likelihood ratio as a natural logarithm: 0 if they say the same, 7 if that they are of one kind is a thousand times less likely than that they
//! are of two. Pure. No count is taken for more than [`EVIDENCE_MAX`]: beyond that the size of a change says more than how often it was seen.

/// Requests that say as much as any larger number of them.
const EVIDENCE_MAX: f64 = 10_000.0;

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub some: f64,
    pub all: f64,
}

/// A count over several windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    pub count: f64,
    /// Sum of the squares of each window's count.
    pub squared: f64,
    pub windows: f64,
    pub seconds: f64,
}

/// Whether two shares differ.
pub fn of_shares(a: Part, b: Part) -> f64 {
    let [a, b] = [a, b].map(|part| {
        let factor = (EVIDENCE_MAX / part.all.max(1.0)).min(1.0);
        Part { some: part.some * factor, all: part.all * factor }
    });
    if a.all <= 0.0 || b.all <= 0.0 {
        return 0.0;
    }
    let both = (a.some + b.some) / (a.all + b.all);
    let of = |Part { some, all }: Part| term(some, all * both) + term(all - some, all * (1.0 - both));
    (of(a) + of(b)).max(0.0)
}

/// Whether two rates differ, given how much each differs from window to window by itself.
pub fn of_rates(a: Flow, b: Flow) -> f64 {
    let seconds = a.seconds + b.seconds;
    let count = a.count + b.count;
    if a.seconds <= 0.0 || b.seconds <= 0.0 || count <= 0.0 {
        return 0.0;
    }
    let windows = a.windows + b.windows;
    let dispersion = ((a.dispersion() * a.windows + b.dispersion() * b.windows) / windows).max(1.0);
    let factor = (EVIDENCE_MAX / (a.count.max(b.count) / dispersion)).min(1.0) / dispersion;
    let of = |flow: Flow| term(flow.count * factor, count * factor * flow.seconds / seconds);
    (of(a) + of(b)).max(0.0)
}

impl Flow {
    /// Variance by mean of the windows' counts: 1 if they come by chance alone.
    fn dispersion(self) -> f64 {
        let mean = self.count / self.windows.max(1.0);
        if mean <= 0.0 || self.windows < 2.0 {
            return 1.0;
        }
        let variance = (self.squared - self.count * mean) / (self.windows - 1.0);
        (variance / mean).max(1.0)
    }
}

fn term(seen: f64, expected: f64) -> f64 {
    if seen <= 0.0 || expected <= 0.0 { 0.0 } else { seen * (seen / expected).ln() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(some: f64, all: f64) -> Part {
        Part { some, all }
    }

    fn flow(counts: &[f64]) -> Flow {
        let windows = counts.len() as f64;
        Flow {
            count: counts.iter().sum(),
            squared: counts.iter().map(|count| count * count).sum(),
            windows,
            seconds: windows * 10.0,
        }
    }

    #[test]
    fn the_same_share_is_no_surprise_and_the_more_is_seen_the_more_another_one_is() {
        assert!(of_shares(part(5.0, 100.0), part(50.0, 1000.0)) < 1e-9);
        assert_eq!(of_shares(part(1.0, 1.0), part(0.0, 0.0)), 0.0);
        let few = of_shares(part(0.0, 20.0), part(1.0, 20.0));
        let more = of_shares(part(0.0, 400.0), part(20.0, 400.0));
        assert!(few < 1.0 && more > 7.0, "{few} {more}");
        // 20 ln 2 and 780 times the little that is left.
        assert!(
            (more - (20.0 * 2f64.ln() + 400.0 * (400.0f64 / 390.0).ln() + 380.0 * (380.0f64 / 390.0).ln())).abs()
                < 1e-9
        );
    }

    #[test]
    fn no_number_of_requests_makes_a_trifle_a_surprise() {
        let trifle = of_shares(part(5.00e8, 1e9), part(5.01e8, 1e9));
        assert!(trifle < 0.1, "{trifle}");
    }

    #[test]
    fn a_rate_that_always_varies_surprises_less() {
        let steady = of_rates(flow(&[100.0, 101.0, 99.0, 100.0]), flow(&[150.0, 149.0, 151.0, 150.0]));
        let uneven = of_rates(flow(&[0.0, 200.0, 0.0, 200.0]), flow(&[300.0, 0.0, 300.0, 0.0]));
        assert!(steady > 7.0 && uneven < 1.0, "{steady} {uneven}");
    }

    #[test]
    fn ranges_of_different_length_are_compared_by_the_second() {
        assert!(of_rates(flow(&[50.0; 6]), flow(&[50.0; 60])) < 1e-9);
        // What was never there and comes once may be chance; what comes all the time is not.
        assert!(of_rates(flow(&[0.0; 6]), flow(&[0.0, 0.0, 1.0, 0.0, 0.0, 0.0])) < 1.0);
        assert!(of_rates(flow(&[0.0; 6]), flow(&[20.0; 6])) > 50.0);
    }
}
