//! A running `headwater up`: other commands find it, and a second Ctrl-C ends it at once, what needs no root does not run as root. Needs root, and the programs beside `headwater`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use headwater_process::{User, wait_for};
use headwater_system_tests::lab::shared;
use serde_json::Value;

const READY_WITHIN: Duration = Duration::from_secs(90);
/// An agent that does not answer is waited for longer than this when the user is patient.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The number of a user that nobody is.
const CALLER: u32 = 60_702;

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
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    // As `/tmp` is: everybody may make something there.
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).unwrap();
    let start = || {
        let log = fs::File::options().create(true).append(true).open(folder.path().join("up.log")).unwrap();
        let up = Command::new(env!("CARGO_BIN_EXE_headwater"))
            .args(["up", "--yes", "--console-port", "0", "--pid", &quiet.0.id().to_string(), "--ready-file"])
            .arg(&ready_file)
            .args(["--brokers", &settings.brokers, "--registry", &settings.registry_url])
            .args(["--kafka-prefix", &settings.prefix, "--up-folder"])
            .arg(&up_folder)
            .env("TMPDIR", &temporary)
            // As sudo says who called it.
            .envs([("SUDO_UID", CALLER.to_string()), ("SUDO_GID", CALLER.to_string())])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Owned(up.unwrap())
    };
    let mut up = start();
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

    let pid = |name: &str| ready["pids"][name].as_i64().unwrap() as i32;
    let user_of = |name| owner(Path::new(&format!("/proc/{}", pid(name))));
    assert_eq!(["headwater", "headwater-agent"].map(user_of), [0, 0]);
    assert_eq!(["headwater-processor", "headwater-console"].map(user_of), [CALLER, CALLER]);
    let logs = PathBuf::from(ready["log_dir"].as_str().unwrap());
    let caller = User { uid: CALLER, gid: CALLER };
    for name in ["headwater-agent", "headwater-processor", "headwater-console"] {
        let log = logs.join(format!("{name}.log"));
        assert!(caller.can_read(&log) && owner(&log) == CALLER, "{}", log.display());
    }
    assert!(!User { uid: CALLER + 1, gid: CALLER + 1 }.can_read(&logs), "another user can look into the logs");

    let agent = pid("headwater-agent");
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

    // What it could not remove any more, the next one does, and only that.
    let left = logs.parent().unwrap();
    let others = temporary.join("headwater-up-of-another-user");
    fs::create_dir(&others).unwrap();
    fs::write(others.join("lock"), "").unwrap();
    chown(&others, Some(CALLER), Some(CALLER)).unwrap();
    assert!(left.starts_with(&temporary) && left.exists(), "{}", left.display());
    let mut next = start();
    wait_for(READY_WITHIN, || (!left.exists()).then_some(())).unwrap_or_else(|| panic!("it stays:\n{}", told()));
    assert!(others.exists());
    signal(next.0.id().cast_signed(), libc::SIGINT);
    wait_for(READY_WITHIN, || next.0.try_wait().unwrap()).unwrap_or_else(|| panic!("it goes on:\n{}", told()));
    let rest: Vec<_> = fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(rest, [others], "nothing stays where everything could be stopped");
}

fn owner(path: &Path) -> u32 {
    fs::metadata(path).unwrap().uid()
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
