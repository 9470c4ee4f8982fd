//! One Kafka and one registry for all tests that do not harm them; each test has a topic prefix of its own.
//!
//! In: the program `test-stack` of libs/stack. Out: the variables by which `headwater_stack::shared` finds it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::run;

/// What libs/stack reads; the names do not begin like a setting, since every program would refuse them.
const VARIABLES: [&str; 3] = ["TEST_KAFKA", "TEST_KAFKA_SASL", "TEST_REGISTRY"];

pub struct SharedKafka {
    child: Child,
    line: Receiver<String>,
    addresses: Option<Vec<(String, String)>>,
}

impl SharedKafka {
    /// Returns at once: it becomes ready while tests without Kafka run. Its logs stay in a folder.
    pub fn start(logs: &Path) -> Result<Self> {
        let program = run::root().join("target/debug/test-stack");
        let mut command = Command::new(&program);
        command.arg(logs).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        // SAFETY: prctl is a system call that is safe between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let stdout = child.stdout.take().context("the shared Kafka has no standard output")?;
        let (sender, line) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // The receiver is gone only when the run is over.
                let _ = sender.send(line);
            }
        });
        Ok(Self { child, line, addresses: None })
    }

    /// The variables for tests, as soon as it answers.
    pub fn addresses(&mut self) -> Result<Option<Vec<(String, String)>>> {
        if self.addresses.is_none() {
            match self.line.try_recv() {
                Ok(line) => {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    if words.len() != VARIABLES.len() {
                        bail!("the shared Kafka printed `{line}` instead of its addresses");
                    }
                    let pairs = VARIABLES.iter().zip(words).map(|(name, word)| ((*name).to_owned(), word.to_owned()));
                    self.addresses = Some(pairs.collect());
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => bail!("the shared Kafka did not start; what it said is above"),
            }
        }
        Ok(self.addresses.clone())
    }
}

impl Drop for SharedKafka {
    fn drop(&mut self) {
        // The end of its standard input is its sign to stop.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
