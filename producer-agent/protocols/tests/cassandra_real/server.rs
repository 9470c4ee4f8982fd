//! A Cassandra of its own, with all that it needs in one folder. Its programs are fetched once and kept in the user's cache.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use headwater_process::{Child, Launch, Port, Scratch};

const PATIENCE: Duration = Duration::from_secs(120);
/// Maven's list, the checksums of what it names, and settings.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cassandra_real");
/// Packages that it opens for itself in Java 17 (`conf/jvm17-server.options`).
const OPENED: [&str; 14] = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/sun.nio.ch",
];
const EXPORTED: [&str; 5] = [
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
];

pub struct Server {
    pub port: Port,
    _child: Child,
    _folder: Scratch,
}

impl Server {
    pub fn start() -> Server {
        let programs = programs();
        let folder = Scratch::create("headwater-cassandra-", 0o700).unwrap();
        let [port, storage, management] = [(); 3].map(|()| Port::free().unwrap());
        let at = |name: &str| folder.path().join(name);
        let mut settings = std::fs::read_to_string(Path::new(FILES).join("cassandra.yaml")).unwrap();
        settings += &format!("native_transport_port: {}\nstorage_port: {}\n", port.number(), storage.number());
        settings +=
            "seed_provider: [{class_name: org.apache.cassandra.locator.SimpleSeedProvider, parameters: [{seeds: \"";
        settings += &format!("127.0.0.1:{}\"}}]}}]\n", storage.number());
        std::fs::write(at("cassandra.yaml"), settings).unwrap();
        std::fs::copy(Path::new(FILES).join("logback.xml"), at("logback.xml")).unwrap();
        let mut java = Command::new("java");
        java.args(["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        java.arg(format!("-javaagent:{}", programs.join("jamm-0.4.0.jar").display()));
        java.args(OPENED.iter().flat_map(|package| ["--add-opens".to_owned(), format!("{package}=ALL-UNNAMED")]));
        java.args(EXPORTED.iter().flat_map(|package| ["--add-exports".to_owned(), format!("{package}=ALL-UNNAMED")]));
        java.args(["-Dcassandra-foreground=yes", "-Dcassandra.ring_delay_ms=0"]);
        java.arg("-Dcassandra.skip_wait_for_gossip_to_settle=0");
        java.arg(format!("-Dcassandra.jmx.local.port={}", management.number()));
        java.arg(format!("-Dcassandra.config=file://{}", at("cassandra.yaml").display()));
        java.arg(format!("-Dcassandra.storagedir={}", at("data").display()));
        java.arg("-cp").arg(format!("{}:{}/*", folder.path().display(), programs.display()));
        java.arg("org.apache.cassandra.service.CassandraDaemon");
        let mut child = Launch::new("cassandra", java, at("log")).spawn().unwrap();
        child.await_ready(PATIENCE, || TcpStream::connect(port.address()).ok()).unwrap();
        Server { port, _child: child, _folder: folder }
    }
}

/// The folder with Cassandra's programs, which the first run fetches.
fn programs() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap().join("headwater");
    std::fs::create_dir_all(&cache).unwrap();
    let sums = Path::new(FILES).join("sha256sums");
    let key = output(Command::new("sha256sum").arg(&sums));
    let folder = cache.join(format!("cassandra-{}", &key[..12]));
    if !folder.exists() {
        let partial = cache.join(format!("partial-cassandra-{}", std::process::id()));
        let mut maven = Command::new("mvn");
        maven.args(["--batch-mode", "--quiet", "--strict-checksums", "--no-transfer-progress", "package", "--file"]);
        maven.arg(Path::new(FILES).join("pom.xml")).arg(format!("-Dheadwater.output={}", partial.display()));
        output(&mut maven);
        output(Command::new("sha256sum").args(["--check", "--strict", "--quiet"]).arg(&sums).current_dir(&partial));
        std::fs::rename(&partial, &folder).unwrap();
    }
    folder
}

pub fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
    String::from_utf8(output.stdout).unwrap()
}
