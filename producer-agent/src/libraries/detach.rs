//! Detaches probes that nobody needs any more, without holding up those that are to be attached.
//!
//! In: probes of files, each a step of an iterator. Out: nothing. The kernel waits for all processors several times a probe, which takes some 30 to 200 ms, and
//! meanwhile attaches none. A program of Go has forty. So they go one by one on a thread of their own, and none goes while others are attached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long it waits before it looks again whether others are still attached.
const PAUSE: Duration = Duration::from_millis(5);

/// Each step detaches a probe.
pub type Steps = Box<dyn Iterator<Item = ()> + Send>;

/// The end of the thread that attaches. The other one ends behind this, once all are detached.
pub struct Detacher {
    steps: Sender<Steps>,
    attaches: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl Detacher {
    pub fn start() -> Result<Detacher> {
        // What waits is bounded by who attaches, who asks how much it is.
        let (steps, given) = channel();
        let detacher = Detacher { steps, attaches: Arc::default(), waiting: Arc::default() };
        let (attaches, waiting) = (Arc::clone(&detacher.attaches), Arc::clone(&detacher.waiting));
        std::thread::Builder::new()
            .name("detacher".into())
            .spawn(move || run(&given, &attaches, &waiting))
            .context("start the thread that detaches probes")?;
        Ok(detacher)
    }

    /// How many files have probes that are not detached yet.
    pub fn waiting(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.waiting)
    }

    pub fn detach(&self, steps: Steps) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The thread ends behind this.
        let _ = self.steps.send(steps);
    }

    /// Attaches what is to be attached, at the cost of at most one step.
    pub fn while_attaching<T>(&self, attach: impl FnOnce() -> T) -> T {
        self.attaches.store(true, Ordering::SeqCst);
        let attached = attach();
        self.attaches.store(false, Ordering::SeqCst);
        attached
    }
}

fn run(given: &Receiver<Steps>, attaches: &AtomicBool, waiting: &AtomicUsize) {
    for mut steps in given {
        loop {
            if attaches.load(Ordering::SeqCst) {
                std::thread::sleep(PAUSE);
            } else if steps.next().is_none() {
                break;
            }
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::RecvTimeoutError;

    use super::*;

    #[test]
    fn while_others_are_attached_at_most_one_probe_goes() {
        let (gone, seen) = channel();
        let detacher = Detacher::start().unwrap();
        let steps = move |file: usize, gone: Sender<usize>| -> Steps {
            Box::new((0..40).map(move |_| gone.send(file).unwrap()))
        };
        detacher.while_attaching(|| {
            [0, 1].into_iter().for_each(|file| detacher.detach(steps(file, gone.clone())));
            let meanwhile = seen.recv_timeout(Duration::from_millis(200));
            assert_eq!(meanwhile, Err(RecvTimeoutError::Timeout));
            assert_eq!(detacher.waiting().load(Ordering::Relaxed), 2);
        });
        drop(gone);
        let order: Vec<usize> = (0..80).map(|_| seen.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(seen.recv_timeout(Duration::from_secs(60)), Err(RecvTimeoutError::Disconnected));
    }
}
