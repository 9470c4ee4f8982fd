//! Real children: they end when they are told to, with their owner, and with this process, however it ends.
//!
//! A program of its own, since one test runs itself again in a process that is killed.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use headwater_process::{Child, Launch, tail, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);
/// Where the owner that is killed writes the ids of its children.
const OWNER_FOLDER: &str = "HEADWATER_TEST_OWNER_FOLDER";

fn shell(script: &str, folder: &Path) -> Launch {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    Launch::new("the shell", command, folder.join("log"))
}

fn sleeper(folder: &Path) -> Launch {
    shell("exec sleep 60", folder)
}

/// False also for one that is dead and was not waited for.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

fn wait_until_gone(pid: u32) {
    wait_for(PATIENCE, || (!is_alive(pid)).then_some(())).unwrap_or_else(|| panic!("{pid} is still there"));
}

/// A shell that is there when this returns, and says why it ends.
fn talker(folder: &Path) -> Child {
    let script = "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = shell(script, folder).ending_softly().spawn().unwrap();
    let log = folder.join("log");
    child.await_ready(PATIENCE, || tail(&log).contains("ready").then_some(())).unwrap();
    child
}

#[test]
fn a_child_survives_the_thread_that_asked_for_it_and_ends_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let mut child = thread::spawn(move || sleeper(&path).spawn().unwrap()).join().unwrap();
    // The thread is joined, so a death signal tied to it would be on its way; give it the time to arrive.
    assert_eq!(child.await_end(Duration::from_millis(100)).unwrap(), None);
    let pid = child.pid();
    drop(child);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_soft_stop_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = talker(folder.path());
    assert!(!child.stop(PATIENCE), "it was killed");
    assert!(!child.is_running() && !Path::new(&format!("/proc/{}", child.pid())).exists());
    assert!(child.log_text().ends_with("asked\n"), "{}", child.log_text());
}

#[test]
fn a_child_that_ends_softly_is_asked_when_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let child = talker(folder.path());
    let pid = child.pid();
    drop(child);
    assert!(!is_alive(pid));
    assert!(tail(&folder.path().join("log")).ends_with("asked"));
}

#[test]
fn a_child_is_asked_first_and_killed_if_it_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    let mut deaf = shell("trap '' TERM; echo ready; while :; do sleep 0.1; done", folder.path()).spawn().unwrap();
    let log = deaf.log().to_owned();
    deaf.await_ready(PATIENCE, || tail(&log).contains("ready").then_some(())).unwrap();
    assert!(deaf.stop(Duration::from_millis(300)));
    assert!(!is_alive(deaf.pid()));
}

#[test]
fn it_is_stopped_by_the_signal_that_it_wants() {
    let folder = tempfile::tempdir().unwrap();
    // Not SIGINT, which a shell cannot trap where whoever started this test ignores it.
    let script = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done";
    let mut child = shell(script, folder.path()).stopped_by(libc::SIGUSR1).spawn().unwrap();
    let log = child.log().to_owned();
    child.await_ready(PATIENCE, || tail(&log).contains("ready").then_some(())).unwrap();
    child.terminate();
    assert_eq!(child.await_end(PATIENCE).unwrap().unwrap().code(), Some(7));
}

#[test]
fn an_early_end_and_a_delay_are_explained_with_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = shell("echo the reason; exit 3", folder.path()).spawn().unwrap();
    let error = child.await_ready(PATIENCE, || None::<()>).unwrap_err().to_string();
    for part in ["the shell has ended", "exit status: 3", "the reason", &folder.path().display().to_string()] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    assert_eq!(child.await_success(PATIENCE).unwrap_err().to_string(), error);
    let mut child = sleeper(folder.path()).spawn().unwrap();
    let error = child.await_ready(Duration::from_millis(50), || None::<()>).unwrap_err().to_string();
    assert!(error.contains("the shell is not ready after 50ms") && error.contains("the reason"), "{error}");
    let error = child.await_success(Duration::from_millis(50)).unwrap_err().to_string();
    assert!(error.contains("the shell has not ended after 50ms"), "{error}");
}

#[test]
fn what_cannot_be_started_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new("nothing", Command::new("/nowhere/nothing"), folder.path().join("log"));
    assert!(launch.spawn().unwrap_err().to_string().starts_with("start nothing (/nowhere/nothing): "));
    let launch = Launch::new("nothing", Command::new("true"), "/nowhere/log");
    assert!(launch.spawn().unwrap_err().to_string().starts_with("open the log /nowhere/log: "));
}

#[test]
fn what_is_piped_is_not_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let launch = shell("read word; echo $word; echo aside >&2; exec sleep 60", folder.path());
    let mut child = launch.piping_stdin().piping_stdout().spawn().unwrap();
    std::io::Write::write_all(&mut child.take_stdin().unwrap(), b"hello\n").unwrap();
    assert_eq!(child.first_line().unwrap(), "hello");
    let log = child.log().to_owned();
    child.await_ready(PATIENCE, || (tail(&log) == "    aside").then_some(())).unwrap();

    let mut silent = shell("exit 4", folder.path()).piping_stdout().spawn().unwrap();
    let error = silent.first_line().unwrap_err().to_string();
    assert!(error.contains("exit status: 4") || error.contains("has said nothing"), "{error}");
}

/// Not a test of its own: what the next test runs in another process, and kills.
#[test]
fn an_owner_that_waits_to_be_killed() {
    let Some(folder) = std::env::var_os(OWNER_FOLDER).map(std::path::PathBuf::from) else { return };
    let hard = sleeper(&folder).spawn().unwrap();
    let soft = talker(&folder);
    std::fs::write(folder.join("pids.partial"), format!("{} {}", hard.pid(), soft.pid())).unwrap();
    std::fs::rename(folder.join("pids.partial"), folder.join("pids")).unwrap();
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_child_dies_with_an_owner_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_owner_that_waits_to_be_killed"])
        .env(OWNER_FOLDER, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pids = wait_for(PATIENCE, || std::fs::read_to_string(folder.path().join("pids")).ok()).unwrap();
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    owner.kill().unwrap();
    owner.wait().unwrap();
    pids.into_iter().for_each(wait_until_gone);
    // The one that ends softly was asked.
    assert!(tail(&folder.path().join("log")).ends_with("asked"));
}
