//! What happens on some nodes: connections, exchanges, and agents that see them, stop, die and start again.
//!
//! In: a [`Plan`]. Out: for each run of an agent what it captured, in the order of its clock; the truth that tests hold the
//! processors against is the same list. True time is in microseconds; each node's clock is off by some of them.

use headwater_schemas::records::Side;

use headwater_testing::Random;

pub const SECOND: i64 = 1_000_000;
pub const WINDOW_US: i64 = 10 * SECOND;
/// Where all worlds begin: the start of a window.
pub const BEGIN_US: i64 = 1_790_000_000 * SECOND;
/// Agents walk over all sockets so long before each window's end, by their own clock.
const WALK_LEAD_US: i64 = 250_000;
/// After the traffic, long enough for every window of it to close.
const QUIET_US: i64 = 40 * SECOND;

/// Which world to make.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    pub partitions: i32,
    pub connections: usize,
    pub seconds: i64,
    /// How far clocks may be off.
    pub skew_ms: i64,
    /// Whether the broker stamps what it appends.
    pub is_stamped: bool,
    /// Clients that close long after their servers: whether they are known by then depends on the log.
    pub late_closes: bool,
    /// Records and watermarks that find the queue full.
    pub drops: bool,
    /// Agents or partitions that do not deliver for up to 40 seconds.
    pub stalls: bool,
    /// Agents that are killed, and most of them started again.
    pub kills: bool,
    /// Agents that stop in order, and most of them started again.
    pub stops: bool,
    /// Sides that now and then tell of several exchanges in one record. Then operations have more than one exchange.
    pub sums: bool,
}

/// One run of an agent, in true time.
#[derive(Debug, Clone)]
pub struct Run {
    pub node: usize,
    pub from_us: i64,
    pub to_us: i64,
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Killed,
    Stopped,
    /// It goes on after all that is looked at.
    None,
}

#[derive(Debug, Clone)]
pub struct Exchange {
    pub connection: usize,
    pub position: i64,
    pub error: bool,
    pub request_bytes: i64,
    pub response_bytes: i64,
    pub duration_ns: i64,
    /// By side: when it was over, by the clock of the node, and which run of an agent saw it.
    pub seen: [Option<(i64, usize)>; 2],
}

/// What one side of a connection did since the record before.
#[derive(Debug, Clone)]
pub struct Progress {
    pub connection: usize,
    pub side: Side,
    pub at_us: i64,
    pub sent: i64,
    pub received: i64,
    pub opened: bool,
    pub closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    Exchange(usize, Side),
    Progress(usize),
}

pub struct World {
    pub plan: Plan,
    pub skews_us: Vec<i64>,
    pub runs: Vec<Run>,
    /// Nodes of client and server; none where nobody looks.
    pub ends: Vec<[Option<usize>; 2]>,
    pub exchanges: Vec<Exchange>,
    pub progress: Vec<Progress>,
    /// What each run captured: true time and fact, in order.
    pub captured: Vec<Vec<(i64, Fact)>>,
}

pub const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// One side's life of a connection, in true time.
struct Life {
    opened_us: i64,
    closed_us: i64,
    /// When how many bytes to the server and to the client had gone through.
    steps: Vec<(i64, i64, i64)>,
}

impl World {
    pub fn of(plan: &Plan) -> World {
        let mut random = Random::new(plan.seed);
        let skew_us = plan.skew_ms * 1000;
        let skews_us: Vec<i64> = (0..plan.nodes).map(|_| random.between(-skew_us, skew_us)).collect();
        World::with_clocks(plan, skews_us, random)
    }

    /// A world whose nodes' clocks are ahead by so much.
    pub fn with_clocks(plan: &Plan, skews_us: Vec<i64>, mut random: Random) -> World {
        let random = &mut random;
        let runs = runs(plan, random);
        let captured = vec![Vec::new(); runs.len()];
        let mut world = World {
            plan: plan.clone(),
            skews_us,
            runs,
            ends: Vec::new(),
            exchanges: Vec::new(),
            progress: Vec::new(),
            captured,
        };
        for _ in 0..plan.connections {
            world.connect(random);
        }
        for facts in &mut world.captured {
            facts.sort_by_key(|(at_us, _)| *at_us);
        }
        world
    }

    /// Long enough for windows that are looked at to close.
    pub fn end_us(&self) -> i64 {
        BEGIN_US + self.plan.seconds * SECOND + quiet_us(&self.plan)
    }

    pub fn local_us(&self, node: usize, true_us: i64) -> i64 {
        true_us + self.skews_us[node]
    }

    fn connect(&mut self, random: &mut Random) {
        let connection = self.ends.len();
        let nodes = self.plan.nodes as i64;
        let mut end = || if random.chance(85) { Some(random.between(0, nodes - 1) as usize) } else { None };
        let ends = [end(), end()];
        self.ends.push(ends);
        let traffic_us = self.plan.seconds * SECOND;
        let mut opened_us = BEGIN_US + random.between(-5 * SECOND, traffic_us - SECOND);
        let mut length_us = random.between(50_000, 2 * SECOND);
        let is_long = random.chance(50);
        // Some live between the walk over the sockets and the end of its window, where one side may be a window late.
        let is_between = !is_long && random.chance(50);
        if is_long {
            length_us = random.between(50_000, traffic_us);
        } else if is_between {
            opened_us = (opened_us.div_euclid(WINDOW_US) + 1) * WINDOW_US - random.between(20_000, WALK_LEAD_US);
            length_us = random.between(5_000, 50_000);
        }
        let closed_us = (opened_us + length_us).min(BEGIN_US + traffic_us).max(opened_us + 1_000);
        // Of some connections only flows tell: their protocol is not understood.
        let is_understood = random.chance(60);
        let busy = if self.plan.sums { 10 } else { 1 };
        let count = random.between(1, busy * if is_long { 20 } else { 4 });
        let mut times: Vec<i64> = (0..count).map(|_| random.between(opened_us, closed_us)).collect();
        for time_us in &mut times {
            // The two sides of some exchanges are in different windows.
            let end_us = (time_us.div_euclid(WINDOW_US) + 1) * WINDOW_US;
            if random.chance(15) && end_us < closed_us {
                *time_us = end_us - random.between(1, 2_000);
            }
        }
        times.sort_unstable();
        let lives = SIDES.map(|_| Life { opened_us, closed_us, steps: Vec::new() });
        let [mut client, mut server] = lives;
        let (mut to_server, mut to_client) = (0, 0);
        for done_us in times {
            let (request_bytes, response_bytes) = (random.between(1, 5_000), random.between(1, 50_000));
            // The client is done a little later than the server, now and then much later.
            let later_us = if random.chance(95) { random.between(50, 5_000) } else { random.between(5_000, SECOND) };
            let client_us =
                (done_us + later_us).max(client.steps.last().map_or(0, |step: &(i64, i64, i64)| step.0 + 1));
            let duration_ns = random.between(1, 3_000_000) * 1000;
            let seen = [(Side::Client, client_us), (Side::Server, done_us)].map(|(side, at_us)| {
                let node = ends[side as usize].filter(|_| is_understood)?;
                let run = self.run_at(node, at_us)?;
                self.captured[run].push((at_us, Fact::Exchange(self.exchanges.len(), side)));
                Some((self.local_us(node, at_us), run))
            });
            self.exchanges.push(Exchange {
                connection,
                position: to_server,
                error: random.chance(10),
                request_bytes,
                response_bytes,
                duration_ns,
                seen,
            });
            (to_server, to_client) = (to_server + request_bytes, to_client + response_bytes);
            client.steps.push((client_us, to_server, to_client));
            server.steps.push((done_us, to_server, to_client));
        }
        // The side that closes last may do so much later.
        let is_late = random.chance(if is_between { 70 } else { 20 }) && self.plan.late_closes;
        let late_us = if is_late { random.between(SECOND, 8 * SECOND) } else { random.between(50, 5_000) };
        client.closed_us = client.closed_us.max(client.steps.last().map_or(0, |step| step.0)) + late_us;
        for (side, life) in [(Side::Client, client), (Side::Server, server)] {
            if let Some(node) = ends[side as usize] {
                self.observe(connection, side, node, &life);
            }
        }
    }

    /// What the runs of one agent say of one side of a connection.
    fn observe(&mut self, connection: usize, side: Side, node: usize, life: &Life) {
        for run in 0..self.runs.len() {
            let Run { node: of, from_us, to_us, end } = self.runs[run];
            if of != node || from_us > life.closed_us || to_us <= life.opened_us {
                continue;
            }
            let moved_by = |time_us: i64| {
                let step = life.steps.iter().rev().find(|step| step.0 < time_us);
                step.map_or((0, 0), |step| (step.1, step.2))
            };
            let mut before = moved_by(from_us);
            let mut first = true;
            let closes = life.closed_us < to_us;
            let until_us = life.closed_us.min(to_us);
            let mut times: Vec<i64> = walks(self.skews_us[node], from_us.max(life.opened_us), until_us).collect();
            if closes || end == End::Stopped {
                times.push(until_us);
            }
            for at_us in times {
                let closed = closes && at_us == until_us;
                let now = moved_by(at_us + i64::from(closed));
                if now == (0, 0) && !closed {
                    continue;
                }
                let (to_server, to_client) = (now.0 - before.0, now.1 - before.1);
                let (sent, received) =
                    if side == Side::Client { (to_server, to_client) } else { (to_client, to_server) };
                let opened = first && life.opened_us >= from_us;
                self.captured[run].push((at_us, Fact::Progress(self.progress.len())));
                let at_us = self.local_us(node, at_us);
                self.progress.push(Progress { connection, side, at_us, sent, received, opened, closed });
                (before, first) = (now, false);
            }
        }
    }

    /// How agents call what an exchange did.
    pub fn operation(&self, index: usize) -> String {
        match self.plan.sums {
            true => format!("op-{}-{}", self.exchanges[index].connection, index % 3),
            false => format!("op-{index}"),
        }
    }

    /// Whether a side sums what it sees in a second: for some seconds on end, and never what is not plain.
    pub fn is_summed(&self, index: usize, side: Side, second: i64) -> bool {
        let of = |number: u64| Random::new(self.plan.seed ^ number.wrapping_mul(0x5ca1_ab1e) ^ (side as u64 + 1) << 60);
        let connection = self.exchanges[index].connection as u64 + 1;
        let seconds_on_end = of(connection).between(1, 12);
        let stretch = (second / seconds_on_end) as u64;
        self.plan.sums
            && is_plain(index)
            && of(index as u64 + (1 << 32)).chance(85)
            && of(connection << 40 ^ stretch).chance(60)
    }

    fn run_at(&self, node: usize, true_us: i64) -> Option<usize> {
        self.runs.iter().position(|run| run.node == node && (run.from_us..run.to_us).contains(&true_us))
    }
}

/// Whether it is an exchange like most: no stream, and nobody left in its middle.
pub fn is_plain(index: usize) -> bool {
    index % 11 > 1
}

/// True times at which an agent with this clock walks over the sockets.
fn walks(skew_us: i64, from_us: i64, to_us: i64) -> impl Iterator<Item = i64> {
    let first_us = ((from_us + skew_us + WALK_LEAD_US).div_euclid(WINDOW_US) + 1) * WINDOW_US - WALK_LEAD_US - skew_us;
    (0..).map(move |walk| first_us + walk * WINDOW_US).take_while(move |at_us| *at_us < to_us)
}

/// What is behind the traffic: also a node whose clock is behind comes to its end.
fn quiet_us(plan: &Plan) -> i64 {
    QUIET_US + plan.skew_ms * 1000
}

fn runs(plan: &Plan, random: &mut Random) -> Vec<Run> {
    let end_us = BEGIN_US + plan.seconds * SECOND + quiet_us(plan);
    let mut runs = Vec::new();
    // Where clocks are far apart, all nodes are known before there is anything to tell, whatever their clocks show.
    let known_us = if plan.skew_ms > 5_000 { plan.skew_ms * 1000 } else { 0 };
    for node in 0..plan.nodes {
        let mut from_us = BEGIN_US - known_us + random.between(-8 * SECOND, -6 * SECOND);
        loop {
            let ends: Vec<End> = [(plan.kills, End::Killed), (plan.stops, End::Stopped)]
                .iter()
                .filter(|(may, _)| *may)
                .map(|e| e.1)
                .collect();
            if ends.is_empty() || from_us > BEGIN_US + plan.seconds * SECOND || random.chance(30) {
                runs.push(Run { node, from_us, to_us: end_us, end: End::None });
                break;
            }
            let to_us = from_us + random.between(SECOND, plan.seconds * SECOND);
            let end = ends[random.between(0, ends.len() as i64 - 1) as usize];
            runs.push(Run { node, from_us, to_us, end });
            // The first node comes back always, so that time goes on.
            if node > 0 && random.chance(20) {
                break;
            }
            let away_us_max = if random.chance(70) { 3 * SECOND } else { 30 * SECOND };
            from_us = to_us + random.between(SECOND / 2, away_us_max);
        }
    }
    runs
}
