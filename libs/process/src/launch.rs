//! What to run, where its output goes, and how it ends.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::child::{Child, Ending};
use crate::error::ProcessError;
use crate::spawner::{self, Preparation};
use crate::user::User;

/// A program to start as a child. Its input is empty and its output is appended to a log, unless they are piped.
#[derive(Debug)]
pub struct Launch {
    name: String,
    command: Command,
    output: PathBuf,
    log: PathBuf,
    pipes_stdin: bool,
    pipes_stdout: bool,
    ending: Ending,
    cgroup: Option<PathBuf>,
    user: Option<User>,
    log_owner: Option<User>,
}

impl Launch {
    /// `name` is for messages. What the command says of input, output and process group is replaced.
    pub fn new(name: impl Into<String>, command: Command, log: impl Into<PathBuf>) -> Launch {
        let log = log.into();
        let ending = Ending { signal: libc::SIGTERM, is_soft: false };
        Launch {
            name: name.into(),
            command,
            output: log.clone(),
            log,
            pipes_stdin: false,
            pipes_stdout: false,
            ending,
            cgroup: None,
            user: None,
            log_owner: None,
        }
    }

    /// Messages quote this file, which the program writes by itself, and not its output.
    pub fn quoting(self, log: impl Into<PathBuf>) -> Launch {
        Launch { log: log.into(), ..self }
    }

    /// Its input is [`Child::take_stdin`].
    pub fn piping_stdin(self) -> Launch {
        Launch { pipes_stdin: true, ..self }
    }

    /// Its standard output is [`Child::take_stdout`]; only its errors go to the log.
    pub fn piping_stdout(self) -> Launch {
        Launch { pipes_stdout: true, ..self }
    }

    /// The signal that asks it to stop, if it is not SIGTERM.
    pub fn stopped_by(mut self, signal: libc::c_int) -> Launch {
        self.ending.signal = signal;
        self
    }

    /// When nobody stops it, it is not killed but asked to stop: by the kernel when this process dies, and when it is dropped. For
    /// programs that end children of their own (nginx, PostgreSQL) or have something to deliver, and that do listen.
    pub fn ending_softly(mut self) -> Launch {
        self.ending.is_soft = true;
        self
    }

    /// It is in this cgroup before its first instruction.
    pub fn in_cgroup(self, cgroup: &Path) -> Launch {
        Launch { cgroup: Some(cgroup.to_owned()), ..self }
    }

    /// It runs as this user, and in no group but his.
    pub fn as_user(self, user: User) -> Launch {
        Launch { user: Some(user), ..self }
    }

    /// The file of its output is in a folder of this user's, who could put a link there: it is opened with his rights.
    pub fn logging_as(self, owner: User) -> Launch {
        Launch { log_owner: Some(owner), ..self }
    }

    /// More arguments, behind those that it has.
    pub fn with_args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Launch {
        self.command.args(args);
        self
    }

    /// Starts it, from whatever thread.
    pub fn spawn(mut self) -> Result<Child, ProcessError> {
        let opening = || {
            let path = self.output.clone();
            |source| ProcessError::Log { path, source }
        };
        let open = || File::options().create(true).append(true).open(&self.output);
        let opened = match self.log_owner {
            Some(owner) => owner.act(open).flatten(),
            None => open(),
        };
        let errors = opened.map_err(opening())?;
        let output = match self.pipes_stdout {
            true => Stdio::piped(),
            false => errors.try_clone().map_err(opening())?.into(),
        };
        let input = if self.pipes_stdin { Stdio::piped() } else { Stdio::null() };
        // A group of its own: Ctrl-C in a terminal reaches only us, and we stop the children in their order.
        self.command.stdin(input).stdout(output).stderr(errors).process_group(0);
        let cgroup = self.cgroup.as_ref().map(|cgroup| {
            let procs = cgroup.join("cgroup.procs");
            let opening = ProcessError::io(format!("open {}", procs.display()));
            File::options().write(true).open(procs).map_err(opening)
        });
        let death_signal = if self.ending.is_soft { self.ending.signal } else { libc::SIGKILL };
        let preparation = Preparation { cgroup: cgroup.transpose()?, user: self.user, death_signal };
        let program = PathBuf::from(self.command.get_program());
        match spawner::spawn(self.command, preparation) {
            Ok(process) => Ok(Child::new(self.name, process, self.log, self.ending)),
            Err(source) => Err(ProcessError::Start { name: self.name, program, source }),
        }
    }
}

/// The same program once more, for a later start. What a command cannot be asked for is lost: a cleared environment.
impl Clone for Launch {
    fn clone(&self) -> Launch {
        let mut command = Command::new(self.command.get_program());
        command.args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command.get_current_dir().map(|dir| command.current_dir(dir));
        Launch {
            name: self.name.clone(),
            command,
            output: self.output.clone(),
            log: self.log.clone(),
            pipes_stdin: self.pipes_stdin,
            pipes_stdout: self.pipes_stdout,
            ending: self.ending,
            cgroup: self.cgroup.clone(),
            user: self.user,
            log_owner: self.log_owner,
        }
    }
}
