//! Random and mutated input through what the fuzz target runs, with fixed seeds.

#[path = "../../fuzz/harness.rs"]
mod harness;
#[path = "../../fuzz/traffic.rs"]
mod traffic;

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
    let mut rng = Rng(1);
    let exchanges: u64 = (0..60_000).map(|_| harness::run(&connection(&mut rng))).sum();
    assert!(exchanges > 10_000, "the input is too random to test anything: {exchanges} exchanges");
}

#[test]
fn mutated_segments_break_nothing() {
    let mut rng = Rng(2);
    for _ in 0..60_000 {
        let mut input = connection(&mut rng);
        for _ in 0..=rng.below(5) {
            mutate(&mut input, &mut rng);
        }
        harness::run(&input);
    }
}

#[test]
fn random_bytes_break_nothing() {
    let mut rng = Rng(3);
    for _ in 0..60_000 {
        let input: Vec<u8> = (0..rng.below(400)).map(|_| rng.byte()).collect();
        harness::run(&input);
    }
}

#[test]
fn valid_traffic_made_of_random_bytes_comes_out_whole() {
    let mut rng = Rng(4);
    let exchanges: u64 = (0..20_000)
        .map(|_| {
            let input: Vec<u8> = (0..rng.below(250)).map(|_| rng.byte()).collect();
            traffic::run(&input)
        })
        .sum();
    assert!(exchanges > 150_000, "the input makes hardly any traffic: {exchanges} exchanges");
}

/// SplitMix64: the same numbers for the same seed, everywhere and for ever.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

/// Settings, then segments of words that mostly follow each other.
fn connection(rng: &mut Rng) -> Vec<u8> {
    let mut input = vec![rng.byte()];
    for at in 0..=rng.below(19) {
        // The sides mostly take turns.
        let direction = if rng.below(6) == 0 { rng.below(2) } else { at & 1 };
        let mut bytes = Vec::new();
        if rng.below(5) > 0 {
            bytes.extend_from_slice(HEADS[direction][rng.below(6)]);
        }
        for _ in 0..rng.below(3) + usize::from(bytes.is_empty()) {
            bytes.extend_from_slice(WORDS[rng.below(WORDS.len())]);
        }
        let longest = bytes.len().min(255);
        let cut = if rng.below(4) == 0 { rng.below(longest) } else { 0 };
        bytes.truncate(longest - cut);
        // In order, captured whole, unless the dice say otherwise.
        let flags = if rng.below(8) == 0 { rng.byte() } else { 0b0010_0100 | direction as u8 };
        input.extend([flags, rng.byte() % 40, bytes.len() as u8, rng.byte() % 60, rng.byte() % 60, 3]);
        input.extend(bytes);
    }
    input
}

fn mutate(input: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.below(input.len());
    match rng.below(4) {
        0 => input[at] ^= 1 << rng.below(8),
        1 => input[at] = rng.byte(),
        2 => {
            input.remove(at);
        }
        _ => input.insert(at, rng.byte()),
    }
    if input.is_empty() {
        input.push(0);
    }
}
