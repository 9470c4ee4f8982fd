//! Starts the shop's programs: in its cgroup, as an unprivileged user where asked, and never outliving the shop.
//!
//! In: what to run ([`Launch`]). Out: the child process, its output appended to a log file.
//! Promise: the child is in the cgroup before its first instruction of its own, and gets its stop signal from the
//! kernel when this process dies, however it dies. Bound: one thread.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use crate::programs::User;

/// One program to run.
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Its working directory, which it can enter as the user that it runs as.
    pub dir: PathBuf,
    pub log: PathBuf,
    /// Runs as this user if set, else as the caller.
    pub user: Option<User>,
    pub stop_signal: libc::c_int,
}

/// The one thread that forks all children.
///
/// The kernel's parent-death signal belongs to the thread that forked, not to the process: a child that was started
/// from a short-lived thread would be stopped when that thread ends. So a thread of its own forks, and lives as long.
pub struct Spawner {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    cgroup_procs: PathBuf,
}

struct Job {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

impl Spawner {
    pub fn new(cgroup_procs: PathBuf) -> Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let thread = thread::Builder::new()
            .name("demo-spawner".to_owned())
            .spawn(move || {
                for mut job in inbox {
                    // The asker waits for the reply; if it is gone, nobody is left to tell.
                    let _ = job.reply.send(job.command.spawn());
                }
            })
            .context("starting the thread that starts the programs")?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), cgroup_procs })
    }

    pub fn spawn(&self, launch: &Launch) -> Result<Child> {
        let command = self.command(launch)?;
        let (reply, answer) = mpsc::channel();
        let jobs = self.jobs.as_ref().context("the thread that starts programs has ended")?;
        jobs.send(Job { command, reply }).ok().context("the thread that starts programs has ended")?;
        let child = answer.recv().context("the thread that starts programs has ended")?;
        child.with_context(|| format!("starting {}", launch.program.display()))
    }

    fn command(&self, launch: &Launch) -> Result<Command> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&launch.log)
            .with_context(|| format!("opening the log {}", launch.log.display()))?;
        let cgroup_procs = OpenOptions::new()
            .write(true)
            .open(&self.cgroup_procs)
            .with_context(|| format!("opening {}", self.cgroup_procs.display()))?;
        let mut command = Command::new(&launch.program);
        command
            .args(&launch.args)
            .current_dir(&launch.dir)
            .stdin(Stdio::null())
            .stderr(log.try_clone().context("sharing the log between the two outputs")?)
            .stdout(log)
            // A group of its own: Ctrl-C reaches only the parent, which then stops all parts in their order.
            .process_group(0);
        let (user, stop_signal, parent) = (launch.user.clone(), launch.stop_signal, std::process::id());
        // SAFETY: between fork and exec only system calls are made, on values that were prepared before the fork.
        unsafe { command.pre_exec(move || prepare_child(&cgroup_procs, user.as_ref(), stop_signal, parent)) };
        Ok(command)
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The thread only loops over jobs; there is nothing to report if it panicked.
            let _ = thread.join();
        }
    }
}

/// Runs in the child between fork and exec, so it must not allocate or lock.
/// The order matters: the cgroup is entered with the caller's rights, and a change of user clears the death signal.
fn prepare_child(cgroup_procs: &File, user: Option<&User>, stop_signal: libc::c_int, parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls on a descriptor and integers that outlive them.
    unsafe {
        if libc::write(cgroup_procs.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1 {
            return Err(io::Error::last_os_error());
        }
        if let Some(user) = user {
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setgid(user.gid))?;
            check(libc::setuid(user.uid))?;
        }
        check(libc::prctl(libc::PR_SET_PDEATHSIG, stop_signal))?;
        if libc::getppid() != parent as libc::pid_t {
            // The parent died before the line above took effect.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
