//! A real MariaDB with its client and drivers, behind a proxy that feeds the parser with what each call moved. Each statement carries a mark
//! that its operation keeps: so many were sent, so many must be found.

#![allow(clippy::unwrap_used)]

#[path = "../shared/proxy.rs"]
mod proxy;
mod server;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use headwater_protocols::Outcome;
use proxy::Found;
use server::Server;

/// How often each mark was found, with its outcome and code; preparations apart.
fn marks(found: &Found) -> HashMap<(String, Outcome, String), usize> {
    let mut marks = HashMap::new();
    for (operation, outcome, code) in &found.exchanges {
        let mark = operation.split([' ', '(', ',']).find(|word| word.starts_with("mark_"));
        if let Some(mark) = mark {
            let mark = if operation.starts_with("PREPARE ") { format!("PREPARE {mark}") } else { mark.to_owned() };
            *marks.entry((mark, *outcome, code.clone())).or_default() += 1;
        }
    }
    marks
}

#[test]
fn what_the_client_asks_is_found_once() {
    const EACH: usize = 100;
    let server = Server::start();
    let mut script = String::new();
    let mut expected = HashMap::new();
    let mut expect = |mark: String, outcome, code: &str| expected.insert((mark, outcome, code.to_owned()), 1);
    for at in 0..EACH {
        writeln!(script, "SELECT 'secret-{at}' AS mark_small_{at};").unwrap();
        expect(format!("mark_small_{at}"), Outcome::Ok, "");
        writeln!(script, "SELECT \"secret\" AS mark_failed_{at} FROM nowhere;").unwrap();
        expect(format!("mark_failed_{at}"), Outcome::ClientError, "1146/42S02");
        writeln!(script, "CREATE TEMPORARY TABLE mark_table_{at} (a int, b text);").unwrap();
        expect(format!("mark_table_{at}"), Outcome::Ok, "");
    }
    // Rows are sent in several calls, of which the first bytes are seen.
    for at in 0..EACH {
        writeln!(script, "SELECT repeat('secret', 100) AS mark_large_{at} FROM seq_1_to_{};", at * 10 + 1).unwrap();
    }
    // Several results, and a file.
    writeln!(
        script,
        "DELIMITER //\nCREATE PROCEDURE mark_many() BEGIN SELECT 1; SELECT 'secret' FROM seq_1_to_9; END//"
    )
    .unwrap();
    writeln!(script, "DELIMITER ;\nCALL mark_many();\nCALL mark_many();").unwrap();
    for at in 0..20 {
        let file = server.write(&format!("{at}.csv"), &"1\tsecret\n".repeat(at * 500));
        writeln!(script, "LOAD DATA LOCAL INFILE '{}' INTO TABLE mark_table_{at};", file.display()).unwrap();
        writeln!(script, "SELECT count(*) AS mark_count_{at} FROM mark_table_{at};").unwrap();
        expect(format!("mark_count_{at}"), Outcome::Ok, "");
    }
    let found = server.script(&script, 1_024, 0);
    let seen = marks(&found);
    for (mark, count) in &expected {
        let table = mark.0.strip_prefix("mark_table_").and_then(|at| at.parse::<usize>().ok());
        // One more is the file's.
        let count = count + usize::from(table.is_some_and(|at| at < 20));
        assert_eq!(seen.get(mark), Some(&count), "{mark:?}, losses: {:?}", found.losses);
    }
    // What became of a large one may not be known, but it was there, once.
    for at in 0..EACH {
        let of_mark = |outcome| seen.get(&(format!("mark_large_{at}"), outcome, String::new())).copied();
        let count = [Outcome::Ok, Outcome::Unknown].map(of_mark).into_iter().flatten().sum::<usize>();
        assert_eq!(count, 1, "mark_large_{at}, losses: {:?}", found.losses);
    }
    let times = |mark: &str| seen.get(&(mark.to_owned(), Outcome::Ok, String::new())).copied();
    assert_eq!((times("mark_many"), found.lost()), (Some(3), 0), "{:?}", found.losses);
    assert!(!found.exchanges.iter().any(|(operation, ..)| operation.contains("secret")));
}

#[test]
fn what_a_driver_prepares_and_executes_is_found_as_often() {
    const SCRIPT: &str = r#"
use strict; use DBI;
my $dbh = DBI->connect("DBI:MariaDB:database=shop;host=127.0.0.1;port=$ARGV[0];mariadb_ssl=0", "root", "",
    { mariadb_server_prepare => 1, mariadb_server_prepare_disable_fallback => 1, PrintError => 0, RaiseError => 0 }) or die $DBI::errstr;
for my $at (0..49) {
    my $sth = $dbh->prepare("SELECT ? AS mark_$at, seq FROM seq_1_to_40 WHERE seq < ?");
    for (1..4) { $sth->execute("secret", $at) or die $sth->errstr; $sth->fetchall_arrayref; }
    $sth->finish;
}
my $kept = $dbh->prepare("SELECT 1 AS mark_kept");
for (1..300) { $kept->execute or die; $kept->fetchall_arrayref; $dbh->prepare("SELECT 2 AS mark_other")->execute; $dbh->ping; }
for (1..10) { my $bad = $dbh->prepare("SELECT a AS mark_bad FROM nowhere"); $bad->execute if $bad; }
$dbh->disconnect;
"#;
    let server = Server::start();
    let found = server.perl(SCRIPT, 1_024, 0);
    let seen = marks(&found);
    let times = |mark: &str, outcome, code: &str| {
        seen.get(&(mark.to_owned(), outcome, code.to_owned())).copied().unwrap_or_default()
    };
    for at in 0..50 {
        let prepared = times(&format!("PREPARE mark_{at}"), Outcome::Ok, "");
        assert_eq!((prepared, times(&format!("mark_{at}"), Outcome::Ok, "")), (1, 4), "{at}: {:?}", found.losses);
    }
    assert_eq!(times("mark_kept", Outcome::Ok, ""), 300, "{:?}", found.losses);
    assert_eq!((times("PREPARE mark_other", Outcome::Ok, ""), times("mark_other", Outcome::Ok, "")), (300, 300));
    assert_eq!(times("PREPARE mark_bad", Outcome::ClientError, "1146/42S02"), 10, "{seen:?}");
    let pings = found.exchanges.iter().filter(|(operation, ..)| operation == "PING").count();
    assert!(pings >= 300, "{pings}");
    assert_eq!(found.lost(), 0, "{:?}", found.losses);
    assert!(!found.exchanges.iter().any(|(operation, ..)| operation.contains("secret")));
    // The first calls are not told of: what is found is right, and what was prepared before is unknown.
    let late = server.perl(SCRIPT, 1_024, 301);
    let all: usize = found.exchanges.len();
    assert!(
        late.exchanges.len() + late.lost() as usize + 301 >= all,
        "{} of {all}, {:?}",
        late.exchanges.len(),
        late.losses
    );
    assert!(late.exchanges.len() + 320 >= all, "{} of {all}, {:?}", late.exchanges.len(), late.losses);
    let known: HashSet<_> = found.exchanges.iter().map(|(operation, ..)| operation).collect();
    let wrong = late.exchanges.iter().find(|(operation, outcome, code)| {
        let is_bad = operation.contains("mark_bad");
        let is_outcome =
            *outcome == if is_bad { Outcome::ClientError } else { Outcome::Ok } || *outcome == Outcome::Unknown;
        !(is_outcome && code.is_empty() != is_bad && (known.contains(operation) || operation == "unknown"))
    });
    assert_eq!(wrong, None);
}

#[test]
fn what_a_driver_of_its_own_makes_asks_is_found() {
    const SCRIPT: &str = r#"
import pymysql, sys
def connect(**more):
    return pymysql.connect(host="127.0.0.1", port=int(sys.argv[1]), user="root", database="shop", autocommit=True, **more)
connection = connect(client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS)
with connection.cursor() as cursor:
    for at in range(100):
        cursor.execute(f"select %s as mark_{at}", ["it's a \"secret\""])
        cursor.execute(f"select 1 as mark_two_{at}; select 2; select 3")
        while cursor.nextset(): pass
    try:
        cursor.execute("select 1 as mark_half; select a from nowhere")
        while cursor.nextset(): pass
    except pymysql.Error as error:
        assert error.args[0] == 1146, error
    connection.ping()
    connection.select_db("shop")
    cursor.execute("select repeat('s', 20000000) as mark_long")
connection.close()
connection = connect(cursorclass=pymysql.cursors.SSCursor)
with connection.cursor() as cursor:
    cursor.execute("select seq as mark_rows from seq_1_to_5000")
    assert len(cursor.fetchall()) == 5000
connection.close()
for attempt in range(5):
    try:
        pymysql.connect(host="127.0.0.1", port=int(sys.argv[1]), user="nobody", password="secret")
        raise SystemExit("got in")
    except pymysql.Error as error:
        assert error.args[0] == 1045, error
"#;
    let server = Server::start();
    server.script("SET GLOBAL max_allowed_packet = 64 * 1024 * 1024;", 1_024, 0);
    let found = server.python(SCRIPT, 1_024);
    let seen = marks(&found);
    let times = |mark: &str, outcome, code: &str| {
        seen.get(&(mark.to_owned(), outcome, code.to_owned())).copied().unwrap_or_default()
    };
    for at in 0..100 {
        // The string with a quote in it ends the name.
        assert_eq!(times(&format!("mark_two_{at}"), Outcome::Ok, ""), 1, "{at}: {:?}", found.losses);
    }
    let cut = found.exchanges.iter().filter(|(operation, ..)| operation == "SELECT ? ...").count();
    assert_eq!(cut, 100, "{:?}", found.losses);
    assert_eq!(times("mark_half", Outcome::ClientError, "1146/42S02"), 1, "{:?}", found.losses);
    for mark in ["mark_long", "mark_rows"] {
        let count = times(mark, Outcome::Ok, "") + times(mark, Outcome::Unknown, "");
        assert_eq!(count, 1, "{mark}: {:?}", found.losses);
    }
    let refused =
        found.exchanges.iter().filter(|(operation, _, code)| operation == "CONNECT" && code == "1045/28000").count();
    assert_eq!((refused, found.lost()), (5, 0), "{:?}", found.losses);
    assert!(!found.exchanges.iter().any(|(operation, ..)| operation.contains("secret")));
}
