//! FerretDB, which speaks MongoDB's protocol. It is built once and kept in the user's cache.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use headwater_process::{Launch, Port, Scratch};

use super::{PATIENCE, Server, beside};
use crate::kept::go_program;

/// The Go module whose `go.sum` holds the checksums of all that the server is built from.
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/ferretdb");

/// FerretDB with its data in files of SQLite; in a cgroup, if there is one. The first run builds it, for some minutes.
///
/// # Errors
/// If it cannot be built, or does not listen in time; the end of its log is told.
pub fn ferretdb(cgroup: Option<&Path>) -> Result<Server> {
    let program = go_program("ferretdb", Path::new(MODULE))?;
    let folder = Scratch::create("headwater-ferretdb-", 0o700)?;
    let port = Port::free()?;
    let mut command = Command::new(program);
    command.arg(port.address().to_string()).arg(folder.path());
    let mut process = beside(Launch::new("ferretdb", command, folder.path().join("log")), cgroup).spawn()?;
    process.await_ready(PATIENCE, || TcpStream::connect(port.address()).ok())?;
    Ok(Server { port, _process: process, _needed: None, folder })
}
