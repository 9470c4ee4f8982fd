//! The real Kafka and the real registry: they start, restart, refuse, and leave nothing behind.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_process::User;
use headwater_stack::{Credentials, Progress, Services, Stack, StackError, StackOptions, Wanted};
use serde_json::{Value, json};

#[test]
fn a_stack_answers_survives_kills_and_keeps_its_schema_ids() {
    let folder = tempfile::tempdir().unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    let options = StackOptions {
        data_dir: Some(folder.path().join("data")),
        progress: Progress::new(move |line| sink.lock().unwrap().push(line.to_owned())),
        ..Default::default()
    };
    let stack = Stack::start(options.clone()).unwrap();
    assert!(api_versions(stack.kafka().port()).contains(&22), "no InitProducerId, so no transactions");
    let id = register(&stack.registry().url(), "orders-value");
    let lines = lines.lock().unwrap().clone();
    assert!(lines.iter().any(|line| line.starts_with("Kafka is ready on ")), "{lines:?}");

    // A broker that is killed comes back at the same address.
    let (address, pid) = (stack.bootstrap(), stack.kafka().pid().unwrap());
    stack.kafka().kill();
    assert!(!stack.kafka().is_running() && !exists(pid));
    assert!(TcpStream::connect(&address).is_err());
    stack.kafka().restart().unwrap();
    assert_eq!(stack.bootstrap(), address);
    assert!(!api_versions(stack.kafka().port()).is_empty());

    // A registry that is killed gives the same id to the same schema.
    stack.registry().kill();
    stack.registry().restart().unwrap();
    assert_eq!(register(&stack.registry().url(), "orders-value"), id);

    // So does a new start on the kept folder, which nobody else may use meanwhile.
    let error = Stack::start(options.clone()).unwrap_err();
    assert!(matches!(error, StackError::DataDirInUse { .. }), "{error}");
    let pid = stack.kafka().pid().unwrap();
    drop(stack);
    assert!(!exists(pid));
    let stack = Stack::start(options.clone()).unwrap();
    assert_eq!(register(&stack.registry().url(), "orders-value"), id);
    drop(stack);

    // And one that runs as a user without rights from now on, who gets the folder.
    let user = User { uid: 60_701, gid: 60_701 };
    let stack = Stack::start(StackOptions { user: Some(user), ..options }).unwrap();
    assert_eq!(register(&stack.registry().url(), "orders-value"), id);
    stack.kafka().kill();
    stack.kafka().restart().unwrap();
    assert_eq!(owner(Path::new(&format!("/proc/{}", stack.kafka().pid().unwrap()))), user.uid);
    let mut folders = vec![stack.data_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(owner(&path), user.uid, "{}", path.display());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(!User { uid: 60_702, gid: 60_702 }.can_read(stack.data_dir()), "another user can look into it");
}

fn owner(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().uid()
}

#[test]
fn a_user_without_rights_runs_a_temporary_stack_and_nothing_of_it_stays() {
    let user = User { uid: 60_701, gid: 60_701 };
    let stack = Stack::start(StackOptions { user: Some(user), ..Default::default() }).unwrap();
    register(&stack.registry().url(), "orders-value");
    let (folder, pid) = (stack.data_dir().to_owned(), stack.kafka().pid().unwrap());
    assert_eq!((owner(&folder), owner(Path::new(&format!("/proc/{pid}")))), (user.uid, user.uid));
    assert!(!User { uid: 60_702, gid: 60_702 }.can_read(&folder), "another user can look into it");
    drop(stack);
    assert!(!folder.exists() && !exists(pid));
}

#[test]
fn three_brokers_form_one_cluster_that_outlives_one_of_them() {
    // With a password, so that the nodes ask each other for it.
    let closed_to = Some(Credentials::draw("headwater").unwrap());
    let stack = Stack::start(StackOptions { brokers: 3, heap_mb: 256, closed_to, ..Default::default() }).unwrap();
    assert_eq!(stack.bootstrap().split(',').count(), 3);
    stack.brokers()[2].stop();
    assert!(!api_versions(stack.kafka().port()).is_empty());
    stack.brokers()[2].restart().unwrap();
    let folder = stack.data_dir().to_path_buf();
    drop(stack);
    assert!(!folder.exists(), "the temporary data stays behind in {}", folder.display());
}

#[test]
fn the_second_listener_knows_right_from_wrong_passwords() {
    let users = vec![("alice".to_owned(), "right".to_owned())];
    let stack = Stack::start(StackOptions { sasl_users: users, ..Default::default() }).unwrap();
    let address = stack.kafka().sasl_bootstrap().unwrap();
    assert_eq!(sasl_plain(&address, "alice", "right"), 0);
    // 58 is SASL_AUTHENTICATION_FAILED.
    assert_eq!(sasl_plain(&address, "alice", "wrong"), 58);

    // What Kafka said outlives a test that fails, and its data does not.
    let (logs, folder) = (stack.logs_of_a_failure(), stack.data_dir().to_owned());
    let failed = std::thread::spawn(move || {
        let _stack = stack;
        panic!("as a test that fails");
    });
    let failed = failed.join();
    let said = std::fs::read_to_string(logs.join("kafka-1.log")).unwrap();
    std::fs::remove_dir_all(&logs).unwrap();
    assert!(failed.is_err() && !folder.exists() && said.contains("Kafka"), "{said}");
}

#[test]
fn a_closed_stack_lets_in_nobody_without_its_password() {
    let open = Stack::start(StackOptions::default()).unwrap();
    assert!(metadata(open.kafka().port()).is_ok(), "the question is asked wrongly");
    drop(open);

    let folder = tempfile::tempdir().unwrap();
    let credentials = Credentials::draw("headwater").unwrap();
    let options = StackOptions {
        data_dir: Some(folder.path().join("data")),
        closed_to: Some(credentials.clone()),
        // Listeners of a stack for tests: this one asks for another password, that of its users.
        sasl_users: vec![("alice".to_owned(), "right".to_owned())],
        ..Default::default()
    };
    let stack = Stack::start(options).unwrap();
    let mut ports = listening_ports(stack.kafka().pid().unwrap());
    ports.sort_unstable();
    assert_eq!(ports.len(), 3, "a client's, a controller's, and that of the users: {ports:?}");
    for port in ports {
        assert!(metadata(port).is_err(), "port {port} answers without a password");
    }
    let address = stack.bootstrap();
    assert_eq!(sasl_plain(&address, "headwater", &credentials.password), 0);
    assert_eq!(sasl_plain(&address, "headwater", "wrong"), 58);
    assert_eq!(sasl_plain(&address, "alice", "right"), 58);

    let url = stack.registry().url();
    let subjects = |url: &str| ureq::get(format!("{url}/subjects")).call().map(|answer| answer.status().as_u16());
    let refused = subjects(&url);
    assert!(matches!(refused, Err(ureq::Error::StatusCode(401))), "{refused:?}");
    let with_password = url.replace("//", &format!("//headwater:{}@", credentials.password));
    assert!(register(&with_password, "orders-value") > 0);
    assert!(matches!(subjects(&url.replace("//", "//headwater:wrong@")), Err(ureq::Error::StatusCode(401))));

    // A node that comes again is waited for with the password, too.
    stack.kafka().kill();
    stack.kafka().restart().unwrap();
    stack.registry().restart().unwrap();
    assert!(register(&with_password, "orders-value") > 0);

    let mut folders = vec![stack.data_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read(&path).unwrap_or_default();
            let has_it = text.windows(32).any(|text| text == credentials.password.as_bytes());
            let mode = std::fs::symlink_metadata(&path).unwrap().mode();
            assert!(!has_it || mode & 0o077 == 0, "{} has the password and the mode {mode:o}", path.display());
            assert!(!has_it || path.extension().is_some_and(|end| end == "properties"), "{}", path.display());
        }
    }
}

#[test]
fn a_taken_port_is_refused_before_anything_starts() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    let data_dir = || Some(folder.clone());
    for (options, setting) in [
        (StackOptions { kafka_port: Some(port), data_dir: data_dir(), ..Default::default() }, "--kafka-port"),
        (StackOptions { registry_port: Some(port), data_dir: data_dir(), ..Default::default() }, "--registry-port"),
    ] {
        let error = Stack::start(options).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains(setting), "{error}");
        assert!(!folder.exists(), "the folder of what runs was made before the port was looked at");
    }
}

#[test]
fn beside_an_existing_kafka_only_the_registry_is_started() {
    let wanted = Wanted { brokers: Some("kafka.example:9092".to_owned()), registry_url: None };
    let services = Services::open(&wanted, StackOptions::default()).unwrap();
    assert_eq!(services.bootstrap(), "kafka.example:9092");
    assert!(register(services.registry_url(), "orders-value") > 0);
}

#[test]
fn a_full_disk_is_named() {
    let disk = SmallDisk::mount();
    let options = StackOptions { data_dir: Some(disk.0.path().join("data")), ..Default::default() };
    let error = Stack::start(options).unwrap_err().to_string();
    assert!(error.contains("is full") && error.contains("--data-dir"), "{error}");
}

/// A file system of eight megabytes, which is unmounted at the end of the test.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=8m", "tmpfs", folder.path().to_str().unwrap()]);
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &[self.0.path().to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = std::process::Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}; this test needs root");
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Registers a schema and returns its id.
fn register(url: &str, subject: &str) -> i64 {
    let body = json!({"schema": r#"{"type":"record","name":"order","fields":[{"name":"id","type":"long"}]}"#});
    let mut answer = ureq::post(format!("{url}/subjects/{subject}/versions"))
        .content_type("application/vnd.schemaregistry.v1+json")
        .send(body.to_string())
        .unwrap();
    let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    answer["id"].as_i64().unwrap()
}

/// The numbers of the requests that the broker understands.
fn api_versions(port: u16) -> Vec<i16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let answer = ask(&mut stream, 18, 0, &[]);
    assert_eq!(answer[..2], [0, 0], "the broker answers with an error");
    answer[6..].chunks_exact(6).map(|api| i16::from_be_bytes([api[0], api[1]])).collect()
}

/// Logs in with SASL PLAIN and returns the error code of the last answer.
fn sasl_plain(address: &str, user: &str, password: &str) -> i16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let answer = ask(&mut stream, 17, 1, b"\0\x05PLAIN");
    assert_eq!(answer[..2], [0, 0], "the broker does not offer PLAIN");
    let token = format!("\0{user}\0{password}");
    let body = [&(token.len() as i32).to_be_bytes(), token.as_bytes()].concat();
    let answer = ask(&mut stream, 36, 0, &body);
    i16::from_be_bytes([answer[0], answer[1]])
}

fn ask(stream: &mut TcpStream, api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut request = [api.to_be_bytes(), version.to_be_bytes()].concat();
    request.extend_from_slice(&1i32.to_be_bytes());
    request.extend_from_slice(b"\0\x04test");
    request.extend_from_slice(body);
    stream.write_all(&[&(request.len() as i32).to_be_bytes(), request.as_slice()].concat()).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer.split_off(4)
}

/// Those of one process, of /proc/net/tcp and tcp6.
fn listening_ports(pid: u32) -> Vec<u16> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let sockets: Vec<_> = links.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    let is_its_own = |inode: &str| sockets.iter().any(|link| link.as_os_str() == format!("socket:[{inode}]").as_str());
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap());
    let ports = tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // 0A is LISTEN.
        let is_listener = fields[3] == "0A" && is_its_own(fields[9]);
        is_listener.then(|| u16::from_str_radix(fields[1].rsplit(':').next().unwrap(), 16).unwrap())
    });
    ports.collect()
}

/// Metadata without a login.
fn metadata(port: u16) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = [3i16.to_be_bytes(), 1i16.to_be_bytes()].concat();
    let request = [&request, 1i32.to_be_bytes().as_slice(), b"\0\x04test", &(-1i32).to_be_bytes()].concat();
    stream.write_all(&(request.len() as i32).to_be_bytes())?;
    stream.write_all(&request)?;
    stream.read_exact(&mut [0; 8]).map(|()| 8)
}
