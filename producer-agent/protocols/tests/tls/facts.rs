//! What is told of whole handshakes, against what the client itself says.

use headwater_protocols::{Direction, Encryption, Side};
use openssl::ssl::SslVersion;

use crate::openssl_peers::{EXPIRES_AT_S, Peers, Plan, Talk};
use crate::wire::Wire;

fn told(talk: &Talk) -> Encryption {
    let mut wire = Wire::new(Side::Client);
    let told = wire.say_all(&talk.calls).only().clone();
    let mut other = Wire::new(Side::Server);
    assert_eq!(other.say_all(&talk.calls).only(), &told);
    told
}

/// All that every handshake tells.
#[track_caller]
fn check(talk: &Talk, told: &Encryption) {
    let version = match talk.version.as_str() {
        "TLSv1" => "tls1.0".to_owned(),
        other => other.replace("TLSv", "tls"),
    };
    assert_eq!(told.version.map(|version| version.as_str()), Some(version.as_str()));
    assert_eq!(told.cipher_suite.as_deref(), Some(talk.cipher_suite.as_str()));
    assert_eq!(told.is_resumed, Some(talk.is_resumed));
    assert_eq!((told.is_post_quantum, told.upgraded_from), (Some(false), ""));
}

#[test]
fn tls_1_3_tells_version_suite_and_group_and_hides_the_rest() {
    for (groups, expected) in [("X25519", "x25519"), ("P-256", "secp256r1"), ("P-384:X25519", "secp384r1")] {
        let plan = Plan { server_groups: groups, client_groups: groups, ..Plan::of(SslVersion::TLS1_3) };
        let talk = Peers::new(plan).talk(None);
        let told = told(&talk);
        check(&talk, &told);
        assert_eq!(told.key_exchange_group.as_deref(), Some(expected));
        assert_eq!(
            (told.server_name.as_deref(), told.alpn_offered.as_deref()),
            (Some("shop.example"), Some("h2,http/1.1"))
        );
        assert_eq!((&told.alpn, &told.issuer, told.expires_at_s, told.is_mutual), (&None, &None, None, None));
    }
}

#[test]
fn a_client_that_has_to_begin_again_gets_the_group_of_the_second_time() {
    let plan = Plan { server_groups: "P-384", client_groups: "X25519:P-384", ..Plan::of(SslVersion::TLS1_3) };
    let talk = Peers::new(plan).talk(None);
    let hellos = talk.calls.iter().filter(|(_, bytes)| bytes.windows(6).any(|at| at[0] == 22 && at[5] == 1)).count();
    assert!(hellos >= 2, "no HelloRetryRequest was made");
    let told = told(&talk);
    check(&talk, &told);
    assert_eq!(told.key_exchange_group.as_deref(), Some("secp384r1"));
}

#[test]
fn before_tls_1_3_certificate_and_choice_of_protocol_are_in_clear_text() {
    for (version, ciphers) in [
        (SslVersion::TLS1, "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
        (SslVersion::TLS1_1, "ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"),
        (SslVersion::TLS1_2, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (SslVersion::TLS1_2, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ] {
        for is_mutual in [false, true] {
            let talk = Peers::new(Plan { ciphers, is_mutual, ..Plan::of(version) }).talk(None);
            let told = told(&talk);
            check(&talk, &told);
            assert_eq!(told.key_exchange_group.as_deref(), Some("x25519"), "{ciphers}");
            assert_eq!(told.alpn.as_deref(), Some(talk.alpn.as_str()));
            assert_eq!(told.issuer.as_deref(), Some("C=SE, O=Example, CN=Root of tests"));
            assert_eq!((told.expires_at_s, told.is_mutual), (Some(EXPIRES_AT_S), Some(is_mutual)));
        }
    }
}

#[test]
fn what_a_client_does_not_say_is_empty_and_not_unknown() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let talk = Peers::new(Plan { server_name: None, offered: b"", ..Plan::of(version) }).talk(None);
        let told = told(&talk);
        check(&talk, &told);
        assert_eq!((told.server_name.as_deref(), told.alpn_offered.as_deref()), (Some(""), Some("")));
        assert_eq!(told.alpn.as_deref(), (version == SslVersion::TLS1_2).then_some(""));
    }
}

#[test]
fn what_goes_on_with_old_keys_says_so_and_shows_no_certificate() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for is_mutual in [false, true] {
            let peers = Peers::new(Plan { is_mutual, ..Plan::of(version) });
            let first = peers.talk(None);
            let talk = peers.talk(first.session.as_ref());
            assert!(talk.is_resumed, "{version:?} did not resume");
            let told = told(&talk);
            check(&talk, &told);
            assert_eq!((&told.issuer, told.is_mutual), (&None, None));
        }
    }
}

#[test]
fn a_handshake_that_fails_tells_what_both_had_agreed_on() {
    let plan = Plan { is_distrusted: true, ..Plan::of(SslVersion::TLS1_2) };
    let talk = Peers::new(plan.clone()).talk(None);
    let mut wire = Wire::new(Side::Client);
    let told = wire.say_all(&talk.calls).only();
    assert_eq!(told.version.map(|version| version.as_str()), Some("tls1.2"));
    assert_eq!((told.expires_at_s, told.is_mutual, told.is_resumed), (Some(EXPIRES_AT_S), None, None));

    // Nothing in common: one alert is all that the server says.
    let plan = Plan { server_groups: "P-384", client_groups: "P-256", ..Plan::of(SslVersion::TLS1_3) };
    let talk = Peers::new(plan).talk(None);
    let mut wire = Wire::new(Side::Client);
    let told = wire.say_all(&talk.calls).only();
    assert_eq!((told.version, told.server_name.as_deref()), (None, Some("shop.example")));
}

#[test]
fn a_key_exchange_that_stands_against_quantum_computers_is_told() {
    let talk = Peers::new(Plan::of(SslVersion::TLS1_3)).talk(None);
    let mut wire = Wire::new(Side::Client);
    let mut calls = talk.calls.into_iter();
    let (direction, client_hello) = calls.next().unwrap();
    wire.say(direction, &client_hello, usize::MAX);
    let (direction, mut server_hello) = calls.next().unwrap();
    // The share in its extension: number, length, group.
    let at = server_hello.windows(6).position(|at| at == [0, 51, 0, 36, 0, 29]).unwrap();
    server_hello[at + 4..at + 6].copy_from_slice(&0x11ec_u16.to_be_bytes());
    let told = wire.say(direction, &server_hello, usize::MAX).only();
    assert_eq!((told.key_exchange_group.as_deref(), told.is_post_quantum), (Some("X25519MLKEM768"), Some(true)));
}

#[test]
fn a_hello_that_nobody_answers_with_one_is_not_encrypted_as_far_as_is_known() {
    let talk = Peers::new(Plan::of(SslVersion::TLS1_3)).talk(None);
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "-ERR unknown command\r\n", ""] {
        let mut wire = Wire::new(Side::Client);
        wire.say(Direction::Request, &talk.calls[0].1, usize::MAX).say(
            Direction::Response,
            answer.as_bytes(),
            usize::MAX,
        );
        wire.close();
        assert_eq!(wire.told, []);
    }
}
