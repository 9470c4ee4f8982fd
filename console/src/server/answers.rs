//! Answers to questions about the model, each computed once for all who ask the same.
//!
//! In: [`Question`]s. Out: [`Encoded`] answers. Promises: nothing is computed or encoded while the model is locked, so readers
//! keep nobody from writing and no request waits for another question; an answer is of the newest state of the model, or
//! at most [`REST`] behind it. Bounds: [`COMPUTING_MAX`] computations at a time and [`ANSWERS_MAX`] answers that are kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use headwater_schemas::records::Workload;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::encoded::Encoded;
use super::prometheus::{self, Format};
use crate::clock::now_us;
use crate::feed::Feed;
use crate::live::{Live, Of, Range};

/// Of a machine with two cores one is left to those who feed the model.
const COMPUTING_MAX: usize = 2;
/// Ranges and parts that are looked at; histories of what was selected make up the rest.
const ANSWERS_MAX: usize = 128;
/// A window's records come one by one: an answer is not computed again for each of them.
const REST: Duration = Duration::from_millis(250);
/// Ages in the answer about the agents move without any record.
const AGES_HOLD: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    Map(Range),
    Operations(Range),
    EdgeHistory(String),
    NodeHistory(Workload),
    Alerts,
    Agents,
    Metrics(Format),
}

pub struct Answers {
    feed: Arc<Feed>,
    known: Mutex<Known>,
    computing: Semaphore,
}

#[derive(Default)]
struct Known {
    slots: HashMap<Question, (Arc<Slot>, u64)>,
    /// Counts the questions, to tell which answer was not wanted for longest.
    asked: u64,
}

/// Locked while its answer is computed: who asks the same meanwhile waits for that one.
type Slot = tokio::sync::Mutex<Option<Answer>>;

struct Answer {
    version: u64,
    computed_at: Instant,
    encoded: Arc<Encoded>,
}

impl Answers {
    pub fn new(feed: Arc<Feed>) -> Answers {
        Answers { feed, known: Mutex::default(), computing: Semaphore::new(COMPUTING_MAX) }
    }

    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// # Errors
    /// Only if the program itself is at fault.
    pub async fn ask(&self, question: Question) -> Result<Arc<Encoded>> {
        let slot = self.slot(&question);
        let mut slot = slot.lock().await;
        if let Some(answer) = &*slot
            && answer.holds(&question, self.feed.version())
        {
            return Ok(Arc::clone(&answer.encoded));
        }
        let _turn = self.computing.acquire().await.context("wait for a turn to compute")?;
        let feed = Arc::clone(&self.feed);
        // The version first: what comes between the two is in the answer, and makes it be computed once more.
        let (version, computed_at) = (feed.version(), Instant::now());
        let computed = tokio::task::spawn_blocking(move || question.answer(&feed.snapshot()));
        let encoded = Arc::new(computed.await.context("compute an answer")??);
        *slot = Some(Answer { version, computed_at, encoded: Arc::clone(&encoded) });
        Ok(encoded)
    }

    fn slot(&self, question: &Question) -> Arc<Slot> {
        // A panic of another thread left the table as it was.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.asked += 1;
        let asked = known.asked;
        if known.slots.len() >= ANSWERS_MAX && !known.slots.contains_key(question) {
            let oldest = known.slots.iter().min_by_key(|(_, (_, asked))| *asked).map(|(question, _)| question.clone());
            oldest.and_then(|oldest| known.slots.remove(&oldest));
        }
        let (slot, last_asked) = known.slots.entry(question.clone()).or_default();
        *last_asked = asked;
        Arc::clone(slot)
    }
}

impl Answer {
    fn holds(&self, question: &Question, version: u64) -> bool {
        let age = self.computed_at.elapsed();
        age < REST || (self.version == version && (*question != Question::Agents || age < AGES_HOLD))
    }
}

impl Question {
    fn answer(&self, live: &Live) -> Result<Encoded> {
        let all = Range::Minutes(live.minutes());
        match self {
            Question::Map(range) => json(&live.map(*range)),
            Question::Operations(range) => json(&live.operations(*range)),
            Question::EdgeHistory(edge) => json(&live.history(Of::Edge(edge), all)),
            Question::NodeHistory(node) => json(&live.history(Of::Node(node), all)),
            Question::Alerts => json(&live.alerts()),
            Question::Agents => json(&live.agents(now_us())),
            Question::Metrics(format) => Ok(prometheus::encode(live, *format)),
        }
    }
}

pub fn json(answer: &impl Serialize) -> Result<Encoded> {
    Ok(Encoded::new("application/json", serde_json::to_vec(answer).context("write an answer as JSON")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::live::Limits;
    use headwater_kafka::KafkaSettings;

    fn answers() -> Answers {
        let settings = KafkaSettings::local("127.0.0.1:1", "http://127.0.0.1:1");
        Answers::new(Feed::new(settings, Limits::default(), Default::default()))
    }

    #[tokio::test]
    async fn the_same_question_is_answered_once_for_all_who_ask() {
        let answers = answers();
        let (first, second) = tokio::join!(answers.ask(Question::Alerts), answers.ask(Question::Alerts));
        assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
    }

    #[tokio::test]
    async fn answers_that_nobody_wants_any_more_make_room() {
        let answers = answers();
        let first = answers.ask(Question::EdgeHistory("first".into())).await.unwrap();
        for i in 0..ANSWERS_MAX {
            answers.ask(Question::EdgeHistory(i.to_string())).await.unwrap();
        }
        assert_eq!(answers.known.lock().unwrap().slots.len(), ANSWERS_MAX);
        let again = answers.ask(Question::EdgeHistory("first".into())).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &again));
    }

    #[tokio::test]
    async fn questions_wait_for_their_turn_and_the_status_waits_for_nobody() {
        let answers = answers();
        answers.ask(Question::Alerts).await.unwrap();
        let turns = answers.computing.acquire_many(COMPUTING_MAX as u32).await.unwrap();
        let asked = answers.ask(Question::Map(Range::Latest));
        tokio::pin!(asked);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut asked).await.is_err());
        assert!(!answers.feed.status().caught_up);
        answers.ask(Question::Alerts).await.unwrap();
        drop(turns);
        asked.await.unwrap();
    }
}
