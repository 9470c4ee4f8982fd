//! `headwater up` on a machine with Docker and without Java.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use headwater_process::program;

use crate::engine::{Engine, succeed};
use crate::images;

/// A project that somebody started by hand in a folder called headwater, which is how compose names it.
const BY_HAND: &str =
    "services: {kafka: {image: 'by-hand:1', command: [sleep, '3600'], volumes: ['data:/data']}}\nvolumes: {data: {}}\n";

#[test]
fn a_project_that_was_started_by_hand_survives() {
    let engine = Engine::start();
    images::kafka_and_registry(&engine);
    images::Image::new(&engine).import("by-hand:1", &["ENV PATH=/bin"]);
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("headwater");
    std::fs::create_dir(&project).unwrap();
    std::fs::write(project.join("docker-compose.yml"), BY_HAND).unwrap();
    succeed(engine.compose().arg("up").arg("--detach").current_dir(&project));
    let kept = engine.docker(&["ps", "--quiet", "--no-trunc"]);
    assert_eq!(kept.lines().count(), 1);
    engine.docker(&["exec", kept.trim(), "sh", "-c", "echo mine > /data/kept"]);

    // Nothing but Docker is found there.
    let programs = folder.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    for name in ["docker", "docker-compose"] {
        let found = Command::new("which").arg(name).output().unwrap();
        if found.status.success() {
            std::os::unix::fs::symlink(String::from_utf8(found.stdout).unwrap().trim(), programs.join(name)).unwrap();
        }
    }
    let (ready_file, log) = (folder.path().join("ready.json"), folder.path().join("up.log"));
    let mut up = engine.command("/usr/bin/env");
    up.arg("--unset=JAVA_HOME").arg("--unset=XDG_CACHE_HOME").arg(format!("PATH={}", programs.display()));
    up.arg(format!("HOME={}", folder.path().display())).arg(program("headwater").unwrap());
    up.args(["up", "--yes", "--console-listen", "127.0.0.1:0", "--pid", &std::process::id().to_string()]);
    up.arg("--ready-file").arg(&ready_file).current_dir(folder.path()).stdin(Stdio::null());
    let said = File::create(&log).unwrap();
    let mut up = up.stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
    engine.wait("headwater up", Duration::from_secs(240), || {
        if let Some(status) = up.try_wait().unwrap() {
            panic!("{status}: {}", std::fs::read_to_string(&log).unwrap());
        }
        ready_file.exists().then_some(())
    });
    assert!(engine.docker(&["ps", "--format", "{{.Image}}"]).contains("apache/kafka:4.3.1"));
    // SAFETY: the id is that of a child that has not been waited for.
    unsafe { libc::kill(up.id() as i32, libc::SIGINT) };
    assert!(up.wait().unwrap().success());

    assert_eq!(engine.docker(&["ps", "--all", "--quiet", "--no-trunc"]), kept, "ours are gone, and only ours");
    assert_eq!(engine.docker(&["exec", kept.trim(), "cat", "/data/kept"]), "mine\n");
}
