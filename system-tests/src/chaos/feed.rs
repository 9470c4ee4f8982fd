//! A fleet that tells each second of the one before, on a thread of its own, and does what it is told meanwhile.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use headwater_kafka::{KafkaSettings, Partition};
use headwater_schemas::records::Dropped;

use crate::client::time_of_day_us;
use crate::fleet::{Fleet, Outlet, Shape};
use crate::windows::window_of;

/// How far nodes are is said so soon after their records have arrived.
const TURN: Duration = Duration::from_millis(100);

/// What nodes are told to do.
#[derive(Debug, Clone)]
pub enum Word {
    /// To keep what it has for so long, and to tell it all at once then, as one does whose spool empties.
    Hold(u32, Duration),
    /// All that hold something back tell it.
    ReleaseAll,
    /// To say that some of a second are lost.
    Lose(u32),
    /// Something that is no record goes into a partition.
    Poison,
    /// To start again, which is when they learn how many partitions there are.
    CountPartitions,
}

pub struct Feed {
    words: Sender<Word>,
    thread: JoinHandle<Result<()>>,
}

impl Feed {
    pub fn start(settings: &KafkaSettings, shape: Shape) -> Result<Feed> {
        let (words, heard) = channel();
        let outlet = Outlet::open(settings)?;
        let fleet = Fleet::new(shape, window_of(time_of_day_us()?));
        let settings = settings.clone();
        let thread = std::thread::spawn(move || tell(fleet, outlet, &settings, &heard));
        Ok(Feed { words, thread })
    }

    /// # Errors
    /// If the thread has ended, which it does not by itself.
    pub fn say(&self, word: Word) -> Result<()> {
        self.words.send(word).map_err(|_| anyhow!("the fleet tells nothing any more"))
    }

    /// All that was told is in Kafka then.
    pub fn stop(self) -> Result<()> {
        drop(self.words);
        self.thread.join().map_err(|_| anyhow!("the fleet panicked"))?
    }
}

fn tell(mut fleet: Fleet, mut outlet: Outlet, settings: &KafkaSettings, words: &Receiver<Word>) -> Result<()> {
    let mut held: Vec<(u32, Instant)> = Vec::new();
    loop {
        while let early_us @ 1.. = fleet.next_us() + 1_000_000 - time_of_day_us()? {
            std::thread::sleep(TURN.min(Duration::from_micros(early_us.cast_unsigned())));
            outlet.advance()?;
        }
        let mut losses = Vec::new();
        loop {
            match words.try_recv() {
                Ok(Word::Hold(node, length)) if held.iter().all(|(other, _)| *other != node) => {
                    outlet.hold(node);
                    held.push((node, Instant::now() + length));
                }
                Ok(Word::Hold(..)) => {}
                Ok(Word::ReleaseAll) => held.iter_mut().for_each(|(_, until)| *until = Instant::now()),
                Ok(Word::Lose(node)) => losses.push((node, loss(fleet.next_us()))),
                Ok(Word::Poison) => outlet.poison(Partition(0), b"this is no record"),
                Ok(Word::CountPartitions) => outlet.count_partitions(settings)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return outlet.flush(),
            }
        }
        for (node, _) in held.extract_if(.., |(_, until)| Instant::now() >= *until) {
            outlet.release(node)?;
        }
        fleet.second(&losses, &mut outlet)?;
    }
}

fn loss(from_us: i64) -> Dropped {
    Dropped { reason: "queue-full".into(), count: 3, from_us, to_us: from_us + 1_000_000 }
}
