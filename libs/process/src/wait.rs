//! The one wait: for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// What comes soon is seen soon; what takes long is not asked for in vain too often.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Asks until there is an answer; none if there is none in this time. It asks at least once, and a last time at the end.
pub fn wait_for<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    let mut pause = PAUSE_MIN;
    loop {
        let is_last = Instant::now() >= deadline;
        if let Some(found) = probe() {
            return Some(found);
        }
        if is_last {
            return None;
        }
        thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_the_wait_and_so_does_the_deadline() {
        let mut asked = 0;
        let answer = wait_for(Duration::from_secs(60), || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(answer, Some(3));
        let began = Instant::now();
        assert_eq!(wait_for(Duration::from_millis(30), || None::<()>), None);
        assert!(began.elapsed() >= Duration::from_millis(30));
        assert_eq!(wait_for(Duration::ZERO, || Some(1)), Some(1));
    }
}
