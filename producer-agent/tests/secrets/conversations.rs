//! What clients and servers say in which there is a secret.

use crate::documents::{self, answer, ask, text as bson};
use crate::{envelopes, frames};

/// Without a digit, as many a token is: what looks like an identifier by its digits alone would let it pass.
pub const SECRET: &str = "KJhgFdSaQwErTyUiOpLm";

pub struct Said {
    pub by_client: bool,
    pub bytes: Vec<u8>,
}

pub struct Kind {
    pub name: &'static str,
    pub said: Vec<Said>,
    /// Stands in a record of the exchange that holds the secret.
    pub comes: &'static str,
}

fn c(bytes: impl AsRef<[u8]>) -> Said {
    Said { by_client: true, bytes: bytes.as_ref().to_vec() }
}

fn s(bytes: impl AsRef<[u8]>) -> Said {
    Said { by_client: false, bytes: bytes.as_ref().to_vec() }
}

pub fn kinds() -> Vec<Kind> {
    [http1(), http2(), redis(), postgres(), mysql(), others()].into_iter().flatten().collect()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn http1() -> Vec<Kind> {
    let asks = |name, comes, request: String| Kind { name, said: vec![c(request), s(OK)], comes };
    let header = |name, line: &str| asks(name, "GET /a", format!("GET /a HTTP/1.1\r\nHost: shop\r\n{line}\r\n\r\n"));
    let target = |name, comes, target: &str| asks(name, comes, format!("GET {target} HTTP/1.1\r\nHost: shop\r\n\r\n"));
    let posts = |name, body: String| {
        asks(name, "POST /a", format!("POST /a HTTP/1.1\r\nHost: shop\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    };
    let answered = |name, answer: String| Kind {
        name,
        said: vec![c("GET /a HTTP/1.1\r\nHost: shop\r\n\r\n"), s(answer)],
        comes: "GET /a",
    };
    vec![
        header("a bearer's token", &format!("Authorization: Bearer {SECRET}")),
        header("a cookie", &format!("Cookie: session={SECRET}")),
        header("an API key", &format!("X-Api-Key: {SECRET}")),
        header("a header line without a name", &format!(": {SECRET}")),
        header("a trace's state", &format!("tracestate: {SECRET}=1")),
        header("a request's number that is none", &format!("X-Request-Id: {SECRET}")),
        header("a trace's parent that is none", &format!("traceparent: 00-{SECRET}-1")),
        asks("a password in Host", "http", format!("GET /a HTTP/1.1\r\nHost: user:{SECRET}@shop\r\n\r\n")),
        target("a query", "GET /a", &format!("/a?token={SECRET}")),
        target("a query that is encoded", "GET /a", &format!("/a?next=%2Fb%3Ftoken%3D{SECRET}")),
        target("a session in the path", "GET /", &format!("/a;jsessionid={SECRET}")),
        target("a word of the path", "GET /reset", &format!("/reset/{SECRET}")),
        target("a word of the path with a suffix", "GET /", &format!("/files/{SECRET}.json")),
        target("a word of the path, encoded in part", "GET /", &format!("/reset/%41{SECRET}")),
        target("a user's address in the path", "GET /users", &format!("/users/{SECRET}@example.com")),
        target("a token of three parts in the path", "GET /", &format!("/verify/eyJhbGciOiJI.{SECRET}.abcDEFghi")),
        target("a name and its value in the path", "GET /", &format!("/token={SECRET}/a")),
        target("a password in an absolute target", "GET /a", &format!("http://user:{SECRET}@shop/a")),
        target("a fragment", "GET /a", &format!("/a#{SECRET}")),
        posts("a form", format!("user=me&password={SECRET}")),
        posts("a document", format!("{{\"password\": \"{SECRET}\"}}")),
        answered(
            "a cookie that is set",
            format!("HTTP/1.1 200 OK\r\nSet-Cookie: s={SECRET}\r\nContent-Length: 0\r\n\r\n"),
        ),
        answered("where to go", format!("HTTP/1.1 302 Found\r\nLocation: /a?{SECRET}\r\nContent-Length: 0\r\n\r\n")),
        answered("a status's reason", format!("HTTP/1.1 500 {SECRET}\r\nContent-Length: 0\r\n\r\n")),
        answered("an answer's body", format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{SECRET}", SECRET.len())),
    ]
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that no table gets (RFC 7541, 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn http2() -> Vec<Kind> {
    let call = |name, comes, more: &[(&str, &str)], path: &str, authority: &str, answer: &[(&str, &str)]| {
        let asked =
            [&[(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", authority)], more].concat();
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
        let answered = [&[(":status", "200")], answer].concat();
        Kind {
            name,
            said: vec![
                c(preface),
                s(frame(4, 0, 0, &[])),
                c(frame(1, 5, 1, &fields(&asked))),
                s(frame(1, 5, 1, &fields(&answered))),
            ],
            comes,
        }
    };
    let query = format!("/a?token={SECRET}");
    let word = format!("/reset/{SECRET}");
    let user = format!("user:{SECRET}@shop");
    vec![
        call("HTTP/2: a token", "POST /a", &[("authorization", SECRET)], "/a", "shop", &[]),
        call("HTTP/2: a query", "POST /a", &[], &query, "shop", &[]),
        call("HTTP/2: a word of the path", "POST /reset", &[], &word, "shop", &[]),
        call("HTTP/2: a password in the authority", "POST /a", &[], "/a", &user, &[]),
        call(
            "gRPC: metadata",
            "/shop.Cart/Add",
            &[("content-type", "application/grpc"), ("x-token", SECRET)],
            "/shop.Cart/Add",
            "shop",
            &[("content-type", "application/grpc"), ("grpc-status", "0")],
        ),
        call(
            "gRPC: what an error says",
            "/shop.Cart/Add",
            &[("content-type", "application/grpc")],
            "/shop.Cart/Add",
            "shop",
            &[("content-type", "application/grpc"), ("grpc-status", "13"), ("grpc-message", SECRET)],
        ),
    ]
}

fn redis() -> Vec<Kind> {
    let command = |words: &[&str]| {
        let words_of = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect::<String>();
        format!("*{}\r\n{words_of}", words.len())
    };
    let asks = |name, comes, words: &[&str], reply: &str| Kind { name, said: vec![c(command(words)), s(reply)], comes };
    vec![
        asks("Redis: a password", "AUTH", &["AUTH", SECRET], "+OK\r\n"),
        asks("Redis: a password of a hello", "HELLO", &["HELLO", "3", "AUTH", "me", SECRET], "%0\r\n"),
        asks("Redis: a value", "SET", &["SET", "k", SECRET], "+OK\r\n"),
        asks("Redis: a key", "GET", &["GET", SECRET], "$-1\r\n"),
        asks("Redis: a script", "EVAL", &["EVAL", &format!("return '{SECRET}'"), "0"], "$1\r\nx\r\n"),
        asks("Redis: a setting", "CONFIG", &["CONFIG", "SET", "requirepass", SECRET], "+OK\r\n"),
        asks("Redis: what an error says", "GET", &["GET", "k"], &format!("-ERR {SECRET}\r\n")),
        asks("Redis: an error that is nothing else", "GET", &["GET", "k"], &format!("-{SECRET}\r\n")),
        asks("Redis: a command that is none", "redis", &[SECRET], "-ERR unknown command\r\n"),
        asks("Redis: what is read", "GET", &["GET", "k"], &format!("${}\r\n{SECRET}\r\n", SECRET.len())),
    ]
}

/// A message of PostgreSQL.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn postgres() -> Vec<Kind> {
    let started = || {
        let body = b"\0\x03\0\0user\0me\0database\0shop\0\0";
        let startup = [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat();
        let password = message(b'p', format!("{SECRET}\0").as_bytes());
        let in_clear_text = message(b'R', &3u32.to_be_bytes());
        let ready = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
        vec![c(startup), s(in_clear_text), c(password), s(ready)]
    };
    let done = [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
    let query = |name, comes, sql: &str, answer: &[u8]| {
        let mut said = started();
        said.extend([c(message(b'Q', format!("{sql}\0").as_bytes())), s(answer)]);
        Kind { name, said, comes }
    };
    let error = |text: &str| {
        [message(b'E', format!("SERROR\0C23505\0M{text}\0D{text}\0\0").as_bytes()), message(b'Z', b"I")].concat()
    };
    let bound = {
        let mut said = started();
        let parse = message(b'P', b"\0SELECT a FROM t WHERE b = $1\0\0\0");
        let value =
            [&[0, 0, 0, 0, 0, 1][..], &(SECRET.len() as u32).to_be_bytes(), SECRET.as_bytes(), &[0, 0]].concat();
        let asked = [parse, message(b'B', &value), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat();
        said.extend([c(asked), s([message(b'1', b""), message(b'2', b""), done.clone()].concat())]);
        Kind { name: "PostgreSQL: a parameter", said, comes: "SELECT a FROM t" }
    };
    let copied = {
        let mut said = started();
        let data = [message(b'd', format!("{SECRET}\n").as_bytes()), message(b'c', b"")].concat();
        said.extend([c(message(b'Q', b"COPY t FROM STDIN\0")), s(message(b'G', &[0, 0, 0])), c(data), s(&done)]);
        Kind { name: "PostgreSQL: what is copied", said, comes: "COPY" }
    };
    vec![
        query(
            "PostgreSQL: a literal, and a password",
            "SELECT a FROM t",
            &format!("SELECT a FROM t WHERE b = '{SECRET}'"),
            &done,
        ),
        query(
            "PostgreSQL: a literal with escapes",
            "SELECT a FROM t",
            &format!("SELECT a FROM t WHERE b = E'\\'{SECRET}'"),
            &done,
        ),
        query(
            "PostgreSQL: a literal between dollars",
            "SELECT a FROM t",
            &format!("SELECT a FROM t WHERE b = $x${SECRET}$x$"),
            &done,
        ),
        query("PostgreSQL: a comment", "SELECT a FROM t", &format!("SELECT a FROM t /* {SECRET} */"), &done),
        query(
            "PostgreSQL: a comment to the end of the line",
            "SELECT a FROM t",
            &format!("SELECT a FROM t -- {SECRET}"),
            &done,
        ),
        query("PostgreSQL: a role's password", "ALTER", &format!("ALTER ROLE me PASSWORD '{SECRET}'"), &done),
        query(
            "PostgreSQL: a literal that does not end",
            "SELECT a FROM t",
            &format!("SELECT a FROM t WHERE b = '{SECRET}"),
            &error("no end"),
        ),
        query("PostgreSQL: what an error says", "23505", "INSERT INTO t VALUES (1)", &error(SECRET)),
        bound,
        copied,
    ]
}

fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..3], &[sequence], body].concat()
}

fn mysql() -> Vec<Kind> {
    let started = || {
        let greeting = packet(0, b"\x0a11.4.2-MariaDB\0\x07\0\0\0saltsalt\0\0\x82\x21\x02\0\x0b\0\x15\0\0\0\0\0\0\0\0\0\0saltsaltsalt\0mysql_native_password\0");
        let capabilities = (1u32 << 9 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 19).to_le_bytes();
        let name =
            [SECRET.as_bytes(), &[0, SECRET.len() as u8], SECRET.as_bytes(), b"mysql_native_password\0"].concat();
        let login = packet(1, &[&capabilities[..], &[0, 0, 0, 1, 0x21], &[0; 23], &name].concat());
        vec![s(greeting), c(login), s(packet(2, &[0, 0, 0, 2, 0, 0, 0]))]
    };
    let ok = packet(1, &[0, 0, 0, 2, 0, 0, 0]);
    let query = |name, comes, sql: String, answer: Vec<u8>| {
        let mut said = started();
        said.extend([c(packet(0, &[b"\x03", sql.as_bytes()].concat())), s(answer)]);
        Kind { name, said, comes }
    };
    let error = packet(1, &[&[0xff, 0x28, 0x04][..], b"#42000", SECRET.as_bytes()].concat());
    vec![
        query("MySQL: a literal, and a login", "UPDATE t", format!("UPDATE t SET a = '{SECRET}'"), ok.clone()),
        query(
            "MySQL: a literal between double quotes",
            "UPDATE t",
            format!("UPDATE t SET a = \"{SECRET}\""),
            ok.clone(),
        ),
        query("MySQL: a user's password", "SET PASSWORD", format!("SET PASSWORD = '{SECRET}'"), ok.clone()),
        query(
            "MySQL: a comment that is run",
            "UPDATE t",
            format!("UPDATE t SET a = 1 /*! , b = '{SECRET}' */"),
            ok.clone(),
        ),
        query("MySQL: a comment behind a hash", "UPDATE t", format!("UPDATE t SET a = 1 # {SECRET}"), ok),
        query("MySQL: what an error says", "UPDATE t", "UPDATE t SET a = 1".to_owned(), error),
    ]
}

fn others() -> Vec<Kind> {
    let memcached = |name, said: String| Kind { name, said: vec![c(said), s("STORED\r\n")], comes: "memcached" };
    let info = s("INFO {\"server_id\":\"x\",\"headers\":true}\r\n");
    let connect = format!(
        "CONNECT {{\"verbose\":false,\"user\":\"me\",\"pass\":\"{SECRET}\",\"auth_token\":\"{SECRET}\"}}\r\nPING\r\n"
    );
    let published = format!("PUB shop.orders {}\r\n{SECRET}\r\nPING\r\n", SECRET.len());
    let mongodb = |name, comes, fields: &[(&str, documents::Value)]| Kind {
        name,
        said: vec![c(ask(1, fields)), s(answer(2, 1, &[("ok", documents::Value::Int(1))]))],
        comes,
    };
    let cassandra = |name, comes, asked: Vec<u8>| Kind {
        name,
        said: vec![
            c(envelopes::startup(4, envelopes::OPTIONS)),
            s(envelopes::ready(4)),
            c(asked),
            s(envelopes::void(4, 2)),
        ],
        comes,
    };
    let amqp = || {
        let [preface, start, _, tune, open, opened] = frames::beginning();
        let response = [&[0, 0, 0, 4 + SECRET.len() as u8][..], b"\0me\0", SECRET.as_bytes()].concat();
        let start_ok =
            frames::method(0, 10, 11, &[&[0, 0, 0, 0], &frames::text("PLAIN"), &response, &frames::text("en_US")]);
        vec![c(preface), s(start), c(start_ok), s(tune), c(open), s(opened)]
    };
    let amqp_published = {
        let mut said = amqp();
        said.extend([
            c(frames::method(1, 20, 10, &[&[0]])),
            s(frames::method(1, 20, 11, &[&[0; 4]])),
            c(frames::publish(1, "shop", "orders", SECRET.as_bytes())),
            c(frames::method(1, 20, 40, &[&[0, 200], &frames::text(SECRET), &[0; 4]])),
            s(frames::method(1, 20, 41, &[])),
        ]);
        Kind { name: "AMQP: a login, a message and why a channel is closed", said, comes: "amqp" }
    };
    let mqtt = {
        let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
        let body = [text("MQTT"), vec![4, 0xc2, 0, 60], text("me"), text(SECRET), text(SECRET)].concat();
        let connect = [&[0x10, body.len() as u8][..], &body].concat();
        let body = [text("shop/orders"), vec![0, 1], SECRET.as_bytes().to_vec()].concat();
        let publish = [&[0x32, body.len() as u8][..], &body].concat();
        let said = vec![c(connect), s([0x20, 2, 0, 0]), c(publish), s([0x40, 2, 0, 1])];
        Kind { name: "MQTT: a name, a password and a message", said, comes: "mqtt" }
    };
    let kafka = |name, comes, key: i16, body: &[u8]| {
        let framed = |parts: &[&[u8]]| {
            let message = parts.concat();
            [&(message.len() as i32).to_be_bytes(), &message[..]].concat()
        };
        let asked = framed(&[&key.to_be_bytes(), &[0, 0], &[0, 0, 0, 1], &[0, 4], b"shop", body]);
        Kind { name, said: vec![c(asked), s(framed(&[&[0, 0, 0, 1], &[0; 10]]))], comes }
    };
    let sasl = [&(SECRET.len() as i32).to_be_bytes()[..], SECRET.as_bytes()].concat();
    vec![
        memcached("Memcached: a value", format!("set k 0 0 {}\r\n{SECRET}\r\n", SECRET.len())),
        memcached("Memcached: a key", format!("set {SECRET} 0 0 1\r\nx\r\n")),
        Kind {
            name: "NATS: a password",
            said: vec![Said { by_client: false, bytes: info.bytes.clone() }, c(connect), s("PONG\r\n")],
            comes: "nats",
        },
        Kind {
            name: "NATS: a message",
            said: vec![info, c("CONNECT {\"verbose\":false}\r\nPING\r\n"), s("PONG\r\n"), c(published), s("PONG\r\n")],
            comes: "shop.orders",
        },
        mongodb(
            "MongoDB: what is looked for",
            "find",
            &[("find", bson("orders")), ("filter", bson(SECRET)), ("$db", bson("shop"))],
        ),
        mongodb(
            "MongoDB: a login",
            "saslStart",
            &[("saslStart", documents::Value::Int(1)), ("payload", bson(SECRET)), ("$db", bson("admin"))],
        ),
        cassandra(
            "Cassandra: a literal",
            "SELECT a FROM t",
            envelopes::query(4, 2, &format!("SELECT a FROM t WHERE b = '{SECRET}'")),
        ),
        cassandra(
            "Cassandra: a login",
            "cassandra",
            envelopes::frame(4, 0, 2, 0x0f, &[&(SECRET.len() as u32).to_be_bytes(), SECRET.as_bytes()]),
        ),
        amqp_published,
        mqtt,
        kafka("Kafka: a login", "SaslAuthenticate", 36, &sasl),
    ]
}
