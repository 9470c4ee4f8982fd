//! Random and mutated input through what the fuzz target runs, with fixed seeds.

#[path = "../../fuzz/harness.rs"]
mod harness;
#[path = "../../fuzz/traffic.rs"]
mod traffic;

use headwater_testing::Random;

/// How messages of each direction begin, so that random input gets past its first byte.
const HEADS: [[&[u8]; 6]; 2] = [
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: y\r\n\r\n",
        b"POST /a/b?c HTTP/1.1\r\n",
        b"PUT /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"HEAD /x HTTP/1.0\r\n\r\n",
        b"CONNECT h:1 HTTP/1.1\r\n\r\n",
    ],
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.0 500 Error\r\n\r\n",
    ],
];

const WORDS: [&[u8]; 14] = [
    b"Content-Length: 10\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"A: b\r\n",
    b"0123456789",
    b"H",
    b"G",
    b" ",
];

#[test]
fn random_segments_break_nothing() {
    let mut random = Random::new(1);
    let exchanges: u64 = (0..60_000).map(|_| harness::run(&connection(&mut random))).sum();
    assert!(exchanges > 10_000, "the input is too random to test anything: {exchanges} exchanges");
}

#[test]
fn mutated_segments_break_nothing() {
    let mut random = Random::new(2);
    for _ in 0..60_000 {
        let mut input = connection(&mut random);
        for _ in 0..=random.index(5) {
            mutate(&mut input, &mut random);
        }
        harness::run(&input);
    }
}

#[test]
fn random_bytes_break_nothing() {
    let mut random = Random::new(3);
    for _ in 0..60_000 {
        let input: Vec<u8> = (0..random.index(400)).map(|_| random.byte()).collect();
        harness::run(&input);
    }
}

#[test]
fn valid_traffic_made_of_random_bytes_comes_out_whole() {
    let mut random = Random::new(4);
    let exchanges: u64 = (0..20_000)
        .map(|_| {
            let input: Vec<u8> = (0..random.index(250)).map(|_| random.byte()).collect();
            traffic::run(&input)
        })
        .sum();
    assert!(exchanges > 150_000, "the input makes hardly any traffic: {exchanges} exchanges");
}

/// Settings, then segments of words that mostly follow each other.
fn connection(random: &mut Random) -> Vec<u8> {
    let mut input = vec![random.byte()];
    for at in 0..=random.index(19) {
        // The sides mostly take turns.
        let direction = if random.index(6) == 0 { random.index(2) } else { at & 1 };
        let mut bytes = Vec::new();
        if random.index(5) > 0 {
            bytes.extend_from_slice(HEADS[direction][random.index(6)]);
        }
        for _ in 0..random.index(3) + usize::from(bytes.is_empty()) {
            bytes.extend_from_slice(WORDS[random.index(WORDS.len())]);
        }
        let longest = bytes.len().min(255);
        let cut = if random.index(4) == 0 { random.index(longest) } else { 0 };
        bytes.truncate(longest - cut);
        // In order, captured whole, unless the dice say otherwise.
        let flags = if random.index(8) == 0 { random.byte() } else { 0b0010_0100 | direction as u8 };
        input.extend([flags, random.byte() % 40, bytes.len() as u8, random.byte() % 60, random.byte() % 60, 3]);
        input.extend(bytes);
    }
    input
}

fn mutate(input: &mut Vec<u8>, random: &mut Random) {
    let at = random.index(input.len());
    match random.index(4) {
        0 => input[at] ^= 1 << random.index(8),
        1 => input[at] = random.byte(),
        2 => {
            input.remove(at);
        }
        _ => input.insert(at, random.byte()),
    }
    if input.is_empty() {
        input.push(0);
    }
}
