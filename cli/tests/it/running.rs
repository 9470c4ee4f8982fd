//! A running `headwater up`: other commands find it, and a second Ctrl-C ends it at once. Needs root, and the programs beside `headwater`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headwater_process::wait_for;
use headwater_system_tests::lab::shared;
use serde_json::Value;

const READY_WITHIN: Duration = Duration::from_secs(90);
/// An agent that does not answer is waited for longer than this when the user is patient.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Ends with its owner.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn other_commands_find_it_and_a_second_ctrl_c_ends_it_at_once() {
    let settings = shared("running").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (up_folder, ready_file) = (folder.path().join("run"), folder.path().join("ready.json"));
    // Nothing but this process, which says nothing, is captured.
    let quiet = Owned(Command::new("sleep").arg("600").spawn().unwrap());
    let log = fs::File::create(folder.path().join("up.log")).unwrap();
    let mut up = Owned(
        Command::new(env!("CARGO_BIN_EXE_headwater"))
            .args(["up", "--yes", "--console-port", "0", "--pid", &quiet.0.id().to_string(), "--ready-file"])
            .arg(&ready_file)
            .args(["--brokers", &settings.brokers, "--registry", &settings.registry_url])
            .args(["--kafka-prefix", &settings.prefix, "--up-folder"])
            .arg(&up_folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let told = || fs::read_to_string(folder.path().join("up.log")).unwrap_or_default();
    let ready = wait_for(READY_WITHIN, || {
        assert!(up.0.try_wait().unwrap().is_none(), "up ended:\n{}", told());
        fs::read_to_string(&ready_file).ok()
    });
    let ready: Value = serde_json::from_str(&ready.unwrap_or_else(|| panic!("not ready:\n{}", told()))).unwrap();

    let found = run(&["topics", "--json"], &up_folder);
    let first: Value = serde_json::from_str(found.lines().next().unwrap()).unwrap();
    assert!(first["name"].as_str().unwrap().starts_with(&settings.prefix), "{first}");
    let beats = run(&["tail", "agents", "--from", "-5m", "--count", "1", "--json"], &up_folder);
    assert!(beats.contains("\"agent_started_at_us\""), "{beats}");

    let agent = ready["pids"]["headwater-agent"].as_i64().unwrap() as i32;
    signal(agent, libc::SIGSTOP);
    let begun = Instant::now();
    signal(up.0.id().cast_signed(), libc::SIGINT);
    wait_for(AT_ONCE, || told().contains("Stopping").then_some(())).unwrap_or_else(|| panic!("{}", told()));
    signal(up.0.id().cast_signed(), libc::SIGINT);
    let status = wait_for(AT_ONCE, || up.0.try_wait().unwrap());
    let status = status.unwrap_or_else(|| panic!("it still waits {:?} later:\n{}", begun.elapsed(), told()));
    assert_eq!(status.code(), Some(128 + libc::SIGINT));
    signal(agent, libc::SIGCONT);
    let gone = wait_for(READY_WITHIN, || (!Path::new(&format!("/proc/{agent}")).exists()).then_some(()));
    assert!(gone.is_some(), "the agent outlives it");
}

fn headwater(args: &[&str], up_folder: &Path) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.args(args).arg("--up-folder").arg(up_folder).output().unwrap()
}

fn run(args: &[&str], up_folder: &Path) -> String {
    let output = headwater(args, up_folder);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: kill takes plain integers; the process is a child of this test's, or of its child, and not reaped.
    unsafe { libc::kill(pid, signal) };
}
