//! The programs where something is wrong from the start: each says what it was doing, with what, and what to do next, and ends
//! with an exit code: 2 for settings, 1 for everything else. Nothing waits for ever, nothing panics.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use headwater_process::{Launch, Port, program as built};
use headwater_stack::shared::Shared;
use headwater_system_tests::lab::{stop, wait_for};
use headwater_system_tests::program::{Ended, ours, run};

const PATIENCE: Duration = Duration::from_secs(60);
const NOBODY: u32 = 65534;

/// The programs that talk to Kafka, with what they need beside it.
const PROGRAMS: [(&str, &[&str]); 5] = [
    ("headwater-agent", &["--capture-pid", NO_PROCESS]),
    ("headwater-processor", &["all"]),
    ("headwater", &["map"]),
    ("headwater", &["tail", "edges"]),
    ("headwater", &["topics"]),
];

/// No process has this number, the largest that the kernel gives is one less: nothing is captured.
const NO_PROCESS: &str = "4194304";

/// The shared Kafka, which also has a listener that asks for a password.
fn stack() -> Shared {
    Shared::get().unwrap()
}

fn end(command: &mut Command) -> Ended {
    let ended = run(command, PATIENCE).unwrap();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

/// Ends with this code and says all of this.
fn ends_with(command: &mut Command, code: i32, told: &[&str]) {
    let ended = end(command);
    assert_eq!(ended.code, Some(code), "{command:?}: {}", ended.stderr);
    for text in told {
        assert!(ended.stderr.contains(text), "{command:?} does not say `{text}`:\n{}", ended.stderr);
    }
}

fn program(name: &str, args: &[&str]) -> Command {
    let mut command = ours(name).unwrap();
    command.args(args);
    command
}

fn with_kafka(command: &mut Command) -> &mut Command {
    let Shared { brokers, registry_url, .. } = stack();
    let prefix = Shared::prefix("bad-input");
    command.args(["--kafka-brokers", &brokers, "--registry-url", &registry_url, "--kafka-prefix", &prefix])
}

/// The agent where everyone may run it.
fn agent_for_everyone() -> (tempfile::TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("headwater-agent");
    fs::copy(built("headwater-agent").unwrap(), &path).unwrap();
    let mut command = Command::new(path);
    command.args(["--capture-pid", NO_PROCESS]);
    (folder, command)
}

#[test]
fn all_problems_with_settings_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headwater.toml");
    fs::write(&file, "[kafka]\nbroker = 'x'\n[http]\npath = 'full'\n[log]\nlevel = 'loud'\n").unwrap();
    for (name, args) in PROGRAMS.into_iter().chain([("headwater", ["up"].as_slice()), ("headwater", &["doctor"])]) {
        let mut command = program(name, args);
        command.arg("--config").arg(&file).env("HEADWATER_KAFKA_PREFX", "a.").env("HEADWATER_NOTHING", "1");
        command.args(["--kafka-broker", "a:1", "--kafka-partitions", "many", "--metrics-listen", "here"]);
        command.args(["--kafka-prefix", "no spaces", "--registry-url", "localhost", "--kafka-brokers", "a:b"]);
        command.args(["--kafka-security-protocol", "sasl_ssl", "--kafka-password-file", "/nowhere/secret"]);
        ends_with(
            &mut command,
            2,
            &[
                "13 problems with the settings",
                "unknown setting kafka.broker, did you mean kafka.brokers?",
                "unknown setting http.path",
                "unknown setting HEADWATER_KAFKA_PREFX, did you mean HEADWATER_KAFKA_PREFIX?",
                "unknown setting HEADWATER_NOTHING",
                "unknown flag --kafka-broker, did you mean",
                "--kafka-partitions: `many` is not a whole number from 1 to 1024",
                "--metrics-listen: `here` is not an address",
                "--kafka-prefix: `no spaces` is not",
                "--registry-url: `localhost` does not start with http",
                "--kafka-brokers: `a:b` is not host:port",
                "SASL needs kafka.user and kafka.password",
                "--kafka-password-file: /nowhere/secret cannot be read",
                "log.level in the settings file: `loud`",
            ],
        );
    }
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    // Held, and not listened on.
    let port = Port::free().unwrap();
    let address = port.address().to_string();
    let told = [format!("no broker of {address} answers"), "check kafka.brokers and that Kafka runs".into()];
    let told = told.each_ref().map(String::as_str);
    // At the same time, since each waits ten seconds or more.
    std::thread::scope(|scope| {
        // The agent waits for its brokers; see `late_kafka`.
        for (name, args) in PROGRAMS.into_iter().skip(1) {
            let mut command = program(name, args);
            command.args(["--kafka-brokers", &address]);
            scope.spawn(move || ends_with(&mut command, 1, &told));
        }
    });
}

#[test]
fn a_wrong_password_is_told_as_one() {
    for (name, args) in PROGRAMS {
        let command = &mut program(name, args);
        command.args(["--kafka-brokers", &stack().sasl_brokers, "--kafka-user", "user"]);
        command.args(["--kafka-security-protocol", "sasl_plaintext"]).env("HEADWATER_KAFKA_PASSWORD", "wrong-hush");
        let ended = end(command);
        assert_eq!(ended.code, Some(1), "{command:?}: {}", ended.stderr);
        for text in ["refuse the user or the password", "check kafka.user, kafka.password"] {
            assert!(ended.stderr.contains(text), "{command:?} does not say `{text}`:\n{}", ended.stderr);
        }
        assert!(!ended.stderr.contains("wrong-hush"), "the password is shown");
    }
    // The right one does.
    let command = &mut program("headwater", &["topics"]);
    command.args(["--kafka-brokers", &stack().sasl_brokers, "--kafka-user", "user"]);
    command.args(["--kafka-security-protocol", "sasl_plaintext"]).env("HEADWATER_KAFKA_PASSWORD", "right");
    ends_with(command, 0, &[]);
}

#[test]
fn an_agent_without_rights_says_which_it_needs() {
    let (_folder, mut command) = agent_for_everyone();
    with_kafka(&mut command).uid(NOBODY).gid(NOBODY);
    ends_with(
        &mut command,
        1,
        &["load the probes", "needs root, or the capabilities BPF and PERFMON", "now user 65534"],
    );
    // Root that has lost its capabilities is no root, nor is one that has lost either of the two.
    for left in ["-all", "-all,+bpf", "-all,+perfmon"] {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", left, "--inh-caps", "-all"]).arg(built("headwater-agent").unwrap());
        with_kafka(command.args(["--capture-pid", NO_PROCESS]));
        ends_with(&mut command, 1, &["load the probes", "needs root, or the capabilities BPF and PERFMON"]);
    }

    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["headwater", "headwater-agent", "headwater-processor"] {
        fs::copy(built(name).unwrap(), folder.path().join(name)).unwrap();
    }
    let mut up = Command::new(folder.path().join("headwater"));
    up.args(["up", "--yes", "--console-port", "0"]).uid(NOBODY).gid(NOBODY);
    ends_with(&mut up, 1, &["needs root: run it as `sudo headwater up"]);
}

#[test]
fn the_rights_that_an_agent_asks_for_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-all,+bpf,+perfmon", "--inh-caps", "-all"]);
    command.arg(built("headwater-agent").unwrap()).args(["--capture-pid", &std::process::id().to_string()]);
    with_kafka(&mut command);
    let mut agent = Launch::new("headwater-agent", command, folder.path().join("log")).spawn().unwrap();
    wait_for("the agent to capture", || Ok(agent.log_text().contains("capturing"))).unwrap();
    // At its end at the latest it asks for all that its last heartbeat says, such as the runs that its probes missed.
    stop(&mut agent).unwrap();
    assert!(!agent.log_text().contains("ERROR"), "{}", agent.log_text());
}

#[test]
fn an_agent_that_does_not_see_the_machine_s_processes_says_how_it_would() {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]).arg(built("headwater-agent").unwrap());
    with_kafka(command.args(["--capture-pid", NO_PROCESS]));
    ends_with(&mut command, 1, &["load the probes", "a process namespace of its own", "hostPID: true", "--pid host"]);
}

#[test]
fn an_agent_without_the_kernel_s_types_says_what_kernel_it_needs() {
    let agent = built("headwater-agent").unwrap();
    for (prepare, told) in [
        ("true", "/sys/kernel/btf/vmlinux: No such file or directory"),
        (": > /sys/kernel/btf/vmlinux", "the kernel's BTF ends at byte 0"),
        ("echo no types > /sys/kernel/btf/vmlinux", "the kernel's BTF starts with"),
    ] {
        // In a mount namespace of its own: nobody else misses anything.
        let script = format!("mount -t tmpfs none /sys/kernel/btf && {prepare} && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(&agent).args(["--capture-pid", NO_PROCESS]);
        ends_with(with_kafka(&mut command), 1, &["load the probes", told]);
    }
}

#[test]
fn a_cgroup_or_a_process_that_is_not_there_is_named() {
    let command = &mut program("headwater-agent", &["--capture-cgroup", "/nowhere"]);
    ends_with(with_kafka(command), 1, &["the cgroup /nowhere cannot be used as a filter", "cgroup2 mount"]);
}

#[test]
fn a_taken_port_is_named_with_the_setting_that_chooses_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();
    for (name, args) in PROGRAMS.into_iter().take(2).chain([("headwater", ["console"].as_slice())]) {
        let command = &mut program(name, args);
        with_kafka(command).args(["--metrics-listen", &address]);
        ends_with(command, 1, &[&format!("serve metrics on {address}"), "set metrics.listen to a free port", "in use"]);
    }
    let command = &mut program("headwater", &["console", "--console-listen", &address]);
    ends_with(with_kafka(command), 1, &[&format!("serve the console on {address}"), "--console-listen", "in use"]);

    let command = &mut program("headwater", &["up", "--yes", "--console-port", &port, "--kafka-port", &port]);
    let told = [
        "3 things are in the way",
        "choose a port with --console-port",
        "cannot be given to Kafka",
        "--kafka-port",
        "cannot be given to the registry",
        "--registry-port",
    ];
    ends_with(command.args(["--registry-port", &port]), 1, &told);
}
