//! Whole sessions, made by hand.

use headwater_protocols::mysql::Options;
use headwater_protocols::{CloseReason, Direction, Follow, Kind, Recognition, Side};

use crate::wire::*;

/// With and without a packet that ends definitions.
const BOTH: [u64; 2] = [0, DEPRECATE_EOF];

#[test]
fn queries_with_every_kind_of_answer() {
    for both in BOTH {
        let mut wire = Wire::started(both);
        wire.request(query("select * from t where a = 'secret'")).answer(&result(both, 3, 20, 0));
        wire.request(query("insert into t values (1)")).answer(&[ok(0)]);
        wire.request(query("select 1 from nowhere")).answer(&[error(1146, "42S02")]);
        // The error comes behind rows.
        let mut rows = result(both, 2, 10, 0);
        *rows.last_mut().unwrap() = error(1317, "70100");
        wire.request(query("select sleep(9)")).answer(&rows);
        wire.request(query("select a from empty")).answer(&result(both, 0, 0, 0));
        // Several results, the last of which is an error.
        let many = [result(both, 1, 300, MORE), vec![ok(MORE)], result(both, 2, 5, 0)].concat();
        wire.request(query("call p()")).answer(&many);
        let failed = [result(both, 1, 300, MORE), vec![error(1213, "40001")]].concat();
        wire.request(query("call q()")).answer(&failed);
        // MariaDB reports progress as an error that is none.
        wire.request(query("alter table t add b int"))
            .answer(&[b"\xff\xff\xff\x01\x01\x02\0\0\0\x01x".to_vec(), ok(0)]);
        wire.close(FINISHED).expect(
            &[
                "SELECT * FROM t WHERE a = ?: Ok",
                "INSERT INTO t VALUES (?): Ok",
                "SELECT ? FROM nowhere: ClientError 1146/42S02",
                "SELECT sleep(?): ServerError 1317/70100",
                "SELECT a FROM empty: Ok",
                "CALL p(): Ok",
                "CALL q(): ClientError 1213/40001",
                "ALTER TABLE t ADD b int: Ok",
            ],
            &[],
        );
    }
}

#[test]
fn a_command_goes_to_the_database_that_was_named_last() {
    let capabilities = PLAIN | CONNECT_WITH_DB | SECURE_CONNECTION;
    let mut wire = Wire::fresh();
    wire.response(greeting(capabilities)).request(login(capabilities)).response(packet(2, ok(0)));
    wire.request(query("select 1")).answer(&result(0, 1, 1, 0));
    wire.request(query("use `other`")).answer(&[ok(0)]).request(ping()).answer(&[ok(0)]);
    wire.request(query("use nowhere")).answer(&[error(1049, "42000")]).request(ping()).answer(&[ok(0)]);
    // Before the first of them is answered.
    wire.request([command(2, "third"), ping()].concat()).answer(&[ok(0)]).answer(&[ok(0)]);
    wire.request(query("select 1; use fourth")).answer(&[result(0, 1, 1, MORE), vec![ok(0)]].concat());
    wire.request(ping()).answer(&[ok(0)]);
    wire.request(command(0x11, "bob\0\x02xxfifth\0\x21\0")).answer(&[ok(0)]).request(ping()).answer(&[ok(0)]);
    // The rest of it, which was not captured, may name another.
    let long = query(&format!("insert into t values ('{}'); use sixth", "x".repeat(3_000)));
    wire.say(Direction::Request, &long, 2_000).answer(&[ok(MORE), ok(0)]).request(ping()).answer(&[ok(0)]);
    let named = ["shop", "shop", "other", "other", "nowhere", "other", "third", "third", "third", "", "fifth", "fifth"];
    assert_eq!(wire.output.resources, [&named[..], &["fifth", ""]].concat());
    // What was missed may have named another.
    let mut wire = Wire::fresh();
    wire.response(greeting(capabilities)).request(login(capabilities)).response(packet(2, ok(0)));
    wire.miss(Direction::Request, query("use other")).miss(Direction::Response, packet(1, ok(0)));
    for _ in 0..3 {
        wire.request(ping()).answer(&[ok(0)]);
    }
    assert_eq!(
        (wire.output.resources.first().unwrap().as_str(), wire.output.resources.last().unwrap().as_str()),
        ("shop", "")
    );
}

/// Cases: sql-mysql-without-answer.
#[test]
fn a_command_without_an_answer_stands_before_one_that_has() {
    for both in BOTH {
        let mut wire = Wire::started(both);
        wire.request(b"\x05\0\0\0\x19\x01\0\0\0\x09\0\0\0\x03SELECT 1").answer(&result(both, 1, 1, 0));
        for id in 1..=1_000 {
            wire.request(prepare("select a from t where b = ?")).answer(&prepared(both, id, 1, 1));
            wire.request(execute(id)).answer(&result(both, 1, 4, 0)).request(close(id));
        }
        wire.request(command(1, "")).close(FINISHED);
        let mut expected = vec!["SELECT ?: Ok"];
        expected.extend(["PREPARE SELECT a FROM t WHERE b = ?: Ok", "SELECT a FROM t WHERE b = ?: Ok"].repeat(1_000));
        wire.expect(&expected, &[]);
        let times = |seen: &Seen| seen.times_ns.map(Option::unwrap);
        for seen in &wire.output.exchanges {
            let [started, ended, first, last] = times(seen);
            assert_eq!((ended, first, last), (started, started + 10, started + 10));
        }
    }
}

#[test]
fn prepared_statements_are_known_by_their_ids() {
    for both in BOTH {
        let mut wire = Wire::started(both);
        for (id, parameters, columns) in [(1, 0, 0), (2, 3, 0), (3, 0, 2), (4, 2, 2)] {
            wire.request(prepare(&format!("select {id} from t{id}"))).answer(&prepared(both, id, parameters, columns));
        }
        wire.request(command(0x18, b"\x02\0\0\0\0\0secret")).request(execute(2)).answer(&[ok(0)]);
        wire.request(execute(4)).answer(&result(both, 2, 5, 0));
        wire.request(execute(9)).answer(&[error(1243, "HY000")]);
        wire.request(prepare("select from")).answer(&[error(1064, "42000")]);
        wire.request(command(0x1a, 4u32.to_le_bytes())).answer(&[ok(0)]);
        wire.request(close(4)).request(execute(4)).answer(&[ok(0)]);
        // What was prepared is forgotten with the session.
        wire.request(command(0x1f, "")).answer(&[ok(0)]).request(execute(3)).answer(&[ok(0)]);
        // The statement that was prepared last, asked for before that is answered (MariaDB).
        wire.request([prepare("select now()"), execute(u32::MAX)].concat());
        wire.response([numbered(1, &prepared(both, 7, 0, 1)), numbered(1, &result(both, 1, 8, 0))].concat());
        // With a cursor rows come when they are fetched.
        let mut with_cursor = vec![vec![1], definition()];
        with_cursor.push(if both == 0 { eof(0x40) } else { end_of_rows(both, 0x40) });
        wire.request(execute(7)).answer(&with_cursor);
        let rows = [vec![b"\0\0\x01x".to_vec(); 3], vec![end_of_rows(both, 0x80)]].concat();
        wire.request(command(0x1c, [7, 0, 0, 0, 3, 0, 0, 0])).answer(&rows);
        wire.close(FINISHED).expect(
            &[
                "PREPARE SELECT ? FROM t1: Ok",
                "PREPARE SELECT ? FROM t2: Ok",
                "PREPARE SELECT ? FROM t3: Ok",
                "PREPARE SELECT ? FROM t4: Ok",
                "SELECT ? FROM t2: Ok",
                "SELECT ? FROM t4: Ok",
                "unknown: ClientError 1243/HY000",
                "PREPARE SELECT FROM: ClientError 1064/42000",
                "RESET STATEMENT: Ok",
                "unknown: Ok",
                "RESET CONNECTION: Ok",
                "unknown: Ok",
                "PREPARE SELECT now(): Ok",
                "SELECT now(): Ok",
                "SELECT now(): Ok",
                "FETCH: Ok",
            ],
            &[],
        );
    }
}

#[test]
fn commands_of_every_kind() {
    let mut wire = Wire::started(0);
    wire.request(ping()).answer(&[ok(0)]);
    wire.request(command(2, "shop")).answer(&[ok(0)]);
    wire.request(command(2, "nowhere")).answer(&[error(1049, "42000")]);
    wire.request(command(9, "")).answer(&[b"Uptime: 7".to_vec()]);
    wire.request(command(4, "t\0")).answer(&[definition(), definition(), eof(0)]);
    wire.request(command(0x1b, [0, 0])).answer(&[eof(0)]);
    wire.request(command(0x0a, "")).answer(&result(0, 2, 30, 0));
    wire.request(command(0x0c, [1, 0, 0, 0])).answer(&[ok(0)]);
    // Another user, who has to say more.
    wire.request(command(0x11, "alice\0\x14hunter2hunter2hunter\0")).response(packet(1, b"\xfecaching_sha2\0salt\0"));
    wire.request(packet(2, "hunter2")).response(packet(3, b"\x01\x04")).request(packet(4, b"\x02"));
    wire.response(packet(5, b"\x01key")).request(packet(6, "hunter2")).response(packet(7, ok(0)));
    wire.request(ping()).answer(&[ok(0)]);
    wire.close(FINISHED).expect(
        &[
            "PING: Ok",
            "INIT DB: Ok",
            "INIT DB: ClientError 1049/42000",
            "STATISTICS: Ok",
            "FIELD LIST: Ok",
            "SET OPTION: Ok",
            "PROCESS INFO: Ok",
            "PROCESS KILL: Ok",
            "CHANGE USER: Ok",
            "PING: Ok",
        ],
        &[],
    );
}

#[test]
fn logins_with_all_that_is_asked_for() {
    let mut wire = Wire::fresh();
    wire.response(greeting(PLAIN | OF_MYSQL)).request(login(PLAIN | OF_MYSQL));
    wire.response(packet(2, b"\xfemysql_clear_password\0")).request(packet(3, "hunter2\0"));
    wire.response(packet(4, error(1045, "28000"))).close(CloseReason::Finished { by: Side::Server });
    wire.expect(&["CONNECT: ClientError 1045/28000"], &[]);
    // The last packet of the login comes without being asked for.
    let mut wire = Wire::fresh();
    wire.response(greeting(PLAIN)).request(login(PLAIN));
    wire.response([packet(2, b"\x01\x03"), packet(3, ok(0))].concat()).request(ping()).answer(&[ok(0)]);
    wire.close(FINISHED).expect(&["CONNECT: Ok", "PING: Ok"], &[]);
    // Sent away before anything was asked.
    let mut wire = Wire::fresh();
    wire.response(packet(0, b"\xff\x10\x04Too many connections")).close(CloseReason::Finished { by: Side::Server });
    wire.expect(&[], &[("unsolicited_response", 1)]);
}

#[test]
fn what_cannot_be_read_is_said_so() {
    const SSL: u64 = 1 << 11;
    let mut wire = Wire::fresh();
    wire.response(greeting(PLAIN | SSL)).request(packet(1, &login_body(PLAIN | SSL)[..32]));
    wire.request(b"\x16\x03\x01").expect(&[], &[("upgraded", 1)]);
    assert_eq!(wire.connection.recognition(), Recognition::Foreign);
    // A client that could, but does not.
    let mut wire = Wire::fresh();
    wire.response(greeting(PLAIN | SSL)).request(login(PLAIN)).response(packet(2, ok(0))).expect(&["CONNECT: Ok"], &[]);
    let mut wire = Wire::fresh();
    wire.response(greeting(PLAIN | COMPRESS)).request(login(PLAIN | COMPRESS)).response(packet(2, ok(0)));
    wire.expect(&["CONNECT: Ok"], &[("upgraded", 1)]);
    assert_eq!(wire.connection.recognition(), Recognition::Foreign);
    // What only one side can do is not done.
    let mut wire = Wire::fresh();
    wire.response(greeting(PLAIN)).request(login(PLAIN | COMPRESS | DEPRECATE_EOF)).response(packet(2, ok(0)));
    wire.request(query("select 1")).answer(&result(0, 1, 1, 0)).expect(&["CONNECT: Ok", "SELECT ?: Ok"], &[]);
}

#[test]
fn a_file_belongs_to_its_statement() {
    for captured in [usize::MAX, 4] {
        let mut wire = Wire::started(0);
        wire.request(query("LOAD DATA LOCAL INFILE 'secret' into table t")).response(packet(1, b"\xfbsecret"));
        // Packets of a file are counted, and their numbers begin anew.
        for sequence in 2..=258_u32 {
            wire.request(packet(sequence as u8, b"\x03select secret"));
        }
        // Their heads need not be seen.
        let rest = [packet(3, vec![b'x'; 5_000]), packet(4, b"\x03select secret")].concat();
        wire.say(Direction::Request, &rest, captured).request(packet(5, "")).response(packet(6, ok(0)));
        wire.request(ping()).answer(&[ok(0)]).close(FINISHED);
        wire.expect(&["LOAD DATA LOCAL INFILE ? INTO TABLE t: Ok", "PING: Ok"], &[]);
        let seen = &wire.output.exchanges[0];
        assert_eq!(seen.request_bytes, wire.calls.at.request.0 - ping().len() as u64 - seen.request_position);
    }
}

#[test]
fn packets_of_more_than_16_mib() {
    const FULL: usize = 0xff_ffff;
    let mut wire = Wire::started(DEPRECATE_EOF);
    let statement = format!("insert into t values ('{}')", "x".repeat(FULL));
    let body = [b"\x03", statement.as_bytes()].concat();
    let asked = [packet(0, &body[..FULL]), packet(1, &body[FULL..])].concat();
    wire.say(Direction::Request, &asked[..2_000], 2_000).say(Direction::Request, &asked[2_000..FULL + 2], 0);
    wire.say(Direction::Request, &asked[FULL + 2..], 100).response(packet(2, ok(0)));
    // A row of just that length is followed by an empty packet.
    let row = [&b"\xfe\xf6\xff\xff\0\0\0\0\0"[..], &vec![b'x'; FULL - 9]].concat();
    let rows = [
        packet(1, [1]),
        packet(2, definition()),
        packet(3, &row),
        packet(4, ""),
        packet(5, end_of_rows(DEPRECATE_EOF, 0)),
    ];
    wire.request(query("select a from t")).response(rows[..2].concat());
    wire.say(Direction::Response, &rows[2], 64).response(rows[3..].concat());
    wire.expect(&["INSERT INTO t VALUES (? ...: Ok", "SELECT a FROM t: Ok"], &[]);
}

#[test]
fn a_pipeline_is_answered_in_its_order() {
    for both in BOTH {
        let mut wire = Wire::started(both);
        let asked = [query("select 1 from a"), close(3), query("insert into b values (1)"), ping()].concat();
        let answered =
            [numbered(1, &result(both, 2, 5, 0)), numbered(1, &[error(1062, "23000")]), numbered(1, &[ok(0)])].concat();
        for cut in 1..answered.len() {
            wire.request(&asked).response(&answered[..cut]).response(&answered[cut..]);
            wire.expect(&["SELECT ? FROM a: Ok", "INSERT INTO b VALUES (?): ClientError 1062/23000", "PING: Ok"], &[]);
            assert!(wire.connection.is_idle());
            wire.output.exchanges.clear();
        }
    }
    let mut wire = Wire::with(Options { pending_commands_max: 2, ..Options::default() }).logged_in(0);
    wire.request(ping().repeat(5)).answer(&[ok(0)]).close(FINISHED);
    assert_eq!((wire.output.exchanges.len(), wire.output.lost()), (0, 5), "{:?}", wire.output.losses);
}

#[test]
fn a_dump_of_the_binary_log_is_a_stream() {
    let mut wire = Wire::started(0);
    wire.request(command(0x15, [0; 17])).answer(&[ok(0)]);
    wire.request(command(0x12, [4; 14])).response(packet(1, b"\0event"));
    assert_eq!(wire.output.exchanges.last().map(|seen| seen.kind), Some(Kind::Stream));
    wire.response(packet(2, b"\0event")).close(FINISHED);
    wire.expect(&["REGISTER REPLICA: Ok", "BINLOG DUMP: Ok"], &[]);
    let mut wire = Wire::started(0);
    wire.request(command(0x12, [4; 14])).answer(&[error(1236, "HY000")]).request(ping()).answer(&[ok(0)]);
    wire.expect(&["BINLOG DUMP: ServerError 1236/HY000", "PING: Ok"], &[]);
}

#[test]
fn attributes_stand_before_a_query() {
    let mut wire = Wire::started(QUERY_ATTRIBUTES);
    wire.request(command(3, b"\0\x01select 1")).answer(&[ok(0)]);
    let two = b"\x02\x01\x02\x01\xfe\0\x02id\x08\0\x01n\x07hunter2select 2 from t";
    wire.request(command(3, two)).answer(&[ok(0)]);
    wire.request(command(3, b"\x02\x01\x00\x01\xfe\0\x02id\xfe\0\x01n\x07hunter2\x01xselect 3 from t"))
        .answer(&[ok(0)]);
    wire.request(command(3, b"\x01\x01\x00\x01\xfe\0\x02id\xf0hunter2")).answer(&[ok(0)]);
    wire.expect(&["SELECT ?: Ok", "SELECT ? FROM t: Ok", "SELECT ? FROM t: Ok", "unknown: Ok"], &[]);
}

#[test]
fn mariadb_leaves_out_definitions_that_the_client_has() {
    let both = CACHES_METADATA | DEPRECATE_EOF;
    let mut wire = Wire::started(both);
    for follow in [1, 0, 0] {
        let mut answer = vec![vec![1, follow]];
        answer.extend(vec![definition(); follow.into()]);
        answer.extend([b"\0\0\x01x".to_vec(), end_of_rows(both, 0)]);
        wire.request(query("select 1")).answer(&answer);
    }
    wire.expect(&["SELECT ?: Ok"; 3], &[]);
}

#[test]
fn what_is_open_at_the_end() {
    for (how, outcome) in [
        (FINISHED, "PING: no_response"),
        (CloseReason::Reset { by: Side::Server }, "PING: reset"),
        (CloseReason::TimedOut, "PING: timed_out"),
    ] {
        Wire::started(0).request(ping()).close(how).expect(&[outcome], &[]);
    }
    Wire::started(0).request(ping()).close(CloseReason::Unobserved).expect(&[], &[("unfinished", 1)]);
    let mut wire = Wire::started(0);
    wire.request(query("select 1")).response(&numbered(1, &result(0, 3, 3, 0))[..30]);
    wire.close(CloseReason::Finished { by: Side::Server }).expect(&["SELECT ?: response_incomplete"], &[]);
    // The server ends a session that nobody uses, and says so first.
    let mut wire = Wire::started(0);
    wire.response(packet(0, error(4031, "HY000"))).close(CloseReason::Finished { by: Side::Server });
    wire.expect(&[], &[("unsolicited_response", 1)]);
}

/// Cases: lengths-not-believed.
#[test]
fn other_protocols_and_lengths_that_cannot_be() {
    for (request, response) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        ("\u{16}\u{3}\u{1}", "\u{16}"),
        ("*1\r\n$4\r\nPING\r\n", "+OK\r\n"),
    ] {
        let mut wire = Wire::fresh();
        wire.request(request).response(response);
        assert_eq!(wire.connection.recognition(), Recognition::Foreign, "{request:?}");
        wire.close(FINISHED).expect(&[], &[]);
    }
    for length in [0x7f_ffff_u32, 0xff_ffff] {
        let head = [&length.to_le_bytes()[..3], b"\0\x03select 1"].concat();
        let mut wire = Wire::started(0);
        wire.request(&head).request("x".repeat(100));
        assert!(wire.connection.heap_bytes() < 8_192, "{}", wire.connection.heap_bytes());
        wire.response(packet(1, ok(0))).close(FINISHED);
        assert_eq!(wire.output.exchanges, []);
    }
    let whole = [greeting(PLAIN), login(PLAIN)].concat();
    for end in 0..whole.len() {
        let mut wire = Wire::fresh();
        let cut = end.min(greeting(PLAIN).len());
        wire.response(&whole[..cut]).request(&whole[cut..end]).close(FINISHED);
        assert!(wire.output.exchanges.is_empty() || end == whole.len());
    }
}
