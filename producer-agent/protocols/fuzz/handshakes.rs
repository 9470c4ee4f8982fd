//! Handshakes of TLS that are valid, in any records and calls, captured whole: all that they say has to be told. The fuzz target and a test on
//! the stable toolchain share it.

use headwater_protocols::{
    CloseReason, Direction, Encryption, Event, Options, Parser, Position, Segment, Side, Version,
};

const CHANGE: (u8, &[u8]) = (20, &[1]);
const SUITES: [(u16, &str); 3] = [
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"),
];
const GROUPS: [(u16, &str, bool); 3] =
    [(0x001d, "x25519", false), (0x0018, "secp384r1", false), (0x11ec, "X25519MLKEM768", true)];

/// What has been said so far, and how it is cut.
struct Plan<'i> {
    bytes: std::iter::Cycle<std::slice::Iter<'i, u8>>,
    said: Vec<(Direction, Vec<u8>)>,
}

impl Plan<'_> {
    fn number(&mut self) -> usize {
        self.bytes.next().copied().unwrap_or_default().into()
    }

    /// Messages or another content, in records of any size.
    fn say(&mut self, direction: Direction, (content, bytes): (u8, &[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = match self.number() {
                size @ 0..32 => size + 1,
                size => size * 200,
            };
            let size = if content == 22 { size } else { rest.len() };
            let (fragment, behind) = rest.split_at(size.min(rest.len()));
            rest = behind;
            let length = (fragment.len() as u16).to_be_bytes();
            self.said.push((direction, [&[content, 3, 3][..], &length, fragment].concat()));
        }
    }
}

/// Returns whether a handshake was told of.
pub fn run(input: &[u8]) -> bool {
    let Some((&settings, cuts)) = input.split_first() else { return false };
    if cuts.is_empty() {
        return false;
    }
    let mut plan = Plan { bytes: cuts.iter().cycle(), said: Vec::new() };
    let expected = handshake(settings, &mut plan);
    let mut parser = Parser::new(if settings & 1 == 0 { Side::Client } else { Side::Server }, &Options::default());
    let mut told: Vec<Encryption> = Vec::new();
    let mut take = |event: Event<'_>| match event {
        Event::Encryption(encryption) => told.push(encryption.clone()),
        other => panic!("{other:?} of a handshake"),
    };
    let mut at = [0_u64; 2];
    for (direction, bytes) in std::mem::take(&mut plan.said) {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let size = match plan.number() {
                size @ 0..64 => size + 1,
                size => size * 100,
            };
            let (call, behind) = rest.split_at(size.min(rest.len()));
            rest = behind;
            let segment = Segment {
                position: Position(at[direction as usize]),
                length: call.len() as u64,
                captured: call,
                at_ns: 1,
                other_position: Position(at[direction.opposite() as usize]),
            };
            at[direction as usize] += call.len() as u64;
            parser.segment(direction, &segment, &mut take);
        }
    }
    parser.close(1, CloseReason::Unobserved, &mut take);
    assert_eq!(told, [expected]);
    true
}

fn handshake(settings: u8, plan: &mut Plan<'_>) -> Encryption {
    let is_new = settings & 2 == 0;
    let is_resumed = settings & 4 != 0;
    let is_mutual = settings & 8 != 0 && !is_resumed;
    let (suite, suite_name) = if is_new { SUITES[0] } else { SUITES[1 + plan.number() % 2] };
    let (group, group_name, is_post_quantum) = GROUPS[plan.number() % if is_new { 3 } else { 2 }];
    let name = "a".repeat(1 + plan.number() % 200);
    let list = sized(&[&[0][..], &sized(name.as_bytes())].concat());
    let padding = vec![0; plan.number() * 20];
    let offered = [extension(21, &padding), extension(0, &list), extension(16, &sized(b"\x02h2\x08http/1.1"))].concat();
    let client_hello = message(1, &hello(&sized(&suite.to_be_bytes()), &[1, 0], &offered));
    plan.say(Direction::Request, (22, &client_hello));
    let mut chosen = if is_new {
        [extension(43, &[3, 4]), extension(51, &[&group.to_be_bytes()[..], &sized(&[7; 32])].concat())].concat()
    } else {
        extension(16, &sized(b"\x02h2"))
    };
    if is_new && is_resumed {
        chosen.extend(extension(41, &[0, 0]));
    }
    let server_hello = message(2, &hello(&suite.to_be_bytes(), &[0], &chosen));
    let mut expected = Encryption {
        version: Some(if is_new { Version::Tls1_3 } else { Version::Tls1_2 }),
        cipher_suite: Some(suite_name.into()),
        server_name: Some(name.into()),
        alpn_offered: Some("h2,http/1.1".into()),
        is_resumed: Some(is_resumed),
        is_post_quantum: Some(is_new && is_post_quantum),
        ..Encryption::default()
    };
    if is_new {
        expected.key_exchange_group = Some(group_name.into());
        plan.say(Direction::Response, (22, &server_hello));
        plan.say(Direction::Response, CHANGE);
        plan.say(Direction::Response, (23, &[9; 90]));
        return expected;
    }
    expected.alpn = Some("h2".into());
    if is_resumed {
        plan.say(Direction::Response, (22, &server_hello));
        plan.say(Direction::Response, CHANGE);
        plan.say(Direction::Response, (22, &[0xee; 40]));
        return expected;
    }
    let has_group = suite == SUITES[1].0;
    expected.key_exchange_group = Some(if has_group { group_name.into() } else { "".into() });
    expected.is_mutual = Some(is_mutual);
    let [high, low] = group.to_be_bytes();
    let share = if has_group { message(12, &[3, high, low, 2, 1, 1]) } else { Vec::new() };
    let asked = if settings & 8 != 0 { message(13, &[1, 64, 0, 0]) } else { Vec::new() };
    let flight =
        [server_hello, message(11, &[0, 0, 9, 0, 0, 6, 1, 2, 3, 4, 5, 6]), share, asked, message(14, b"")].concat();
    plan.say(Direction::Response, (22, &flight));
    let (certificate, proof) = match is_mutual {
        true => (message(11, &[0, 0, 4, 0, 0, 1, 9]), message(15, &[4, 3, 0, 1, 1])),
        false => (Vec::new(), Vec::new()),
    };
    plan.say(Direction::Request, (22, &[certificate, message(16, &[1, 5]), proof].concat()));
    plan.say(Direction::Request, CHANGE);
    expected
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn extension(number: u16, data: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &sized(data)].concat()
}

fn hello(suites: &[u8], compression: &[u8], extensions: &[u8]) -> Vec<u8> {
    [&[3, 3][..], &[5; 32], &[0], suites, compression, &sized(extensions)].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (body.len() as u32).to_be_bytes();
    [&[kind][..], &length, body].concat()
}
