//! Requests that a server takes and does not answer, told by the bytes that it is sent.
//!
//! In: of the last windows, the bytes sent to a server and the requests that ended, and how many bytes a request usually has. Out: how many requests
//! are without an end, and how improbable that is by chance. Who hangs says nothing: where clients wait for ever, no request of it ends, and
//! only who calls them seems to be slow. Sizes vary, so a few requests say nothing, unless not one byte comes back.

/// What the last windows carried.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Asked {
    pub sent_bytes: i64,
    pub received_bytes: i64,
    /// Those that ended, answered or not.
    pub requests: i64,
}

/// Of the requests that end, how many bytes they usually have.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Size {
    /// 0 if nothing is known.
    pub bytes: f64,
    /// Standard deviation of a request's bytes, in their mean.
    pub spread: f64,
    /// Of how many requests this is known.
    pub known: f64,
}

/// However alike they have been: sizes vary at least by so much.
const SPREAD_MIN: f64 = 0.5;
/// Of single requests, those that may be answered in the next window only.
const LATE_SHARE: f64 = 0.1;
/// Of requests, those that may be without an end.
pub const UNANSWERED_SHARE_MIN: f64 = 0.1;
const UNANSWERED_MIN: f64 = 2.0;

impl Asked {
    pub fn add(&mut self, other: &Asked) {
        self.sent_bytes = self.sent_bytes.saturating_add(other.sent_bytes);
        self.received_bytes = self.received_bytes.saturating_add(other.received_bytes);
        self.requests = self.requests.saturating_add(other.requests);
    }

    /// Of the requests that were sent, the share without an end, and the surprise of it as a natural logarithm: that of so many
    /// standard deviations (normal distribution), or of nothing coming back at all where requests fail with this chance. None if nothing was sent, or no size is known.
    pub fn unanswered(&self, usual: Size, error_chance: f64) -> Option<Unanswered> {
        if self.sent_bytes <= 0 || usual.bytes <= 0.0 {
            return None;
        }
        let asked = (self.sent_bytes as f64 / usual.bytes).max(self.requests as f64);
        let count = asked - self.requests as f64;
        let share = count / asked.max(1.0);
        if self.received_bytes == 0 {
            return Some(Unanswered {
                count: asked,
                share: 1.0,
                surprise: -asked.round() * error_chance.clamp(LATE_SHARE, 1.0).ln(),
            });
        }
        let is_much = share >= UNANSWERED_SHARE_MIN && count >= UNANSWERED_MIN;
        // Sizes differ, and what is usual is known from so many requests only: a job may bring far more of them.
        let varies = usual.spread.max(SPREAD_MIN) * (asked + asked * asked / usual.known.max(1.0)).sqrt();
        let deviations = count / varies;
        let surprise = if is_much { deviations * deviations / 2.0 } else { 0.0 };
        Some(Unanswered { count, share, surprise })
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unanswered {
    pub count: f64,
    pub share: f64,
    pub surprise: f64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const USUAL: Size = Size { bytes: 200.0, spread: 0.6, known: 10_000.0 };

    fn surprise(requests_sent: i64, received_bytes: i64, requests: i64) -> f64 {
        Asked { sent_bytes: 200 * requests_sent, received_bytes, requests }.unanswered(USUAL, 0.01).unwrap().surprise
    }

    #[test]
    fn a_server_that_says_nothing_is_told_of_by_few_requests_and_a_slow_one_by_many() {
        assert!(surprise(4, 0, 0) > 8.0);
        assert!(surprise(4, 1000, 3) < 1.0);
        assert!(surprise(20, 15_000, 15) < 8.0);
        assert!(surprise(200, 100_000, 100) > 16.0);
    }

    /// Once an hour thousands of requests come, of which the few of the hour before were smaller by chance.
    #[test]
    fn a_job_says_nothing_where_few_requests_are_known() {
        let of = |known: f64| {
            Asked { sent_bytes: 200 * 2300, received_bytes: 1, requests: 2000 }
                .unanswered(Size { known, ..USUAL }, 0.01)
                .unwrap()
        };
        assert!(of(60.0).surprise < 3.0);
        assert!(of(100_000.0).surprise > 40.0);
    }

    #[test]
    fn requests_that_are_larger_than_usual_by_chance_say_nothing() {
        assert!(surprise(105, 100_000, 100) < 1.0);
        assert!(surprise(100, 100_000, 110) < 1.0);
        assert_eq!(Asked::default().unanswered(USUAL, 0.01), None);
        let sent = Asked { sent_bytes: 1, received_bytes: 0, requests: 0 };
        assert_eq!(sent.unanswered(Size::default(), 0.01), None);
    }
}
