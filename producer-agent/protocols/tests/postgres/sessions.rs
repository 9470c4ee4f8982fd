//! What clients and servers say to each other, seen whole.

use headwater_protocols::postgres::Options;
use headwater_protocols::{CloseReason, Follow, Kind, Recognition, Side};

use crate::wire::*;

/// Cases: sql-postgres-one-write.
#[test]
fn sql_postgres_one_write() {
    let hex = "50 00000010 00 73656c656374203100 0000  42 0000000c 00 00 0000 0000 0000  44 00000006 50 00  \
               45 00000009 00 00000000  53 00000004";
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    let mut wire = Wire::started();
    wire.request(&bytes).response([executed(1), ready(b'I')].concat());
    wire.expect(&["SELECT ?: Ok"], &[]);
    let seen = &wire.output.exchanges[0];
    assert_eq!((seen.request_bytes, seen.response_bytes), (bytes.len() as u64 - 5, executed(1).len() as u64));
    assert_eq!(seen.times_ns, [Some(30), Some(30), Some(40), Some(40)]);

    // The 20th of 50 fails: what stands behind it is skipped.
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for at in 1..=50 {
        asked.extend(all_of(if at == 20 { "select 1/0" } else { "select 2" }));
        answered.extend(match at {
            ..20 => executed(1),
            20 => [message(b'1', ""), message(b'2', ""), message(b'T', [0, 0]), error("22012")].concat(),
            _ => Vec::new(),
        });
    }
    let mut expected = vec!["SELECT ?: Ok"; 19];
    expected.push("SELECT ? / ?: ClientError 22012");
    let mut wire = Wire::started();
    wire.request([asked, sync()].concat()).response([answered, ready(b'I')].concat());
    wire.close(FINISHED).expect(&expected, &[]);

    // A statement that was prepared before anybody looked.
    let mut wire = Wire::in_the_middle();
    wire.response(ready(b'I'));
    wire.request([bind("s1"), execute(), sync()].concat());
    wire.response([message(b'2', ""), complete("SELECT 0"), ready(b'I')].concat());
    wire.expect(&["unknown: Ok"], &[("started_before_capture", 1)]);
}

#[test]
fn queries_with_every_kind_of_answer() {
    let mut wire = Wire::started();
    wire.request(query("SELECT * FROM a WHERE b = 'secret'")).response(selected(3, 10));
    wire.request(query("BEGIN")).response([complete("BEGIN"), ready(b'T')].concat());
    wire.request(query("insert into a values (1, 'x'), (2, 'y')"))
        .response([complete("INSERT 0 2"), ready(b'T')].concat());
    wire.request(query("INSERT INTO a VALUES (1)")).response([error("23505"), ready(b'E')].concat());
    wire.request(query("SELECT 1; SELECT 2"))
        .response([rows(1, 1), complete("SELECT 1"), error("57014"), ready(b'E')].concat());
    wire.request(query("")).response([message(b'I', ""), ready(b'I')].concat());
    wire.request(message(b'F', [0; 20])).response([message(b'V', [0; 4]), ready(b'I')].concat());
    wire.request(message(b'X', "")).close(FINISHED);
    wire.expect(
        &[
            "SELECT * FROM a WHERE b = ?: Ok",
            "BEGIN: Ok",
            "INSERT INTO a VALUES (?): Ok",
            "INSERT INTO a VALUES (?): ClientError 23505",
            "SELECT ?: ServerError 57014",
            "EMPTY: Ok",
            "FUNCTION CALL: Ok",
        ],
        &[],
    );
}

#[test]
fn prepared_statements_are_named_by_what_was_prepared() {
    let mut wire = Wire::started();
    wire.request([parse("s1", "select a from t"), message(b'D', "Ss1\0"), sync()].concat());
    wire.response([message(b'1', ""), message(b't', [0, 0]), rows(0, 0), ready(b'I')].concat());
    wire.request([bind("s1"), execute(), sync()].concat());
    wire.response([message(b'2', ""), complete("SELECT 0"), ready(b'I')].concat());
    // A name that is taken stays what it was.
    wire.request([parse("s1", "select b from u"), sync()].concat()).response([error("42P05"), ready(b'I')].concat());
    wire.request([bind("s1"), execute(), bind("s2"), execute(), sync()].concat());
    wire.response([message(b'2', ""), complete("SELECT 0"), error("26000"), ready(b'I')].concat());
    // Closed and prepared anew, in one write.
    wire.request([message(b'C', "Ss1\0"), parse("s1", "select c from v"), bind("s1"), execute(), sync()].concat());
    wire.response(
        [message(b'3', ""), message(b'1', ""), message(b'2', ""), complete("SELECT 0"), ready(b'I')].concat(),
    );
    // One that gives up another by SQL.
    wire.request([parse("", "DEALLOCATE s1"), bind(""), execute(), bind("s1"), execute(), sync()].concat());
    wire.response([message(b'1', ""), message(b'2', ""), complete("DEALLOCATE"), error("26000"), ready(b'I')].concat());
    wire.expect(
        &[
            "SELECT a FROM t: Ok",
            "SELECT b FROM u: ClientError 42P05",
            "SELECT a FROM t: Ok",
            "unknown: ClientError 26000",
            "SELECT c FROM v: Ok",
            "DEALLOCATE: Ok",
            "unknown: ClientError 26000",
        ],
        &[],
    );
}

#[test]
fn statements_beyond_the_bound_are_unknown() {
    let mut wire = Wire::new(Options { statements_max: 2, ..Options::default() });
    wire.request(startup()).response(welcome());
    for name in ["a", "b", "c"] {
        wire.request([parse(name, &format!("SELECT {name}")), sync()].concat());
        wire.response([message(b'1', ""), ready(b'I')].concat());
    }
    for name in ["a", "b", "c"] {
        wire.request([bind(name), execute(), sync()].concat());
        wire.response([message(b'2', ""), complete("SELECT 0"), ready(b'I')].concat());
    }
    wire.expect(&["unknown: Ok", "SELECT b: Ok", "SELECT c: Ok"], &[]);
}

#[test]
fn an_error_before_the_execute_is_the_one_of_its_group() {
    let mut wire = Wire::started();
    wire.request([all_of("selec 1"), all_of("select 2"), sync()].concat());
    wire.response([error("42601"), ready(b'I')].concat());
    // Nothing is executed, so the error shows nowhere else.
    wire.request([parse("p", "select nowhere"), message(b'D', "Sp\0"), sync()].concat());
    wire.response([error("42703"), ready(b'I')].concat());
    // The transaction ends with the Sync.
    wire.request([all_of("insert into a values (1)"), sync()].concat());
    wire.response([message(b'1', ""), message(b'2', ""), message(b'n', ""), complete("INSERT 0 1")].concat());
    wire.response([error("23503"), ready(b'I')].concat());
    wire.expect(
        &[
            "selec ?: ClientError 42601",
            "SELECT nowhere: ClientError 42703",
            "INSERT INTO a VALUES (?): Ok",
            "SYNC: ClientError 23503",
        ],
        &[],
    );
    assert_eq!(wire.output.exchanges[0].request_bytes, all_of("selec 1").len() as u64);
}

#[test]
fn several_syncs_in_flight() {
    let mut wire = Wire::started();
    wire.request([all_of("select a"), sync(), all_of("select b"), sync()].concat());
    wire.request([all_of("select c"), sync()].concat());
    wire.response([error("42703"), ready(b'I'), executed(1), ready(b'I')].concat());
    wire.response([executed(1), ready(b'I')].concat());
    wire.expect(&["SELECT a: ClientError 42703", "SELECT b: Ok", "SELECT c: Ok"], &[]);
}

#[test]
fn a_portal_that_is_suspended_is_executed_again() {
    let mut wire = Wire::started();
    wire.request([parse("", "select a from t"), message(b'B', b"p1\0\0\0\0\0\0\0\0"), message(b'H', "")].concat());
    wire.response([message(b'1', ""), message(b'2', "")].concat());
    for _ in 0..2 {
        wire.request([message(b'E', b"p1\0\0\0\0\x05"), message(b'H', "")].concat());
        wire.response([rows(1, 4)[31 + 1..].to_vec(), message(b's', "")].concat());
    }
    wire.request(sync()).response(ready(b'I'));
    wire.expect(&["SELECT a FROM t: Ok", "SELECT a FROM t: Ok"], &[]);
    assert_eq!(wire.output.exchanges[0].request_bytes, message(b'E', b"p1\0\0\0\0\x05").len() as u64);
}

#[test]
fn copying_in_and_out() {
    let (data, done) = (message(b'd', "1\tsecret\n"), message(b'c', ""));
    let taken = message(b'G', [0, 0, 1, 0, 0]);
    let mut wire = Wire::started();
    wire.request(query("COPY a FROM STDIN")).response(&taken).request(data.repeat(3)).request(&done);
    wire.response([complete("COPY 3"), ready(b'I')].concat());
    wire.request(query("COPY a TO STDOUT"));
    wire.response(
        [message(b'H', [0, 0, 1, 0, 0]), data.repeat(3), done.clone(), complete("COPY 3"), ready(b'I')].concat(),
    );
    // What is still sent after it has failed counts for nothing.
    wire.request(query("COPY a FROM STDIN")).response(&taken).request(&data);
    wire.response([error("22P02"), ready(b'I')].concat()).request([data.clone(), done.clone()].concat());
    wire.request(query("SELECT 1")).response(selected(1, 1));
    // The Sync behind the Execute counts for nothing once data is taken.
    for (ending, answer) in [(done.clone(), complete("COPY 1")), (message(b'f', "no\0"), error("57014"))] {
        wire.request([all_of("COPY a FROM STDIN"), sync()].concat());
        wire.response([message(b'1', ""), message(b'2', ""), message(b'n', ""), taken.clone()].concat());
        wire.request([data.clone(), ending, sync()].concat()).response([answer, ready(b'I')].concat());
    }
    wire.request(query("SELECT 2")).response(selected(1, 1));
    wire.expect(
        &[
            "COPY a FROM STDIN: Ok",
            "COPY a TO STDOUT: Ok",
            "COPY a FROM STDIN: ClientError 22P02",
            "SELECT ?: Ok",
            "COPY a FROM STDIN: Ok",
            "COPY a FROM STDIN: ServerError 57014",
            "SELECT ?: Ok",
        ],
        &[],
    );
    let asked = query("COPY a FROM STDIN").len() + 3 * data.len() + done.len();
    assert_eq!(wire.output.exchanges[0].request_bytes, asked as u64);
}

#[test]
fn replication_is_a_stream_and_no_more_is_read() {
    let mut wire = Wire::started();
    wire.request(query("START_REPLICATION SLOT s LOGICAL 0/0")).response(message(b'W', [0, 0, 0]));
    wire.response(message(b'd', "anything")).request(message(b'd', "status")).close(FINISHED);
    wire.expect(&["START_REPLICATION SLOT s LOGICAL ? / ?: Ok"], &[]);
    assert_eq!(wire.output.exchanges[0].kind, Kind::Stream);
}

#[test]
fn what_answers_nothing() {
    let notice =
        [message(b'N', "SNOTICE\0Msecret\0\0"), message(b'A', b"\0\0\0\x07chan\0secret\0"), message(b'S', "a\0b\0")];
    let notice = notice.concat();
    let mut wire = Wire::started();
    wire.response(&notice).request(query("SELECT 1")).response(&notice).response(selected(1, 1)).response(&notice);
    wire.expect(&["SELECT ?: Ok"], &[]);
    assert_eq!(wire.output.exchanges[0].response_bytes, selected(1, 1).len() as u64);
    // It says why it goes.
    wire.response(error("57P01")).close(FINISHED);
    wire.expect(&["SELECT ?: Ok"], &[("unsolicited_response", 1)]);
}

#[test]
fn encryption_ends_the_parsing_and_its_refusal_does_not() {
    for (code, grant) in [(80_877_103u32, "S"), (80_877_104, "G")] {
        let mut wire = Wire::fresh();
        wire.request(untyped(&code.to_be_bytes())).response(grant).request("\u{16}\u{3}\u{1}");
        assert_eq!(wire.connection.recognition(), Recognition::Foreign);
        wire.expect(&[], &[("upgraded", 1)]);
        let mut wire = Wire::fresh();
        wire.request(untyped(&code.to_be_bytes())).response("N").request(startup()).response(welcome());
        wire.request(query("SELECT 1")).response(selected(1, 1)).expect(&["SELECT ?: Ok"], &[]);
    }
}

#[test]
fn a_cancel_request_is_one_way() {
    let mut wire = Wire::fresh();
    wire.request(untyped(&[&80_877_102u32.to_be_bytes()[..], &[1; 8]].concat())).close(FINISHED);
    wire.expect(&["CANCEL: Ok"], &[]);
    assert_eq!(wire.output.exchanges[0].kind, Kind::OneWay);
}

#[test]
fn passwords_are_not_looked_at() {
    let mut wire = Wire::fresh();
    wire.request(startup()).response(message(b'R', [0, 0, 0, 3]));
    wire.request(message(b'p', "hunter2\0")).response(welcome());
    wire.request(query("SELECT 1")).response(selected(1, 1)).expect(&["SELECT ?: Ok"], &[]);
    let mut wire = Wire::fresh();
    wire.request(startup()).response(message(b'R', [0, 0, 0, 3])).request(message(b'p', "wrong\0"));
    wire.response(error("28P01")).close(CloseReason::Finished { by: Side::Server }).expect(&[], &[]);
}

#[test]
fn what_is_open_at_the_end() {
    for (how, outcome) in [
        (FINISHED, "SELECT ?: no_response"),
        (CloseReason::Reset { by: Side::Server }, "SELECT ?: reset"),
        (CloseReason::TimedOut, "SELECT ?: timed_out"),
    ] {
        let mut wire = Wire::started();
        wire.request(query("SELECT 1")).close(how).expect(&[outcome], &[]);
        let mut wire = Wire::started();
        wire.request([all_of("SELECT 1"), sync()].concat()).close(how).expect(&[outcome], &[]);
    }
    let mut wire = Wire::started();
    wire.request(query("SELECT 1")).close(CloseReason::Unobserved).expect(&[], &[("unfinished", 1)]);
    let mut wire = Wire::started();
    wire.request(query("SELECT 1")).response(rows(1, 1)).close(FINISHED).expect(&["SELECT ?: client_left"], &[]);
    let mut wire = Wire::started();
    wire.request(query("SELECT 1")).response(error("57P01")).close(CloseReason::Finished { by: Side::Server });
    wire.expect(&["SELECT ?: ServerError 57P01"], &[]);
}

#[test]
fn more_messages_than_the_bound_are_counted_and_it_goes_on_at_rest() {
    let mut wire = Wire::new(Options { pending_messages_max: 8, ..Options::default() });
    wire.request(startup()).response(welcome());
    wire.request([all_of("SELECT 1").repeat(3), sync()].concat())
        .response([executed(1).repeat(3), ready(b'I')].concat());
    wire.request(query("SELECT 2")).response(selected(1, 1));
    wire.expect(&["SELECT ?: Ok"], &[("ambiguous", 1), ("too_many_pipelined", 2)]);
}

/// Cases: lengths-not-believed.
#[test]
fn other_protocols_and_lengths_that_cannot_be() {
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let tls = [&[0x16, 3, 1, 2, 0, 1][..], &[0; 100]].concat();
    for claimed in [0u32, 3, 0x7fff_ffff, 0xffff_ffff] {
        let head = [&claimed.to_be_bytes()[..], &[0; 100]].concat();
        let kafka = [&[0, 0, 0, 30, 0, 3, 0, 0, 0, 0, 0, 1, 0, 7][..], b"rdkafka", &[0; 15]].concat();
        for first in [head, kafka, http.clone(), tls.clone(), b"*1\r\n$4\r\nPING\r\n".to_vec()] {
            let mut wire = Wire::fresh();
            wire.request(&first).response("+OK\r\n");
            assert_eq!(wire.connection.recognition(), Recognition::Foreign, "{first:?}");
            wire.close(FINISHED).expect(&[], &[]);
        }
        for kind in *b"QPBEDCFdfp" {
            let mut wire = Wire::started();
            wire.request([&[kind], &claimed.to_be_bytes()[..], &[b'x'; 100]].concat());
            wire.request(query("SELECT 1")).response(selected(1, 1)).close(FINISHED);
            assert_eq!(wire.output.lost(), 2, "{:?}", wire.output.losses);
            assert!(wire.output.exchanges.is_empty() && wire.connection.heap_bytes() < 4_000);
        }
    }
    // It may be so long, but nothing is kept for it.
    let mut wire = Wire::started();
    wire.request([&b"Q\x3f\xff\xff\xff"[..], &[b'x'; 100]].concat());
    assert!(wire.connection.heap_bytes() < 4_000, "{}", wire.connection.heap_bytes());
    // A server that speaks first.
    let mut wire = Wire::fresh();
    wire.response("SSH-2.0-OpenSSH\r\n").request(startup());
    assert_eq!(wire.connection.recognition(), Recognition::Foreign);
}

#[test]
fn the_database_is_told_where_the_startup_was_seen() {
    let of = |parameters: &[u8]| {
        let mut wire = Wire::fresh();
        wire.request(untyped(&[&196_608_u32.to_be_bytes()[..], parameters].concat())).response(welcome());
        wire.request(query("SELECT 1")).response(selected(1, 4));
        wire.output.exchanges[0].database.clone()
    };
    assert_eq!(of(b"user\0bob\0database\0shop\0\0"), "shop");
    assert_eq!(of(b"user\0bob\0application_name\0database\0\0"), "bob");
    let mut wire = Wire::in_the_middle();
    wire.request(query("SELECT 1")).response(selected(1, 4));
    assert!(wire.output.exchanges.iter().all(|seen| seen.database.is_empty()));
}
