//! `cargo xtask guest`: runs a command on another kernel, on this machine's files, without KVM.
//!
//! In: a release of Debian's kernels and a command. Out: its output and its exit code. The guest is QEMU's emulation of two
//! processors, some ten times slower than the machine. It reads the machine's files and writes to its own memory only; ports of the
//! machine's loopback interface can be given to it. Bound: two processors, 3 GiB of memory, the time that is asked for.

mod forward;
mod image;
mod kernel;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::run;

pub use kernel::arm64_image;

/// Where QEMU's user network shows the machine's loopback interface.
const MACHINE: &str = "10.0.2.2";
const MEMORY_MIB: u32 = 3072;
/// What the guest's first process says at the end.
const EXIT_CODE: &str = "guest: exit code ";

#[derive(Args)]
pub struct Guest {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Fetch the kernel if it is not there, start it, run the command as root and end with its exit code
    Run {
        /// 6.1 or 6.12, as Debian 12 packages them
        #[arg(long, default_value = "6.1", value_parser = kernel::parse_release)]
        kernel: kernel::Release,
        #[arg(long, default_value_t = 1800)]
        limit_s: u64,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Fetch the arm64 kernel and print the path of its image
    Arm64,
    /// Inside of a guest: passes on what connects to these ports
    #[command(hide = true)]
    Forward { ports: Vec<u16> },
}

pub fn run(guest: Guest) -> Result<()> {
    match guest.action {
        Action::Run { kernel, limit_s, command } => {
            let code = run_in(kernel, Duration::from_secs(limit_s), &command)?;
            if code != 0 {
                bail!("`{}` ended with exit code {code} in the guest; what it said is above", command.join(" "));
            }
            Ok(())
        }
        Action::Arm64 => {
            println!("{}", arm64_image()?.display());
            Ok(())
        }
        Action::Forward { ports } => forward::serve(MACHINE, &ports),
    }
}

/// Runs a command in a guest; returns its exit code.
fn run_in(release: kernel::Release, limit: Duration, command: &[String]) -> Result<i32> {
    let program = "qemu-system-x86_64";
    if !run::is_installed(program) {
        bail!(
            "{program} is not installed: `cargo xtask setup` and `cargo xtask test --all` install it (Debian: qemu-system-x86)"
        );
    }
    let kernel = kernel::fetched(release)?;
    let folder = env::temp_dir().join(format!("headwater-guest-{}", std::process::id()));
    let _folder = Folder::make(folder.clone())?;
    let image = folder.join("image.cpio");
    image::write(&image, &kernel, &script(command)?)?;
    let child = start(program, &kernel, &image)?;
    follow(child, limit)
}

/// What the guest runs: the environment and the folder of this process, and the command.
fn script(command: &[String]) -> Result<String> {
    let mut script = String::new();
    for (name, value) in env::vars().filter(|(name, _)| is_passed_on(name)) {
        script += &format!("export {name}={}\n", quoted(&value));
    }
    script += &format!("cd {}\n", quoted(&env::current_dir()?.to_string_lossy()));
    let ports = shared_ports(env::vars());
    if !ports.is_empty() {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let xtask = run::this_program()?;
        script += &format!("{} guest forward {} &\n", quoted(&xtask.to_string_lossy()), ports.join(" "));
    }
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    Ok(script + &words.join(" ") + "\n")
}

/// Ports of this machine's loopback interface that tests are told of by variables (`test/kafka.rs`): they are reached under the same
/// addresses in the guest.
fn shared_ports(variables: impl Iterator<Item = (String, String)>) -> Vec<u16> {
    let addresses = variables.filter(|(name, _)| name.starts_with("TEST_")).map(|(_, address)| address);
    let ports = addresses.filter_map(|address| {
        let (_, behind) = address.rsplit_once("127.0.0.1:")?;
        behind.split('/').next()?.parse().ok()
    });
    ports.collect()
}

/// Names that a shell can export; what cargo and the terminal set is of no use there.
fn is_passed_on(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && name != "_" && name != "TERM"
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn start(program: &str, kernel: &kernel::Kernel, image: &Path) -> Result<Child> {
    let mut command = Command::new(program);
    command
        .args(["-nographic", "-no-reboot", "-smp", "2", "-cpu", "max", "-accel", "tcg,thread=multi", "-m"])
        .arg(format!("{MEMORY_MIB}M"))
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        // A kernel that panics ends the guest. Mitigations would make emulated system calls slower still.
        .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"])
        .args(["-virtfs", "local,path=/,mount_tag=machine,security_model=none,readonly=on,multidevs=remap"])
        .args(["-nic", "user,model=virtio-net-pci"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // SAFETY: prctl is a system call that is safe between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command.spawn().with_context(|| format!("start {program}"))
}

/// Shows what the guest says until it ends, or until its time is over.
fn follow(mut child: Child, limit: Duration) -> Result<i32> {
    let output = child.stdout.take().context("the guest has no output")?;
    let reader = thread::spawn(move || {
        let mut code = None;
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            println!("{line}");
            code = line.strip_prefix(EXIT_CODE).and_then(|code| code.parse().ok()).or(code);
        }
        code
    });
    let end = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!("the guest did not end in {limit:?} and was stopped");
        }
        thread::sleep(Duration::from_millis(100));
    }
    let code = reader.join().ok().flatten();
    code.context("the guest ended without an exit code: its kernel stopped, or it did not start; what it said is above")
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn make(path: PathBuf) -> Result<Folder> {
        std::fs::create_dir_all(&path).with_context(|| format!("make the folder {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_guest_as_they_are() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        let variables =
            [("TEST_REGISTRY", "http://127.0.0.1:8081/apis/v7"), ("TEST_KAFKA", "127.0.0.1:9092"), ("TEST_X", "1")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(shared_ports(variables.into_iter()), [8081, 9092]);
        assert!(is_passed_on("TEST_KAFKA") && !is_passed_on("BASH_FUNC_x%%"));
    }
}
