//! Random and mutated input through the harness of the fuzz target, with fixed seeds.

use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::RngExt;

#[path = "../../fuzz/harness.rs"]
mod harness;

/// Words of the protocol, so that random input gets past the first byte.
const WORDS: [&[u8]; 24] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST /a/b?c HTTP/1.1\r\n",
    b"HEAD /x HTTP/1.0\r\n\r\n",
    b"CONNECT h:1 HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 500 Error\r\n\r\n",
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
    let mut rng = rng(1);
    for _ in 0..60_000 {
        harness::run(&connection(&mut rng));
    }
}

#[test]
fn mutated_segments_break_nothing() {
    let mut rng = rng(2);
    for _ in 0..60_000 {
        let mut input = connection(&mut rng);
        for _ in 0..rng.random_range(1..6) {
            mutate(&mut input, &mut rng);
        }
        harness::run(&input);
    }
}

#[test]
fn random_bytes_break_nothing() {
    let mut rng = rng(3);
    for _ in 0..60_000 {
        let input: Vec<u8> = (0..rng.random_range(0..400)).map(|_| rng.random()).collect();
        harness::run(&input);
    }
}

fn rng(seed: u8) -> TestRng {
    TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32])
}

/// Settings, then segments of words that mostly follow each other.
fn connection(rng: &mut TestRng) -> Vec<u8> {
    let mut input = vec![rng.random()];
    for _ in 0..rng.random_range(1..20) {
        let mut bytes = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            bytes.extend_from_slice(WORDS[rng.random_range(0..WORDS.len())]);
        }
        bytes.truncate(rng.random_range(1..=bytes.len().min(255)).max(bytes.len().min(255) / 2));
        // In order, captured whole, unless the dice say otherwise.
        let flags: u8 = if rng.random_range(0..4) == 0 { rng.random() } else { rng.random_range(0..2) | 0b0010_0100 };
        let jump = rng.random_range(0..40);
        input.extend([flags, jump, bytes.len() as u8, rng.random_range(0..60), rng.random_range(0..60), 3]);
        input.extend(bytes);
    }
    input
}

fn mutate(input: &mut Vec<u8>, rng: &mut TestRng) {
    let at = rng.random_range(0..input.len());
    match rng.random_range(0..4) {
        0 => input[at] ^= 1 << rng.random_range(0..8),
        1 => input[at] = rng.random(),
        2 => {
            input.remove(at);
        }
        _ => input.insert(at, rng.random()),
    }
    if input.is_empty() {
        input.push(0);
    }
}
