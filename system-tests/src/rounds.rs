//! Real clients that ask a real server in rounds, and the agent that comes, goes and comes again meanwhile.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command};

use anyhow::{Context, Result, ensure};
use headwater_process::{Child, Launch};
use headwater_schemas::records::Side;

use crate::asked::{Account, Asked, told_of};
use crate::lab::{Lab, stop};
use crate::topics;

/// Requests of each client in rounds of which nothing has to be found.
const FEW: usize = 20;

/// A client that asks when it is told to.
pub struct Client {
    _process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    /// Starts one in the lab's cgroup that is written in Python, for Debian's own interpreter; `clients/rounds.py` stands before it. The arguments
    /// follow the port.
    pub fn python(lab: &Lab, name: &str, script: &str, port: u16, arguments: &[&str]) -> Result<Client> {
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", &format!("{}\n{script}", include_str!("../clients/rounds.py")), &port.to_string()]);
        python.args(arguments);
        Client::start(lab, name, python)
    }

    /// The same in Perl, with `clients/rounds.pl` before it.
    pub fn perl(lab: &Lab, name: &str, script: &str, port: u16) -> Result<Client> {
        let mut perl = Command::new("/usr/bin/perl");
        perl.args(["-e", &format!("{}\n{script}", include_str!("../clients/rounds.pl")), &port.to_string()]);
        Client::start(lab, name, perl)
    }

    fn start(lab: &Lab, name: &str, command: Command) -> Result<Client> {
        let launch = Launch::new(name, command, lab.folder.path().join(format!("{name}.log")));
        let mut process = launch.in_cgroup(lab.cgroup.path()).piping_stdin().piping_stdout().spawn()?;
        let stdin = process.take_stdin().context("no standard input")?;
        let stdout = BufReader::new(process.take_stdout().context("no standard output")?);
        Ok(Client { _process: process, stdin, stdout })
    }

    fn begin(&mut self, count: usize) -> Result<()> {
        writeln!(self.stdin, "{count}").context("tell a client to ask")
    }

    /// What it asked in the round that was begun.
    fn end(&mut self) -> Result<Vec<Asked>> {
        let mut asked = Vec::new();
        loop {
            let mut line = String::new();
            ensure!(
                self.stdout.read_line(&mut line)? > 0,
                "a client has ended before its round: {}",
                self._process.log_text()
            );
            if line.trim_end() == "done" {
                return Ok(asked);
            }
            asked.push(serde_json::from_str(&line).with_context(|| format!("a client said {line:?}"))?);
        }
    }
}

/// What was asked in one round.
struct Round {
    name: &'static str,
    asked: Vec<Asked>,
    /// Connections that began while an agent looked, and which it saw to their ends.
    whole: BTreeSet<u16>,
}

/// All clients ask at once. Returns what they asked.
fn round(clients: &mut [Client], count: usize) -> Result<Vec<Asked>> {
    clients.iter_mut().try_for_each(|client| client.begin(count))?;
    let mut asked = Vec::new();
    for client in clients {
        asked.extend(client.end()?);
    }
    Ok(asked)
}

/// Starts the agent before a round, within one, and again; the clients' connections go on all the time, and each round has some of its own.
///
/// What begins and ends before the agent's eyes is told of exactly. Of what it comes upon in the middle nothing is wrong and nothing
/// doubled, and what is missing behind the first thing that was told of is counted.
///
/// # Errors
/// If that does not hold, with what was told instead.
pub fn hold(lab: &Lab, protocol: &str, clients: Vec<Client>, count: usize) -> Result<()> {
    hold_among(lab, protocol, clients, count, Others::Nobody)
}

/// Who else asks the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    Nobody,
    /// What is told of them is not looked at.
    Some,
}

/// The same for a server that others may ask, too.
///
/// # Errors
/// As [`hold`].
pub fn hold_among(lab: &Lab, protocol: &str, mut clients: Vec<Client>, count: usize, others: Others) -> Result<()> {
    let mut rounds = Vec::new();
    let mut known: BTreeSet<u16> = BTreeSet::new();
    let mut add = |name, asked: Vec<Asked>, is_seen: bool| {
        let ports: BTreeSet<u16> = asked.iter().map(|asked| asked.port).collect();
        let whole = if is_seen { ports.difference(&known).copied().collect() } else { BTreeSet::new() };
        known.extend(ports);
        rounds.push(Round { name, asked, whole });
    };
    add("before", round(&mut clients, FEW)?, false);
    let mut agent = lab.agent()?;
    add("first", round(&mut clients, count)?, true);
    stop(&mut agent)?;
    let mut dropped: i64 = lost(lab)?;
    add("away", round(&mut clients, FEW)?, false);
    // They ask until the agent is there, and once more.
    let (asked, mut again) = std::thread::scope(|scope| -> Result<_> {
        let starting = scope.spawn(|| lab.agent());
        let mut asked = Vec::new();
        loop {
            let is_there = starting.is_finished();
            asked.extend(round(&mut clients, count)?);
            if is_there {
                break;
            }
        }
        let agent = starting.join().map_err(|_| anyhow::anyhow!("starting the agent panicked"))?;
        Ok((asked, agent?))
    })?;
    add("middle", asked, false);
    add("again", round(&mut clients, count)?, true);
    drop(clients);
    stop(&mut again)?;
    dropped += lost(lab)?;

    // Somebody else may get a port that a client has given back. Others are not looked at as clients, so nobody tells of them but the server.
    let mut of_clients = BTreeSet::new();
    topics::each_request(&lab.settings, |request| {
        if request.side == Side::Client {
            of_clients.insert(request.connection_id.to_owned());
        }
    })?;
    let is_meant = |port: u16, connection_id: &str| {
        others == Others::Nobody || (known.contains(&port) && of_clients.contains(connection_id))
    };
    let all: Vec<Asked> = rounds.iter().flat_map(|round| round.asked.clone()).collect();
    let mut uncounted = 0;
    for (side, told) in ["client", "server"].into_iter().zip(told_of(&lab.settings, protocol, is_meant)?) {
        let account = Account::of(&all, &told);
        println!("{protocol}, {side}: of {} {account}", all.len());
        ensure!(account.wrong.is_empty() && account.doubled == 0, "{account}");
        for Round { name, asked, whole } in &rounds {
            let is_told = |asked: &Asked| told.contains_key(&(asked.port, asked.position));
            let found = asked.iter().filter(|asked| is_told(asked)).count();
            let of_whole: Vec<&Asked> = asked.iter().filter(|asked| whole.contains(&asked.port)).collect();
            let exact = of_whole
                .iter()
                .filter(|asked| matches!(told.get(&(asked.port, asked.position)).map(Vec::as_slice), Some([told]) if asked.is_told_by(told)))
                .count();
            println!(
                "  {name}: {found} of {}, {exact} of {} exactly on whole connections",
                asked.len(),
                of_whole.len()
            );
            ensure!(
                exact == of_whole.len(),
                "{:?}",
                account.missing.iter().find(|missing| whole.contains(&missing.port))
            );
            let may_be_late = *name == "middle";
            let mut begun = BTreeSet::new();
            for asked in asked {
                if is_told(asked) {
                    begun.insert(asked.port);
                } else if ["first", "again"].contains(name) || (may_be_late && begun.contains(&asked.port)) {
                    uncounted += 1;
                }
            }
            ensure!((found == 0) == ["before", "away"].contains(name), "{found} were told of in the round `{name}`");
        }
    }
    println!("  missing {uncounted}, counted {dropped}");
    ensure!(uncounted <= dropped, "{uncounted} are missing, {dropped} are counted");
    Ok(())
}

/// Requests that the agent which ran last says it lost.
fn lost(lab: &Lab) -> Result<i64> {
    let last = topics::agents(&lab.settings)?.pop().context("no heartbeat")?;
    ensure!(last.is_final, "the agent's last heartbeat is not its last");
    println!("  lost {:?}", last.dropped);
    Ok(last.dropped.iter().filter(|(reason, _)| reason.starts_with("requests/")).map(|(_, count)| count).sum())
}
