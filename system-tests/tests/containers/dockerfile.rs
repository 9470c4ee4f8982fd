//! What k8s/Dockerfile makes of the programs is what the manifests and docker-compose.yml ask for.
//!
//! Its base images cannot be fetched where these tests run. For the one a Debian of the same release stands in, made by debootstrap. The stage
//! that compiles is replaced by this machine's programs: with it the test would take a quarter of an hour. All other lines run as they are.

use std::path::Path;
use std::process::{Command, Stdio};

use headwater_process::program;
use headwater_system_tests::dashboards::root;
use serde_json::Value;

use crate::engine::{Engine, succeed};

const DOCKERFILE: &str = "k8s/Dockerfile";
const NOBODY: &str = "65534:65534";
/// Each image, its programs, what they are asked, and what is in the answer.
const IMAGES: [(&str, &[&str], &str, &str); 2] = [
    ("headwater", &["headwater", "headwater-agent", "headwater-processor"], "--version", env!("CARGO_PKG_VERSION")),
    ("sample", &["sample-service"], "--help", "--listen"),
];
/// What an image may take on the disk beside its base, with programs that were built for tests.
const BYTES_MAX: u64 = 300 << 20;

#[test]
fn the_images_hold_what_is_asked_for() {
    let engine = Engine::start_without_networks();
    let context = tempfile::tempdir().unwrap();
    let debian = context_with_programs(context.path());
    debian_base(&engine, &debian);
    println!("{debian} cannot be fetched here: one of Debian's packages stands in; the programs are this machine's");

    for (target, programs, question, answer) in IMAGES {
        let image = format!("{target}:built");
        let mut build = engine.command("docker");
        build.args(["build", "--network=host", "--target", target, "--tag", &image]).arg(context.path());
        succeed(build.env("DOCKER_BUILDKIT", "0"));

        let told = engine.docker(&["image", "inspect", "--format", "{{json .}}", &image]);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["Config"]["User"], NOBODY, "{target}");
        // Beside the base image's own.
        let added = told["Size"].as_u64().unwrap() - size(&engine, &debian);
        println!("{target}: {} MiB beside {} MiB of the base image", added >> 20, size(&engine, &debian) >> 20);
        assert!(added < BYTES_MAX, "{target}: {added} bytes");

        for program in programs {
            let said = run(&engine, &image, &[program, question]);
            assert!(said.contains(answer), "{program} {question}: {said}");
        }
        assert_eq!(run(&engine, &image, &["id", "-u"]).trim(), "65534");
        let local = run(&engine, &image, &["ls", "/usr/local/bin"]);
        assert_eq!(local.split_whitespace().collect::<Vec<_>>(), programs, "and nothing of how they were built");
        let left = "ls -d /source /build /programs /root/.cargo /usr/local/cargo /usr/local/rustup 2>/dev/null; ls -A /var/lib/apt/lists";
        assert_eq!(run(&engine, &image, &["sh", "-c", &format!("{left} || true")]).trim(), "");
        let variables: Vec<&str> = told["Config"]["Env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(variables.iter().all(|variable| variable.starts_with("PATH=")), "{variables:?}");
    }
}

/// What a program of the image prints, as a pod would start it: read-only and without rights.
fn run(engine: &Engine, image: &str, command: &[&str]) -> String {
    let restricted =
        ["run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"];
    engine.docker(&[&restricted[..], &[image], command].concat())
}

fn size(engine: &Engine, image: &str) -> u64 {
    engine.docker(&["image", "inspect", "--format", "{{.Size}}", image]).trim().parse().unwrap()
}

/// The smallest Debian that has apt, with the security updates of its release.
fn debian_base(engine: &Engine, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    succeed(Command::new("debootstrap").args(["--variant=minbase", "bookworm"]).arg(folder.path()));
    for list in ["var/cache/apt/archives", "var/lib/apt/lists"].map(|list| folder.path().join(list)) {
        std::fs::remove_dir_all(&list).unwrap();
        std::fs::create_dir_all(list.join("partial")).unwrap();
    }
    let sources = folder.path().join("etc/apt/sources.list");
    let text = std::fs::read_to_string(&sources).unwrap();
    let archive = text.split_whitespace().find(|word| word.contains("://")).unwrap().trim_end_matches('/').to_owned();
    std::fs::write(&sources, format!("{text}deb {archive}-security bookworm-security main\n")).unwrap();
    let mut tar = Command::new("tar");
    let mut packed =
        tar.arg("--directory").arg(folder.path()).args(["--create", "."]).stdout(Stdio::piped()).spawn().unwrap();
    let mut import = engine.command("docker");
    succeed(import.args(["import", "-", name]).stdin(packed.stdout.take().unwrap()));
    assert!(packed.wait().unwrap().success());
}

/// The folder that is built from: the programs, and the Dockerfile in which they take the place of what compiles them. Returns the name of the base.
fn context_with_programs(folder: &Path) -> String {
    let text = std::fs::read_to_string(root().join(DOCKERFILE)).unwrap();
    let (compiles, (debian, others)) =
        text.split_once("\nFROM debian:").map(|(compiles, rest)| (compiles, rest.split_once(' ').unwrap())).unwrap();
    assert!(compiles.contains(" AS build\n"), "{compiles}");
    let debian = format!("debian:{debian}");
    let all = format!("FROM {debian} AS build\nCOPY programs /programs\nFROM {debian} {others}");
    std::fs::write(folder.join("Dockerfile"), all).unwrap();
    std::fs::create_dir(folder.join("programs")).unwrap();
    for name in IMAGES.iter().flat_map(|(_, programs, ..)| programs.iter()) {
        let built = program(name).unwrap_or_else(|error| panic!("{error}"));
        let to = folder.join("programs").join(name);
        succeed(Command::new("strip").arg("--strip-debug").arg("-o").arg(to).arg(built));
    }
    debian
}
