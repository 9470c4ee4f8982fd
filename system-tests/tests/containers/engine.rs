//! A Docker engine of the test's own. It runs in a network namespace, with which goes what it sets up for its networks; or it sets up none, and
//! builds images with the machine's.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static ENGINES: AtomicU32 = AtomicU32::new(0);

pub struct Engine {
    /// None if it uses the machine's network.
    namespace: Option<String>,
    folder: tempfile::TempDir,
    daemon: Child,
}

impl Engine {
    pub fn start() -> Engine {
        let namespace = format!("hw-docker-{}-{}", std::process::id(), ENGINES.fetch_add(1, Ordering::Relaxed));
        succeed(Command::new("ip").args(["netns", "add", &namespace]));
        succeed(Command::new("ip").args(["-n", &namespace, "link", "set", "lo", "up"]));
        Engine::start_in(Some(namespace), &[])
    }

    /// One that reaches what the machine reaches, and changes nothing of its network. Containers have the machine's (`--network host`) or none.
    pub fn start_without_networks() -> Engine {
        Engine::start_in(None, &["--bridge=none", "--iptables=false", "--ip-forward=false"])
    }

    fn start_in(namespace: Option<String>, options: &[&str]) -> Engine {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let log = std::fs::File::create(path("dockerd.log")).unwrap();
        let mut command = within(namespace.as_deref(), "dockerd");
        command.args(options);
        command.arg("--data-root").arg(path("data"));
        command.arg("--exec-root").arg(path("exec")).arg("--pidfile").arg(path("pid"));
        command.arg("--host").arg(format!("unix://{}", path("docker.sock").display()));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let engine = Engine { daemon: command.spawn().unwrap(), namespace, folder };
        engine.wait("the Docker engine", Duration::from_secs(60), || {
            engine.command("docker").arg("info").output().unwrap().status.success().then_some(())
        });
        engine
    }

    /// A program in the engine's network that finds the engine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = within(self.namespace.as_deref(), program);
        command.env("DOCKER_HOST", format!("unix://{}", self.folder.path().join("docker.sock").display()));
        command
    }

    /// Compose: a part of the `docker` command, or its older, separate program.
    pub fn compose(&self) -> Command {
        let mut command = self.command("docker");
        if command.args(["compose", "version"]).output().unwrap().status.success() {
            let mut compose = self.command("docker");
            compose.arg("compose");
            return compose;
        }
        self.command("docker-compose")
    }

    /// What `docker` prints.
    pub fn docker(&self, arguments: &[&str]) -> String {
        succeed(self.command("docker").args(arguments))
    }

    /// Whether it knows capabilities by the names of Linux 5.8: Docker 20.10 of Debian 12 does not.
    pub fn knows_bpf(&self) -> bool {
        let version = self.docker(&["version", "--format", "{{.Server.Version}}"]);
        version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 23)
    }

    /// The body of an answer to GET, asked inside the engine's network; none if nothing answers, or not with success.
    pub fn get(&self, address: SocketAddr, path: &str) -> Option<String> {
        let namespace = self.namespace.as_deref().expect("only an engine with networks of its own is asked");
        let namespace = std::fs::File::open(Path::new("/run/netns").join(namespace)).unwrap();
        let url = format!("http://{address}{path}");
        let asked = std::thread::spawn(move || {
            // SAFETY: the descriptor is open, and only this thread, which ends soon, changes its network.
            assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build();
            ureq::Agent::from(config).get(url).call().ok()?.body_mut().read_to_string().ok()
        });
        asked.join().unwrap()
    }

    /// Asks until there is an answer; a deadline fails the test with the engine's last lines.
    pub fn wait<T>(&self, what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            let log = || std::fs::read_to_string(self.folder.path().join("dockerd.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{what}: not within {patience:?}\n{}", log());
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let left = self.command("docker").args(["ps", "--all", "--quiet"]).output();
        let left = left.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        if !left.is_empty() {
            let _ = self.command("docker").args(["rm", "--force", "--volumes"]).args(left.split_whitespace()).output();
        }
        // SAFETY: the id is that of a child that has not been waited for. It stops its containers and containerd itself.
        unsafe { libc::kill(self.daemon.id() as i32, libc::SIGTERM) };
        let _ = self.daemon.wait();
        // It leaves this mount, of the network that containers of `--network host` have, and the folder could not be removed.
        let _ = Command::new("umount").arg(self.folder.path().join("exec/netns/default")).output();
        if let Some(namespace) = &self.namespace {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
        }
    }
}

/// Not `ip netns exec`, which mounts a /sys of its own, without the hierarchies of cgroups that an engine needs.
fn within(namespace: Option<&str>, program: &str) -> Command {
    let Some(namespace) = namespace else { return Command::new(program) };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
    command
}

/// What the command prints; a failure fails the test.
pub fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{}\n{}", text(&stdout), text(&stderr));
    text(&stdout)
}
