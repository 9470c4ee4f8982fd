//! What may be killed, stopped or frozen, and comes back after a while, as under a supervisor.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use headwater_process::Child;
use headwater_stack::Stack;

use super::Fault;
use crate::client::time_of_day_us;

/// Before a process that ended by itself is started again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It ends at once (SIGKILL).
    Kill,
    /// It ends in good order (SIGTERM), as an instance that is taken away.
    Stop,
    /// It stands still (SIGSTOP), and goes on as if nothing had been: its connections are silent, its transactions expire.
    Freeze,
}

/// A part of the stack.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    Broker(usize),
    Registry,
}

pub struct Victim {
    pub name: String,
    body: Body,
    state: State,
}

/// How a program is started.
pub type Start = Box<dyn Fn() -> Result<Child>>;

enum Body {
    Program(Option<Child>, Start),
    Part(Part, Arc<Stack>),
}

enum State {
    Running,
    Away {
        at_us: i64,
        back_at: Instant,
        harm: Harm,
    },
    /// A part of the stack takes some seconds.
    Starting(JoinHandle<Result<()>>),
}

impl Victim {
    /// A program that runs.
    pub fn program(name: impl Into<String>, process: Child, start: Start) -> Victim {
        Victim { name: name.into(), body: Body::Program(Some(process), start), state: State::Running }
    }

    /// A part of a stack that runs.
    pub fn part(name: impl Into<String>, part: Part, stack: &Arc<Stack>) -> Victim {
        Victim { name: name.into(), body: Body::Part(part, Arc::clone(stack)), state: State::Running }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    pub fn is_broker(&self) -> bool {
        matches!(self.body, Body::Part(Part::Broker(_), _))
    }

    /// Does it harm; it comes back so much later.
    pub fn harm(&mut self, harm: Harm, away: Duration) -> Result<()> {
        let at_us = time_of_day_us()?;
        match (&mut self.body, harm) {
            (Body::Program(Some(process), _), Harm::Kill) => process.kill(),
            (Body::Program(Some(process), _), Harm::Stop) => process.terminate(),
            (Body::Program(Some(process), _), Harm::Freeze) => signal(process.pid(), libc::SIGSTOP),
            (Body::Program(None, _), _) => {}
            (Body::Part(Part::Broker(number), stack), Harm::Freeze) => {
                stack.brokers()[*number].pid().into_iter().for_each(|pid| signal(pid, libc::SIGSTOP));
            }
            (Body::Part(Part::Broker(number), stack), Harm::Kill) => stack.brokers()[*number].kill(),
            (Body::Part(Part::Broker(number), stack), Harm::Stop) => stack.brokers()[*number].stop(),
            (Body::Part(Part::Registry, stack), _) => stack.registry().kill(),
        }
        self.state = State::Away { at_us, back_at: Instant::now() + away, harm };
        Ok(())
    }

    /// Brings it back if it is time, or if it ended by itself.
    pub fn supervise(&mut self, faults: &mut Vec<Fault>) -> Result<()> {
        match &mut self.state {
            State::Running => self.look_after()?,
            State::Away { at_us, back_at, harm } if Instant::now() >= *back_at => {
                let (ended_at_us, harm) = (*at_us, *harm);
                faults.push(Fault { victim: self.name.clone(), ended_at_us, started_at_us: time_of_day_us()? });
                self.state = self.come_back(harm)?;
            }
            State::Starting(start) if start.is_finished() => {
                let State::Starting(start) = std::mem::replace(&mut self.state, State::Running) else {
                    return Ok(());
                };
                let Ok(started) = start.join() else { bail!("the start of {} panicked", self.name) };
                match started {
                    Ok(()) => println!("{} {} is back", time_of_day_us()?, self.name),
                    Err(error) => {
                        println!("{} {} did not start: {error:#}", time_of_day_us()?, self.name);
                        self.state = again()?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn look_after(&mut self) -> Result<()> {
        let Body::Program(Some(process), _) = &mut self.body else { return Ok(()) };
        if let Some(status) = process.ended()? {
            let log = process.log_text();
            let last = log.lines().last().unwrap_or_default();
            println!("{} {} ended by itself, {status}: {last}", time_of_day_us()?, self.name);
            self.state = again()?;
        }
        Ok(())
    }

    fn come_back(&mut self, harm: Harm) -> Result<State> {
        match &mut self.body {
            Body::Program(Some(process), _) if harm == Harm::Freeze => signal(process.pid(), libc::SIGCONT),
            Body::Program(process, start) => {
                // One that does not end in good order is killed: an instance has one process.
                *process = None;
                *process = Some(start()?);
            }
            Body::Part(Part::Broker(number), stack) if harm == Harm::Freeze => {
                stack.brokers()[*number].pid().into_iter().for_each(|pid| signal(pid, libc::SIGCONT));
            }
            Body::Part(part, stack) => {
                let (part, stack) = (*part, Arc::clone(stack));
                return Ok(State::Starting(std::thread::spawn(move || {
                    match part {
                        Part::Broker(number) => stack.brokers()[number].restart()?,
                        Part::Registry => stack.registry().restart()?,
                    }
                    Ok(())
                })));
            }
        }
        Ok(State::Running)
    }
}

fn again() -> Result<State> {
    Ok(State::Away { at_us: time_of_day_us()?, back_at: Instant::now() + AGAIN, harm: Harm::Kill })
}

fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: kill takes plain integers; the process is a child of this one that nobody has waited for yet.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}
