//! HTTP/2 in clear text, by an upgrade from HTTP/1.1 and from prior knowledge, between curl and Apache httpd: both sides tell of each request, exactly and
//! once, with the answer that came in frames.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use headwater_process::{Child, Launch, Port};
use headwater_schemas::records::Side;
use headwater_system_tests::lab::{Lab, stop, wait_for_port};
use headwater_system_tests::topics;

const REQUESTS: usize = 30;
/// Bytes of each answer: of what comes in one call with the agreement to an upgrade, only the beginning is copied.
const ANSWER_BYTES: usize = 500;

/// What is told of one request.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    protocol: String,
    method: String,
    status: i32,
    position: i64,
    /// Those of the answer are at least what it holds.
    has_all_bytes: bool,
}

#[test]
fn requests_are_seen_exactly_however_the_connection_came_to_http2() {
    let lab = Lab::start().unwrap();
    let port = Port::free().unwrap();
    let _apache = apache(&lab, &port);
    let mut agent = lab.agent().unwrap();
    let mut asked = Vec::new();
    for number in 0..REQUESTS {
        for way in ["--http2", "--http2-prior-knowledge"] {
            let path = format!("/ok/{}{number}", way.trim_start_matches('-'));
            let url = format!("http://{}{path}", port.address());
            let told =
                lab.run("curl", &["-sS", way, "-o", "/dev/null", "-w", "%{http_version} %{response_code}\n", &url]);
            assert_eq!(told.unwrap(), "2 200");
            asked.push(path);
        }
    }
    stop(&mut agent).unwrap();
    let last = topics::agents(&lab.settings).unwrap().pop().unwrap();
    println!("{}", topics::losses(&last));

    let mut told: BTreeMap<(String, bool), Vec<Told>> = BTreeMap::new();
    topics::each_request(&lab.settings, |request| {
        let key = (request.path.to_owned(), request.side == Side::Server);
        told.entry(key).or_default().push(Told {
            protocol: request.protocol.to_owned(),
            method: request.method.to_owned(),
            status: request.status,
            position: request.request_position,
            has_all_bytes: (ANSWER_BYTES as i64..ANSWER_BYTES as i64 + 2_000).contains(&request.response_bytes),
        });
    })
    .unwrap();
    assert_eq!(told.len(), 2 * asked.len(), "{:?}", told.keys());
    for path in &asked {
        let [client, server] = [false, true].map(|is_server| &told[&(path.clone(), is_server)]);
        assert_eq!(client, server, "{path}");
        let [told] = &client[..] else { panic!("{path}: {client:?}") };
        let what = (told.protocol.as_str(), told.method.as_str(), told.status, told.has_all_bytes);
        assert_eq!(what, ("http2", "GET", 200, true), "{path}");
        // An upgrade begins with the request itself.
        assert_eq!(told.position == 0, !path.contains("prior"), "{path}: {told:?}");
    }
}

/// Starts Apache httpd in the cgroup, which answers each path below `/ok/` with one file.
fn apache(lab: &Lab, port: &Port) -> Child {
    let folder = lab.folder.path().join("apache");
    fs::create_dir_all(folder.join("html")).unwrap();
    fs::write(folder.join("html/answer"), vec![b'x'; ANSWER_BYTES]).unwrap();
    let (at, modules) = (folder.display(), "/usr/lib/apache2/modules");
    let config = format!(
        "ServerRoot {at}\nPidFile {at}/pid\nListen {}\nServerName localhost\nErrorLog {at}/error.log\nDocumentRoot {at}/html\n\
         LoadModule mpm_event_module {modules}/mod_mpm_event.so\nLoadModule authz_core_module {modules}/mod_authz_core.so\n\
         LoadModule rewrite_module {modules}/mod_rewrite.so\nLoadModule http2_module {modules}/mod_http2.so\n\
         Protocols h2c http/1.1\nH2Upgrade on\nRewriteEngine on\nRewriteRule ^/ok/ /answer\n",
        port.address()
    );
    let settings = folder.join("httpd.conf");
    fs::write(&settings, config).unwrap();
    let mut command = Command::new("/usr/sbin/apache2");
    command.arg("-f").arg(&settings).arg("-DFOREGROUND");
    let launch = Launch::new("apache2", command, folder.join("output.log")).ending_softly();
    let process = launch.in_cgroup(lab.cgroup.path()).spawn().unwrap();
    wait_for_port(port.address()).unwrap();
    process
}
