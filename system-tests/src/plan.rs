//! What is asked: the same for the same seed.

use headwater_testing::Random;

/// Requests that go over one connection, in order.
#[derive(Debug, Clone)]
pub struct Session {
    pub transport: Transport,
    pub requests: Vec<Planned>,
}

/// How a session's bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One write a request, an answer before the next.
    Plain,
    /// All requests in one write.
    Pipelined,
    /// Each request cut at random places into some writes.
    Split { seed: u64 },
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub method: &'static str,
    /// Different for each request.
    pub path: String,
    pub body: Body,
    /// HTTP/1.0: the answer ends with the connection.
    pub closes: bool,
    pub expected_status: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Length(usize),
    Chunked(usize),
}

/// Which server is asked: they know different paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Nginx,
    Hyper,
}

impl Server {
    pub fn parse(text: &str) -> Option<Server> {
        match text {
            "nginx" => Some(Server::Nginx),
            "hyper" => Some(Server::Hyper),
            _ => None,
        }
    }
}

const PIPELINED_MAX: u64 = 8;
const KEPT_ALIVE_MAX: u64 = 40;

/// Sessions with `requests` requests together. `label` keeps the paths of several plans apart.
pub fn sessions(server: Server, seed: u64, requests: usize, label: &str) -> Vec<Session> {
    let mut random = Random::new(seed);
    let mut sessions = Vec::new();
    let mut made = 0;
    while made < requests {
        let (transport, wanted) = match random.below(10) {
            0..3 => (Transport::Plain, 1),
            3..6 => (Transport::Plain, 2 + random.below(KEPT_ALIVE_MAX)),
            6..8 => (Transport::Pipelined, 2 + random.below(PIPELINED_MAX - 1)),
            _ => (Transport::Split { seed: random.number() }, 1 + random.below(6)),
        };
        let mut session = Session { transport, requests: Vec::new() };
        for _ in 0..wanted.min((requests - made) as u64) {
            let planned = planned(server, &mut random, &format!("{label}-{}", letters(made)), transport);
            made += 1;
            let closes = planned.closes;
            session.requests.push(planned);
            if closes {
                break;
            }
        }
        sessions.push(session);
    }
    sessions
}

fn planned(server: Server, random: &mut Random, id: &str, transport: Transport) -> Planned {
    let get = |path: String, expected_status| Planned {
        method: "GET",
        path,
        body: Body::None,
        closes: false,
        expected_status,
    };
    match (random.below(20), server) {
        (0..7, _) => get(format!("/ok/{id}"), 200),
        (7, _) => Planned { method: "HEAD", ..get(format!("/ok/{id}"), 200) },
        (8, _) => get(format!("/status/404/{id}"), 404),
        // nginx closes the connection after a 500.
        (9, Server::Nginx) => get(format!("/status/503/{id}"), 503),
        (9, Server::Hyper) => get(format!("/status/500/{id}"), 500),
        (10, _) => get(format!("/status/204/{id}"), 204),
        (11, _) => get(format!("/status/304/{id}"), 304),
        // nginx answers these without the body, and closes the connection if not all of it has come by then.
        (12 | 13, Server::Nginx) if transport == Transport::Plain => {
            let bytes = random.below(1000) as usize;
            Planned { method: "POST", body: Body::Length(bytes), ..get(format!("/echo/{id}"), 200) }
        }
        (12 | 13, Server::Hyper) if transport != Transport::Pipelined => {
            let bytes = random.below(64 * 1024) as usize;
            Planned { method: "POST", body: Body::Length(bytes), ..get(format!("/echo/{id}"), 200) }
        }
        (14, Server::Hyper) if transport != Transport::Pipelined => {
            let bytes = random.below(20_000) as usize;
            Planned { method: "PUT", body: Body::Chunked(bytes), ..get(format!("/echo/{id}"), 200) }
        }
        (15 | 16, Server::Hyper) => get(format!("/chunked/{}/{id}", random.below(3000)), 200),
        (17, Server::Hyper) if transport == Transport::Plain => {
            Planned { closes: true, ..get(format!("/chunked/{}/{id}", random.below(9000)), 200) }
        }
        (18, Server::Hyper) => get(format!("/slow/{}/{id}", 1 + random.below(40)), 200),
        (19, Server::Hyper) => get(format!("/size/{}/{id}", random.below(2000)), 200),
        _ => get(format!("/ok/{id}"), 200),
    }
}

/// A number in letters, so that nothing takes it for an identifier.
fn letters(mut number: usize) -> String {
    let mut text = String::new();
    loop {
        text.push(char::from(b'g' + (number % 16) as u8));
        number /= 16;
        if number == 0 {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_same_seed_gives_the_same_plan_and_no_path_twice() {
        let plan = |seed| sessions(Server::Hyper, seed, 5000, "x");
        let paths = |sessions: &[Session]| -> Vec<String> {
            sessions.iter().flat_map(|session| &session.requests).map(|planned| planned.path.clone()).collect()
        };
        let (first, again) = (paths(&plan(7)), paths(&plan(7)));
        assert_eq!(first, again);
        assert_ne!(first, paths(&plan(8)));
        assert_eq!(first.len(), 5000);
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 5000);
    }
}
