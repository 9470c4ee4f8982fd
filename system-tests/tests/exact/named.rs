//! What GraphQL and JSON-RPC ask for stands in the body: each operation is told of by its name from both sides, exactly as often as it was asked for,
//! also on connections on which the probes would add up what has one path.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;

use headwater_process::Launch;
use headwater_schemas::records::Side;
use headwater_system_tests::lab::{Lab, stop};
use headwater_system_tests::topics;

/// Operations of each kind that are asked for once.
const NAMES: usize = 200;
/// Requests of each kind at full speed.
const BUSY: usize = 1_500;

/// Streams at the same time over HTTP/2.
const AT_ONCE: usize = 10;
/// Requests of curl over HTTP/2.
const CURLS: usize = 20;

/// Answers all with the same, over connections that stay.
const SERVER: &str = r#"
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1
    def log_message(self, *_): pass
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// Head and body in a call each, and both in one.
const CLIENT: &str = r#"
import http.client, json, socket, sys
port, names, busy = (int(argument) for argument in sys.argv[1:])
def word(number): return "".join(chr(97 + number // 26 ** at % 26) for at in range(3))
def graphql(name, at):
    document = "query %s($id: ID!) { user(id: $id) { id } }" % name
    body = {"query": document, "variables": {"id": "secret"}}
    if at % 2: body = {"operationName": name, **body, "query": "query Other { a } " + document}
    return "/api/graphql", body
def rpc(name, at):
    return "/rpc", {"jsonrpc": "2.0", "id": at, "params": ["secret", {"method": "secret"}], "method": "shop." + name}
connections = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(2)]
def ask(at, path, body):
    connection, body = connections[at % 2], json.dumps(body).encode()
    head = {"content-type": "application/json; charset=utf-8"}
    if at % 2:
        connection.connect() if connection.sock is None else None
        lines = ["POST %s HTTP/1.1" % path, "host: x", "content-length: %d" % len(body), *("%s: %s" % item for item in head.items())]
        connection.sock.sendall("\r\n".join(lines + ["", ""]).encode() + body)
        response = http.client.HTTPResponse(connection.sock, method="POST")
        response.begin()
    else:
        connection.request("POST", path, body, head)
        response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"{}")
for at in range(names):
    for make in graphql, rpc: ask(at, *make("get_" + word(at), at))
for at in range(busy):
    for make in graphql, rpc: ask(at, *make("busy_%s" % "abc"[at % 3], at))
print("done")
"#;

/// The same in HTTP/2.
const SERVER_HTTP2: &str = r#"
const server = require("http2").createServer()
server.on("stream", (stream) => {
    stream.resume()
    stream.on("end", () => { stream.respond({ ":status": 200 }); stream.end("{}") })
})
server.listen(0, "127.0.0.1", () => console.log(server.address().port))
"#;

/// Bodies in one frame, in several calls, with much behind the name, compressed, and in a call of gRPC. Of some, the name is in the second call.
const CLIENT_HTTP2: &str = r#"
const [port, names, atOnce] = process.argv.slice(1).map(Number)
const session = require("http2").connect("http://127.0.0.1:" + port)
const word = (number) => [0, 1, 2].map((at) => String.fromCharCode(97 + Math.floor(number / 26 ** at) % 26)).join("")
const pause = () => new Promise((done) => setTimeout(done, 2))
async function ask(path, body, headers, cuts) {
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/json; charset=utf-8", ...headers })
    let from = 0
    for (const cut of cuts) { stream.write(body.subarray(from, cut)); from = cut; await pause() }
    stream.end(body.subarray(from))
    let answer = ""
    for await (const part of stream) answer += part
    if (answer !== "{}") throw new Error(answer)
}
// What stands behind the long ones in one call may not be copied, so they come by themselves.
const isLong = (at) => at % 3 === 2
async function both(at) {
    const name = "get_" + word(at), space = "x".repeat(isLong(at) ? 100000 : 100)
    const query = `query ${name}($id: ID!) { user(id: $id) { id } }`, variables = { id: "secret" }
    const graphql = at % 2 ? { operationName: name, variables, query: "query Other { a } " + query, space } : { query, variables }
    const rpc = { jsonrpc: "2.0", id: at, params: ["secret", { method: "secret" }], method: "shop." + name, space }
    await ask("/api/graphql", Buffer.from(JSON.stringify(graphql)), {}, at % 3 ? [[], [1]][at % 2] : [20, 40])
    await ask("/rpc", Buffer.from(JSON.stringify(rpc)), {}, [[], [30]][at % 2])
}
async function main() {
    const all = Array.from({ length: names }, (_, at) => at), short = all.filter((at) => !isLong(at))
    const turn = async () => { while (short.length) await both(short.pop()) }
    await Promise.all(Array.from({ length: atOnce }, turn))
    for (const at of all.filter(isLong)) await both(at)
    const body = Buffer.from(JSON.stringify({ operationName: "hidden", query: "query hidden { a }" }))
    await ask("/api/graphql", require("zlib").gzipSync(body), { "content-encoding": "gzip" }, [])
    await ask("/api/graphql", body, { "content-type": "text/plain" }, [])
    await ask("/api/graphql", body, { "content-type": "application/grpc+json" }, [])
    session.close()
    console.log("done")
}
main()
"#;

#[test]
fn operations_that_bodies_name_over_http2_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let mut node = Command::new("node");
    node.args(["-e", SERVER_HTTP2]);
    let launch = Launch::new("server", node, lab.folder.path().join("server.log"));
    let mut server = launch.in_cgroup(lab.cgroup.path()).piping_stdout().spawn().unwrap();
    let port = server.first_line().unwrap();
    let mut agent = lab.agent_of_users().unwrap();
    let client = lab.run("node", &["-e", CLIENT_HTTP2, &port, &NAMES.to_string(), &AT_ONCE.to_string()]);
    assert_eq!(client.unwrap(), "done");
    for number in 0..CURLS {
        let body = format!(r#"{{"operationName":"curl_{}","query":"{{ a }}"}}"#, word(number));
        let url = format!("http://127.0.0.1:{port}/api/graphql");
        let answer = lab.run("curl", &["-sS", "--http2-prior-knowledge", "--json", &body, &url]);
        assert_eq!(answer.unwrap(), "{}");
    }
    stop(&mut agent).unwrap();

    let mut expected: BTreeMap<String, usize> = expected().into_iter().filter(|(_, count)| *count == 1).collect();
    expected.extend((0..CURLS).map(|number| (format!("POST /api/graphql curl_{}", word(number)), 1)));
    // Compressed and of another type, and the call of gRPC.
    expected.extend([("POST /api/graphql".to_owned(), 2), ("/api/graphql".to_owned(), 1)]);
    assert_eq!(told(&lab, &expected), [expected.clone(), expected]);
}

#[test]
fn operations_that_bodies_name_are_seen_exactly() {
    let lab = Lab::start().unwrap();
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", SERVER]);
    let launch = Launch::new("server", python, lab.folder.path().join("server.log"));
    let mut server = launch.in_cgroup(lab.cgroup.path()).piping_stdout().spawn().unwrap();
    let port = server.first_line().unwrap();
    let mut agent = lab.agent_of_users().unwrap();
    let client = lab.run("/usr/bin/python3", &["-c", CLIENT, &port, &NAMES.to_string(), &BUSY.to_string()]);
    assert_eq!(client.unwrap(), "done");
    stop(&mut agent).unwrap();

    let expected = expected();
    assert_eq!(told(&lab, &expected), [expected.clone(), expected]);
}

/// How often the client and the server told of each operation.
fn told(lab: &Lab, expected: &BTreeMap<String, usize>) -> [BTreeMap<String, usize>; 2] {
    let mut sides = [BTreeMap::new(), BTreeMap::new()];
    topics::each_request(&lab.settings, |request| {
        let told: &mut BTreeMap<String, usize> = &mut sides[usize::from(request.side == Side::Server)];
        *told.entry(request.operation.to_owned()).or_default() += request.weight as usize;
        assert!(["/api/graphql", "/rpc"].contains(&request.path), "{request:?}");
    })
    .unwrap();
    for (side, told) in [Side::Client, Side::Server].into_iter().zip(&sides) {
        let right = expected.iter().filter(|(name, count)| told.get(*name) == Some(*count)).count();
        let others: Vec<_> = told.iter().filter(|(name, count)| expected.get(*name) != Some(*count)).collect();
        let missing: Vec<_> = expected.keys().filter(|name| !told.contains_key(*name)).collect();
        println!("{side:?}: {right} of {} operations right, others {others:?}, missing {missing:?}", expected.len());
    }
    println!("{}", topics::losses(&topics::agents(&lab.settings).unwrap().pop().unwrap()));
    sides
}

fn word(number: usize) -> String {
    (0..3).map(|at| char::from(b'a' + (number / 26_usize.pow(at) % 26) as u8)).collect()
}

fn expected() -> BTreeMap<String, usize> {
    let once = (0..NAMES).map(|at| (format!("get_{}", word(at)), 1));
    let busy = ["a", "b", "c"].into_iter().map(|name| (format!("busy_{name}"), BUSY / 3));
    once.chain(busy)
        .flat_map(|(name, count)| {
            [(format!("POST /api/graphql {name}"), count), (format!("POST /rpc shop.{name}"), count)]
        })
        .collect()
}
