//! Messages through a broker, each with a name of its own: what both sides tell of them while one agent goes and another one comes in the middle.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use headwater_schemas::records::{Agent, Kind, Outcome, Side};
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::topics;

/// Names of what the broker asks begin here.
const OF_SERVER: i64 = 1 << 62;

/// Operation and topic or subject.
pub type Name = (String, String);

/// What is to be told of a message: operation, topic or subject, kind.
pub type Sent = (&'static str, String, Kind);

/// Kind, outcome, code and position of each record.
type Told = BTreeMap<Name, Vec<(Kind, Outcome, String, i64)>>;

/// What was told.
pub struct Watched {
    protocol: &'static str,
    /// The last heartbeats of both agents.
    first: Agent,
    second: Agent,
    /// The client's, and the server's.
    sides: [Told; 2],
}

/// Runs a client beside an agent. When it makes the file `half` in the lab's folder, the agent stops and another one starts; then `go` is there, for which it
/// waits. Returns what the client printed, too.
pub fn watch(lab: &Lab, protocol: &'static str, program: &str, arguments: &[&str]) -> (String, Watched) {
    let mut agent = lab.agent().unwrap();
    let (got, first, second) = std::thread::scope(|scope| {
        let client = scope.spawn(|| lab.run(program, arguments).unwrap());
        wait_for("the first half", || Ok(client.is_finished() || lab.folder.path().join("half").exists())).unwrap();
        stop(&mut agent).unwrap();
        let first = topics::agents(&lab.settings).unwrap().pop().unwrap();
        // In the middle of all connections.
        let mut agent = lab.agent().unwrap();
        std::fs::write(lab.folder.path().join("go"), "").unwrap();
        let got = client.join().unwrap();
        stop(&mut agent).unwrap();
        (got, first, topics::agents(&lab.settings).unwrap().pop().unwrap())
    });
    println!("{}; then {}", topics::losses(&first), topics::losses(&second));
    let mut sides = [Told::new(), Told::new()];
    topics::each_request(&lab.settings, |request| {
        assert_eq!((request.protocol, request.weight, request.path), (protocol, 1, ""), "{request:?}");
        let told = (request.kind, request.outcome, request.code.to_owned(), request.request_position);
        let name = (request.operation.to_owned(), request.resource.to_owned());
        sides[usize::from(request.side == Side::Server)].entry(name).or_default().push(told);
    })
    .unwrap();
    (got, Watched { protocol, first, second, sides })
}

impl Watched {
    /// Of the phase `first` all is told, of the `second` what is not is counted, and nothing is told otherwise; there, an outcome may be unknown where
    /// nothing is answered, which is counted, too. Both sides name alike what has its own name.
    pub fn judge(&self, sent: impl Fn(&str) -> Vec<Sent>, has_own_name: impl Fn(&Name) -> bool) {
        self.judge_phases(&["first", "second"], sent, has_own_name);
    }

    /// The same of some phases.
    pub fn judge_phases(
        &self,
        phases: &[&str],
        sent: impl Fn(&str) -> Vec<Sent>,
        has_own_name: impl Fn(&Name) -> bool,
    ) {
        let [mut missing_later, mut unknown] = [0, 0];
        for (side, told) in [Side::Client, Side::Server].into_iter().zip(&self.sides) {
            for phase in phases.iter().copied() {
                let [mut right, mut wrong, mut doubled, mut missing] = [0; 4];
                for (operation, topic, kind) in sent(phase) {
                    match told.get(&(operation.to_owned(), topic)).map(Vec::as_slice) {
                        None => missing += 1,
                        Some([one]) => {
                            let is_unknown = phase == "second" && (one.0, one.1) == (Kind::OneWay, Outcome::Unknown);
                            unknown += i64::from(is_unknown);
                            let outcome = if is_unknown { Outcome::Unknown } else { Outcome::Ok };
                            let is_right = (one.0, one.1, one.2.as_str()) == (kind, outcome, "")
                                && (one.3 >= OF_SERVER) == matches!(operation, "DELIVER" | "basic.deliver");
                            if is_right { right += 1 } else { wrong += 1 }
                        }
                        Some(_) => doubled += 1,
                    }
                }
                println!("{side:?}, {phase}: {right} right, {wrong} wrong, {doubled} doubled, {missing} missing");
                assert_eq!((wrong, doubled), (0, 0), "{}", self.protocol);
                if phase == "first" {
                    assert_eq!(missing, 0);
                } else {
                    missing_later += missing;
                    assert!(right > missing, "{right} right and {missing} missing");
                }
            }
        }
        // Clients that begin a program for each question are told of up to a bound (processes.rs); that is no loss of what they ask.
        let [first, counted] = [&self.first, &self.second].map(|last| {
            let dropped = last.dropped.iter().filter(|(name, _)| !name.starts_with("processes/"));
            dropped.map(|(_, count)| count).sum::<i64>()
        });
        assert_eq!(first, 0, "{:?}", self.first.dropped);
        assert!(missing_later <= counted, "{missing_later} are missing, and {counted} are counted");
        let counted = self.second.counters.get("requests_value_unknown").copied().unwrap_or_default();
        assert!(unknown <= counted, "of {unknown} the outcome is unknown, and {counted} are counted");
        let [client, server] = &self.sides;
        for (name, told) in client.iter().filter(|(name, _)| has_own_name(name)) {
            if let Some(other) = server.get(name) {
                assert_eq!(told[0].3, other[0].3, "{name:?}");
            }
        }
    }

    /// All that was told of by this name or another, which must be known.
    pub fn expect_no_others(&self, is_known: impl Fn(&Name) -> bool) {
        for told in &self.sides {
            let others: Vec<&Name> = told.keys().filter(|name| !is_known(name)).collect();
            assert!(others.is_empty(), "{others:?}");
        }
    }
}
