//! What a program says of its own state: whether it moves (`/livez`), and whether it does what it is there for (`/readyz`).
//!
//! In: beats and words of the program's parts. Out: the state, or what is wrong with which part. A program without parts is live and
//! ready for as long as it answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The state of a program; clones are the same one.
#[derive(Debug, Clone)]
pub struct Health {
    began: Instant,
    parts: Arc<Mutex<Vec<Arc<Part>>>>,
}

/// The state of something in a program that works by itself, such as a loop on a thread of its own.
#[derive(Debug)]
pub struct Part {
    name: String,
    began: Instant,
    stalls_after: Duration,
    /// Milliseconds since `began`; before the first beat, the part is starting, which may take as long as it takes.
    beat_ms: AtomicU64,
    /// Why it does not do what it is there for.
    problem: Mutex<Option<String>>,
}

const NO_BEAT: u64 = u64::MAX;

impl Default for Health {
    fn default() -> Health {
        Health { began: Instant::now(), parts: Arc::default() }
    }
}

impl Health {
    /// Adds a part, which is not ready before it says so. After its first beat, a silence of `stalls_after` is a stall.
    pub fn part(&self, name: impl Into<String>, stalls_after: Duration) -> Arc<Part> {
        let part = Arc::new(Part {
            name: name.into(),
            began: self.began,
            stalls_after,
            beat_ms: AtomicU64::new(NO_BEAT),
            problem: Mutex::new(Some("is starting".to_owned())),
        });
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&part));
        part
    }

    /// Whether all parts move.
    ///
    /// # Errors
    /// The parts that have stalled, one a line: the program should be started again.
    pub fn live(&self) -> Result<(), String> {
        self.told(|part| part.stall(self.began.elapsed()))
    }

    /// Whether all parts do what they are there for.
    ///
    /// # Errors
    /// What keeps which part from its work, one a line.
    pub fn ready(&self) -> Result<(), String> {
        self.told(|part| part.stall(self.began.elapsed()).or_else(|| part.problem()))
    }

    fn told(&self, problem: impl Fn(&Part) -> Option<String>) -> Result<(), String> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let told: Vec<String> =
            parts.iter().filter_map(|part| Some(format!("{} {}\n", part.name, problem(part)?))).collect();
        if told.is_empty() { Ok(()) } else { Err(told.concat()) }
    }
}

impl Part {
    /// The part moves. Cheap enough for each turn of a loop.
    pub fn beat(&self) {
        self.beat_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// The part does what it is there for.
    pub fn ready(&self) {
        self.set(None);
    }

    /// The part does not do what it is there for. Takes the rest of a sentence that begins with the part's name.
    pub fn not_ready(&self, problem: impl Into<String>) {
        self.set(Some(problem.into()));
    }

    fn set(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stall(&self, now: Duration) -> Option<String> {
        let beat_ms = Some(self.beat_ms.load(Ordering::Relaxed)).filter(|&beat_ms| beat_ms != NO_BEAT)?;
        let silence = now.saturating_sub(Duration::from_millis(beat_ms));
        (silence > self.stalls_after).then(|| format!("has not moved for {} s", silence.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_is_ready_once_all_its_parts_are() {
        let health = Health::default();
        assert_eq!((health.live(), health.ready()), (Ok(()), Ok(())), "nothing can be wrong with no part");
        let (join, merge) = (health.part("join", MINUTE), health.part("merge", MINUTE));
        join.ready();
        assert_eq!(health.ready(), Err("merge is starting\n".to_owned()));
        merge.ready();
        assert_eq!(health.ready(), Ok(()));
        join.not_ready("does not reach Kafka");
        assert_eq!((health.live(), health.ready()), (Ok(()), Err("join does not reach Kafka\n".to_owned())));
    }

    #[test]
    fn a_part_that_beat_once_and_not_again_is_neither_live_nor_ready() {
        let part = Health::default().part("join", MINUTE);
        assert_eq!(part.stall(10 * MINUTE), None, "it has not begun yet");
        part.beat();
        assert_eq!(part.stall(MINUTE), None);
        assert!(part.stall(2 * MINUTE).is_some_and(|told| told.starts_with("has not moved for 1")));

        let health = Health::default();
        let part = health.part("join", Duration::ZERO);
        part.ready();
        part.beat();
        while health.live().is_ok() {
            std::thread::yield_now();
        }
        assert!(health.ready().is_err_and(|told| told.starts_with("join has not moved")));
    }
}
