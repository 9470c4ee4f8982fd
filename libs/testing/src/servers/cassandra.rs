//! Cassandra, with all that it needs in one folder. Its programs are fetched once and kept in the user's cache.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use headwater_process::{Launch, Port, Scratch};

use super::{Server, beside};
use crate::kept::jars;

const PATIENCE: Duration = Duration::from_secs(120);
/// Maven's list, the checksums of what it names, and settings.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/cassandra");
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

/// One node of Cassandra that asks for no password; in a cgroup, if there is one. The first run fetches it.
///
/// # Errors
/// If it cannot be fetched, or does not listen in time; the end of its log is told.
pub fn cassandra(cgroup: Option<&Path>) -> Result<Server> {
    let programs = jars("cassandra", Path::new(FILES))?;
    let folder = Scratch::create("headwater-cassandra-", 0o700)?;
    let [port, storage, management] = [Port::free()?, Port::free()?, Port::free()?];
    let at = |name: &str| folder.path().join(name);
    let settings = std::fs::read_to_string(Path::new(FILES).join("cassandra.yaml"))?;
    let ports = format!("native_transport_port: {}\nstorage_port: {}\n", port.number(), storage.number());
    let seeds = format!("[{{seeds: \"127.0.0.1:{}\"}}]", storage.number());
    let class = "org.apache.cassandra.locator.SimpleSeedProvider";
    let seeds = format!("seed_provider: [{{class_name: {class}, parameters: {seeds}}}]\n");
    std::fs::write(at("cassandra.yaml"), settings + &ports + &seeds)?;
    std::fs::copy(Path::new(FILES).join("logback.xml"), at("logback.xml"))?;
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
    let mut process = beside(Launch::new("cassandra", java, at("log")), cgroup).spawn()?;
    process.await_ready(PATIENCE, || TcpStream::connect(port.address()).ok())?;
    Ok(Server { port, _process: process, _needed: None, folder })
}
