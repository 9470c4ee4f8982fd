//! Forks all children, on one thread that lasts, and prepares each between fork and exec.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

use crate::user::User;

/// What a child does before it becomes its program.
pub(crate) struct Preparation {
    /// The `cgroup.procs` of the cgroup to enter.
    pub cgroup: Option<File>,
    /// The user to become.
    pub user: Option<User>,
    /// Sent by the kernel when this process dies.
    pub death_signal: libc::c_int,
}

pub(crate) fn spawn(mut command: Command, preparation: Preparation) -> io::Result<Child> {
    let parent = std::process::id().cast_signed();
    // SAFETY: the closure makes system calls only, on values that were made before the fork; it neither allocates nor locks.
    unsafe { command.pre_exec(move || preparation.run(parent)) };
    on_lasting_thread(command)
}

impl Preparation {
    /// The order matters: the cgroup is entered with the caller's rights, and a change of user clears the death signal.
    fn run(&self, parent: libc::pid_t) -> io::Result<()> {
        // SAFETY: plain system calls on integers and on a descriptor that outlives them.
        unsafe {
            if let Some(procs) = &self.cgroup
                && libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1
            {
                return Err(io::Error::last_os_error());
            }
            if let Some(User { uid, gid }) = self.user {
                check(libc::setgroups(0, std::ptr::null()))?;
                check(libc::setgid(gid))?;
                check(libc::setuid(uid))?;
            }
            check(libc::prctl(libc::PR_SET_PDEATHSIG, self.death_signal))?;
            if libc::getppid() != parent {
                // A parent that died before the line above sends no signal any more.
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        Ok(())
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel sends the death signal when the *thread* that forked ends, so that must not be a test's or a task's thread, which
/// may end long before the process: one thread, kept for ever, forks all children.
fn on_lasting_thread(command: Command) -> io::Result<Child> {
    let gone = || io::Error::other("the thread that starts processes does not run");
    let (reply, answer) = mpsc::channel();
    start().send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

type Request = (Command, Sender<io::Result<Child>>);

/// Starts the thread if it does not run yet. It has the rights of whichever thread comes here first.
pub(crate) fn start() -> &'static Sender<Request> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        let fork_all = move || {
            for (mut command, reply) in requests {
                // The caller waits for the answer, so it can only be gone together with the process.
                let _ = reply.send(command.spawn());
            }
        };
        // If there is no such thread, nobody takes the requests, which the next lines tell.
        let _ = thread::Builder::new().name("spawner".to_owned()).spawn(fork_all);
        sender
    })
}
