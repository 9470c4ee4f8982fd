//! A real PostgreSQL with psql and pgbench, behind a proxy that feeds the parser with what each call moved. Each statement carries a mark
//! that its operation keeps: so many were sent, so many must be found.

#![allow(clippy::unwrap_used)]

#[path = "../shared/proxy.rs"]
mod proxy;
mod server;

use std::collections::HashMap;
use std::fmt::Write;

use headwater_protocols::Outcome;
use proxy::Found;
use server::Server;

/// How often each mark was found, with its outcome and code.
fn marks(found: &Found) -> HashMap<(String, Outcome, String), usize> {
    let mut marks = HashMap::new();
    for (operation, outcome, code) in &found.exchanges {
        let mark = operation.split([' ', '(', ',']).find(|word| word.starts_with("mark_"));
        if let Some(mark) = mark {
            *marks.entry((mark.to_owned(), *outcome, code.clone())).or_default() += 1;
        }
    }
    marks
}

#[test]
fn what_psql_asks_is_found_once() {
    const EACH: usize = 100;
    let server = Server::start();
    let mut script = String::new();
    let mut expected = HashMap::new();
    let mut expect = |mark: String, outcome, code: &str| expected.insert((mark, outcome, code.to_owned()), 1);
    for at in 0..EACH {
        writeln!(script, "SELECT 'secret-{at}' AS mark_small_{at};").unwrap();
        expect(format!("mark_small_{at}"), Outcome::Ok, "");
        writeln!(script, "SELECT {at} / 0 AS mark_failed_{at};").unwrap();
        expect(format!("mark_failed_{at}"), Outcome::ClientError, "22012");
        writeln!(script, "CREATE TABLE mark_table_{at} (a int, b text);").unwrap();
        expect(format!("mark_table_{at}"), Outcome::Ok, "");
        writeln!(script, "BEGIN; SELECT 1 AS other; COMMIT;").unwrap();
    }
    // Rows are sent in several calls, of which the first bytes are seen.
    for at in 0..EACH {
        writeln!(script, "SELECT repeat('secret', 100) AS mark_large_{at} FROM generate_series(1, {at} * 10);")
            .unwrap();
    }
    for at in 0..EACH {
        let rows = "1\tsecret\n".repeat(at * 30);
        writeln!(script, "CREATE TEMPORARY TABLE t{at} (mark int, b text);").unwrap();
        write!(script, "COPY t{at} (mark, b) FROM STDIN /* no mark */;\n{rows}\\.\n").unwrap();
        writeln!(script, "COPY (SELECT mark AS mark_out_{at} FROM t{at}) TO STDOUT;").unwrap();
    }
    let found = server.psql(&script, 1_024);
    let seen = marks(&found);
    for (mark, count) in &expected {
        assert_eq!(seen.get(mark), Some(count), "{mark:?}, losses: {:?}", found.losses);
    }
    // What became of a large one may not be known, but it was there, once.
    for at in 0..EACH {
        for kind in ["large", "out"] {
            let of_mark = |outcome| seen.get(&(format!("mark_{kind}_{at}"), outcome, String::new())).copied();
            let count = [Outcome::Ok, Outcome::Unknown].map(of_mark).into_iter().flatten().sum::<usize>();
            assert_eq!(count, 1, "mark_{kind}_{at}, losses: {:?}", found.losses);
        }
    }
    let copies = found.exchanges.iter().filter(|(operation, ..)| operation.contains("FROM STDIN")).count();
    assert_eq!((copies, found.lost()), (EACH, 0), "{:?}", found.losses);
    assert!(!found.exchanges.iter().any(|(operation, ..)| operation.contains("secret")));
}

#[test]
fn what_pgbench_asks_in_every_mode_is_found_as_often() {
    const CLIENTS: usize = 4;
    const TRANSACTIONS: usize = 50;
    let server = Server::start();
    for (mode, is_pipelined) in
        [("simple", false), ("extended", false), ("prepared", false), ("extended", true), ("prepared", true)]
    {
        let mut script = String::new();
        let mut expected = HashMap::new();
        script.push_str(if is_pipelined { "\\startpipeline\n" } else { "" });
        for at in 0..20 {
            let mark = format!("mark_{mode}_{at}");
            writeln!(script, "\\set a {at}\nSELECT :a AS {mark} FROM generate_series(1, 3);").unwrap();
            expected.insert((mark, Outcome::Ok, String::new()), CLIENTS * TRANSACTIONS);
        }
        script.push_str(if is_pipelined { "\\endpipeline\n" } else { "" });
        if is_pipelined {
            // All is asked in one write: what is not captured of it is counted.
            let found = server.pgbench(&script, mode, CLIENTS, TRANSACTIONS, 1_024);
            let (seen, all) = (marks(&found), 20 * CLIENTS * TRANSACTIONS);
            assert!(seen.iter().all(|(mark, count)| expected.get(mark).is_some_and(|all| count <= all)), "{seen:?}");
            let known = seen.values().sum::<usize>() as u64 + found.lost();
            assert!(known >= all as u64 / 4, "{mode}: {known} of {all}, losses: {:?}", found.losses);
        }
        let captured_max = if is_pipelined { 8_192 } else { 1_024 };
        let found = server.pgbench(&script, mode, CLIENTS, TRANSACTIONS, captured_max);
        assert_eq!(marks(&found), expected, "{mode}, pipelined: {is_pipelined}, losses: {:?}", found.losses);
        assert_eq!(found.lost(), 0, "{mode}, pipelined: {is_pipelined}: {:?}", found.losses);
    }
}

/// Cases: sql-postgres-one-write.
#[test]
fn what_a_pipelining_driver_asks_is_found_and_what_is_skipped_is_not() {
    const SCRIPT: &str = r#"
import psycopg, sys
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    for round in range(20):
        try:
            with connection.pipeline():
                for at in range(1, 51):
                    statement = "select 1/0 as mark_zero" if at == 20 else f"select 1 as mark_{at}"
                    connection.execute(statement, prepare=False)
        except psycopg.Error as error:
            assert error.sqlstate == "22012", error
    with connection.pipeline():
        rows = [(at, "secret") for at in range(1000)]
        connection.execute("create temporary table mark_table (a int, b text)")
        connection.cursor().executemany("insert into mark_table values (%s, %s)", rows)
    for at in range(250):
        connection.execute(f"select {at} as mark_prepared_{at % 120}", prepare=True)
    # More than the driver keeps prepared: it gives up the oldest.
    for at in range(250):
        connection.execute("select %s as mark_again", [at], prepare=True)
"#;
    let found = Server::start().python(SCRIPT, 8_192);
    let seen = marks(&found);
    let times = |mark: &str| seen.get(&(mark.to_owned(), Outcome::Ok, String::new())).copied().unwrap_or_default();
    for at in 1..=50 {
        assert_eq!(times(&format!("mark_{at}")), if at < 20 { 20 } else { 0 }, "mark_{at}, losses: {:?}", found.losses);
    }
    assert_eq!(seen[&("mark_zero".to_owned(), Outcome::ClientError, "22012".to_owned())], 20);
    // One is the table itself.
    assert_eq!((times("mark_table"), times("mark_again")), (1_001, 250), "{:?}", found.losses);
    assert_eq!((0..120).map(|at| times(&format!("mark_prepared_{at}"))).sum::<usize>(), 250);
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
    assert!(!found.exchanges.iter().any(|(operation, ..)| operation.contains("secret")));
}

#[test]
fn what_begins_before_the_capture_is_right_or_counted() {
    const TRANSACTIONS: usize = 200;
    let server = Server::start();
    for mode in ["simple", "extended", "prepared"] {
        let script: String = (0..5).map(|at| format!("SELECT 1 AS mark_{at};\n")).collect();
        // The first calls of each connection are not told of.
        let found = server.hiding_first_calls(17).pgbench(&script, mode, 1, TRANSACTIONS, 1_024);
        let seen: usize = found.exchanges.len();
        assert!(seen as u64 + found.lost() >= 5 * TRANSACTIONS as u64 - 17, "{mode}: {seen} and {:?}", found.losses);
        assert!(seen >= 5 * TRANSACTIONS - 25, "{mode}: {seen} and {:?}", found.losses);
        assert!(found.exchanges.iter().all(|(_, outcome, _)| *outcome == Outcome::Ok));
        // What was prepared before is unknown, and nothing else than what was asked is named.
        let names: Vec<&str> = found.exchanges.iter().map(|(operation, ..)| operation.as_str()).collect();
        let is_known =
            |name: &&str| name.starts_with("SELECT ? AS mark_") || (mode == "prepared" && *name == "unknown");
        assert!(names.iter().all(is_known), "{mode}: {names:?}");
    }
}
