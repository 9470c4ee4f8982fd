//! What is told where calls, captures and beginnings are not as one would wish: less, and never anything wrong.

use headwater_protocols::{Direction, Encryption, Recognition, Side};
use openssl::ssl::SslVersion;
use proptest::prelude::*;

use crate::openssl_peers::{Calls, Peers, Plan};
use crate::wire::Wire;

fn whole(calls: &Calls) -> Encryption {
    let mut wire = Wire::new(Side::Client);
    wire.say_all(calls).only().clone()
}

fn calls(version: SslVersion) -> Calls {
    Peers::new(Plan { is_mutual: true, ..Plan::of(version) }).talk(None).calls
}

/// Whatever is told of `part` is what `whole` says, or unknown.
fn is_part_of(part: &Encryption, whole: &Encryption) -> bool {
    fn fits<T: PartialEq>(part: &Option<T>, whole: &Option<T>) -> bool {
        part.is_none() || part == whole
    }
    fits(&part.version, &whole.version)
        && fits(&part.cipher_suite, &whole.cipher_suite)
        && fits(&part.key_exchange_group, &whole.key_exchange_group)
        && fits(&part.is_post_quantum, &whole.is_post_quantum)
        && fits(&part.server_name, &whole.server_name)
        && fits(&part.alpn, &whole.alpn)
        && fits(&part.alpn_offered, &whole.alpn_offered)
        && fits(&part.issuer, &whole.issuer)
        && fits(&part.expires_at_s, &whole.expires_at_s)
        && fits(&part.is_mutual, &whole.is_mutual)
        && fits(&part.is_resumed, &whole.is_resumed)
}

const VERSIONS: [SslVersion; 3] = [SslVersion::TLS1, SslVersion::TLS1_2, SslVersion::TLS1_3];

#[test]
fn calls_of_any_size_tell_the_same() {
    for version in VERSIONS {
        let calls = calls(version);
        let expected = whole(&calls);
        for size in [1, 2, 4, 5, 6, 11, 63, 64, 65, 1000] {
            let pieces =
                calls.iter().flat_map(|(direction, bytes)| bytes.chunks(size).map(|piece| (*direction, piece.into())));
            assert_eq!(whole(&pieces.collect()), expected, "{version:?} in calls of {size}");
        }
        // As OpenSSL reads: the head of a record, then the rest.
        let mut reads = Calls::new();
        for (direction, bytes) in &calls {
            let mut rest = &bytes[..];
            while let Some((header, behind)) = rest.split_at_checked(5) {
                let (body, next) = behind.split_at(usize::from(u16::from_be_bytes([header[3], header[4]])));
                reads.extend([(*direction, header.to_vec()), (*direction, body.to_vec())]);
                rest = next;
            }
        }
        assert_eq!(whole(&reads), expected, "{version:?} as OpenSSL reads");
    }
}

#[test]
fn a_server_hello_alone_tells_what_it_says() {
    for version in VERSIONS {
        let calls = calls(version);
        let expected = whole(&calls);
        let mut wire = Wire::new(Side::Server);
        wire.miss(Direction::Request, calls[0].1.len() as u64).say_all(&calls[1..].to_vec());
        let told = wire.only();
        assert!(is_part_of(told, &expected), "{told:?} of {expected:?}");
        assert_eq!((told.version, &told.cipher_suite), (expected.version, &expected.cipher_suite));
        assert_eq!(told.key_exchange_group, expected.key_exchange_group);
        assert_eq!((&told.server_name, &told.alpn_offered, told.is_mutual), (&None, &None, None));
    }
}

#[test]
fn the_middle_of_a_connection_is_known_by_its_records() {
    for version in VERSIONS {
        let calls = calls(version);
        let data = calls.len() - 6;
        for first in data..data + 2 {
            let mut wire = Wire::new(Side::Server);
            wire.miss(Direction::Request, 3000).miss(Direction::Response, 3000).say_all(&calls[first..].to_vec());
            if first == data {
                let told = wire.only();
                let version = (version == SslVersion::TLS1).then_some("tls1.0");
                assert_eq!(told.version.map(|version| version.as_str()), version);
                assert_eq!(Encryption { version: None, ..told.clone() }, Encryption::default());
            }
            assert!(wire.told.len() <= 1);
        }
    }
}

#[test]
fn what_only_looks_like_a_record_is_not_believed() {
    let record = [&[23, 3, 3, 0, 100][..], &[7; 100]].concat();
    let mut wire = Wire::new(Side::Server);
    wire.miss(Direction::Request, 10).miss(Direction::Response, 10);
    wire.say(Direction::Request, &[&record[..], &record, &[9; 50]].concat(), usize::MAX);
    for _ in 0..10 {
        wire.say(Direction::Request, &record[..60], usize::MAX).say(Direction::Response, b"OK", usize::MAX);
    }
    assert_eq!(wire.close().told, []);
}

#[test]
fn a_length_is_not_believed() {
    for length in [[0x7f, 0xff, 0xff], [0xff, 0xff, 0xff]] {
        let hello = [&[22, 3, 1, 0x40, 0, 1][..], &length, &[3; 91]].concat();
        let mut wire = Wire::new(Side::Server);
        wire.say(Direction::Request, &hello, usize::MAX);
        assert!(wire.parser.heap_bytes() < 2048, "{}", wire.parser.heap_bytes());
        wire.say(Direction::Response, &[22, 3, 3, 0xff, 0xff, 2], usize::MAX);
        assert_eq!(wire.close().told, []);
    }
}

#[test]
fn postgresql_and_mysql_change_to_tls() {
    let calls = calls(SslVersion::TLS1_3);
    let expected = whole(&calls);
    let postgres = [(Direction::Request, b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec()), (Direction::Response, b"S".to_vec())];
    let greeting = b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\0abcdefghijkl\0caching_sha2_password\0";
    let mut greeting = greeting.to_vec();
    greeting[0] = (greeting.len() - 4) as u8;
    let ask = [&[32, 0, 0, 1, 0x85, 0xae, 0xff, 0x19, 0, 0, 0, 1, 0xff][..], &[0; 23]].concat();
    let mysql = [(Direction::Response, greeting), (Direction::Request, ask)];
    for (beginning, protocol) in [(postgres, "postgresql"), (mysql, "mysql")] {
        let mut wire = Wire::new(Side::Client);
        let mut told = Vec::new();
        // The change is counted, as ever.
        for (direction, bytes) in beginning.iter().chain(&calls) {
            wire.upgrade(*direction, bytes, &mut told);
        }
        assert_eq!(told, [Encryption { upgraded_from: protocol, ..expected.clone() }]);
        assert_eq!((wire.parser.recognition(), wire.parser.protocol()), (Recognition::Recognised, "tls"));
    }
    // The server says no.
    let mut wire = Wire::new(Side::Client);
    let mut told = Vec::new();
    wire.upgrade(Direction::Request, b"\0\0\0\x08\x04\xd2\x16\x2f", &mut told).upgrade(
        Direction::Response,
        b"N",
        &mut told,
    );
    assert_eq!((told, wire.parser.protocol()), (vec![], ""));
}

#[test]
fn handshakes_of_any_kind_in_any_records_and_calls_tell_all_that_they_say() {
    let mut random = headwater_testing::Random::new(7);
    let told = (0..20_000).filter(|_| {
        let bytes: Vec<u8> = (0..2 + random.below(60)).map(|_| random.number() as u8).collect();
        crate::handshakes::run(&bytes)
    });
    assert_eq!(told.count(), 20_000);
}

/// Tells the parser of a talk, cut as [`nothing_wrong_is_told`] says, and holds what is told against what the whole of it says.
fn check(version: usize, from: usize, cuts: &[(usize, usize, u8)], flips: &[(usize, u8)]) -> Result<(), TestCaseError> {
    thread_local!(static TALKS: Vec<(Calls, Encryption)> = VERSIONS.map(|version| {
            let calls = calls(version);
            let expected = whole(&calls);
            (calls, expected)
        }).to_vec());
    TALKS.with(|talks| {
        let (calls, expected) = &talks[version];
        let mut wire = Wire::new(Side::Server);
        let mut cuts = cuts.iter().cycle();
        let mut at = 0;
        for (number, (direction, bytes)) in calls.iter().enumerate() {
            let mut bytes = bytes.clone();
            for (place, byte) in flips {
                if let Some(flipped) = place.checked_sub(at).and_then(|place| bytes.get_mut(place)) {
                    *flipped = *byte;
                }
            }
            at += bytes.len();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (size, captured, missed) = cuts.next().unwrap();
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                rest = behind;
                if number < from || *missed == 0 {
                    wire.miss(*direction, piece.len() as u64);
                } else {
                    wire.say(*direction, piece, *captured);
                }
                prop_assert!(wire.parser.heap_bytes() < 64 * 1024);
            }
        }
        wire.close();
        prop_assert!(wire.told.len() <= 1);
        if flips.is_empty() {
            for told in &wire.told {
                prop_assert!(is_part_of(told, expected), "{:?} of {:?}", told, expected);
            }
        }
        Ok(())
    })
}

/// What is missing of the server's part may be its certificate: then it is not known whether it goes on with old keys.
#[test]
fn a_server_of_whose_part_something_is_missing_may_have_shown_its_certificate() {
    // Lengths of signatures, on which it depends where the server's last call begins, differ by some bytes.
    for (first, seen, third) in
        (549..=569).flat_map(|a| (581..=601).flat_map(move |b| (542..=562).map(move |c| (a, b, c))))
    {
        check(0, 1, &[(first, 0, 0), (seen, 47, 1), (third, 0, 0)], &[]).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Cut into any calls, captured as far as anything, with calls that nobody tells of, from any place on.
    #[test]
    fn nothing_wrong_is_told(
        version in 0..3_usize,
        from in 0..8_usize,
        cuts in prop::collection::vec((1..2000_usize, 0..2500_usize, 0..12_u8), 1..40),
        flips in prop::collection::vec((0..5000_usize, any::<u8>()), 0..2),
    ) {
        check(version, from, &cuts, &flips)?;
    }
}
