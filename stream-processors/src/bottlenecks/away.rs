//! Whether a service is away for longer than a short restart takes.
//!
//! In: of bad windows in a row, the requests that are usual and those that came through. Out: whether a restart that lasts less than
//! [`RESTART_US`] would have let so many more through that chance explains the rest hardly ever. Of few requests none may come by chance in
//! what a restart leaves of two windows, so they say nothing here, however many of them failed.

/// Away for less is a restart, wherever it falls among windows.
const RESTART_US: f64 = 5e6;
/// How improbable so few requests must be in a restart, as a negative natural logarithm.
const SURPRISE_OF_AWAY: f64 = 3.0;

/// What came through in windows in a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Away {
    windows: u32,
    usual: f64,
    came: f64,
}

impl Away {
    /// Counts one more window, with the share of the usual requests that was lost in it.
    pub fn count(&mut self, usual: f64, lost_share: f64) {
        self.windows += 1;
        self.usual += usual;
        self.came += usual * (1.0 - lost_share);
    }

    /// Whether no restart explains it (Poisson, Chernoff's bound).
    pub fn outlasts_restart(&self, window_length_us: i64) -> bool {
        let whole_us = f64::from(self.windows) * window_length_us as f64;
        let expected = self.usual * (1.0 - RESTART_US / whole_us.max(1.0)).max(0.0);
        if self.came >= expected {
            return false;
        }
        let of_came = if self.came > 0.0 { self.came * (self.came / expected).ln() } else { 0.0 };
        expected - self.came + of_came >= SURPRISE_OF_AWAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_US: i64 = 10_000_000;

    fn outlasts(usual: f64, lost_shares: &[f64]) -> bool {
        let mut away = Away::default();
        lost_shares.iter().for_each(|lost_share| away.count(usual, *lost_share));
        away.outlasts_restart(WINDOW_US)
    }

    #[test]
    fn a_restart_that_spans_two_windows_is_none_of_a_service_that_is_gone() {
        assert!(!outlasts(100.0, &[0.2, 0.2]));
        assert!(!outlasts(100.0, &[0.0, 0.5]));
        assert!(outlasts(100.0, &[0.3, 1.0]));
    }

    #[test]
    fn few_requests_of_which_most_fail_are_no_sign_and_none_of_as_many_is() {
        assert!(!outlasts(4.0, &[0.5, 0.75]));
        assert!(outlasts(4.0, &[0.75, 1.0]));
        assert!(!outlasts(1.0, &[1.0, 1.0]));
    }
}
