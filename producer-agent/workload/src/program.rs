//! What tells one program from another: never the name of a thread, and not the interpreter where a script is known.
//!
//! In: the executable's file name, the arguments and the environment as the kernel keeps them, possibly cut. Out: a name. The order:
//! `OTEL_SERVICE_NAME`, the title that some servers give themselves, the script or jar of an interpreter, the executable. Pure;
//! nothing of an argument or the environment leaves but the part that names the program.

use crate::clean;

/// What is known of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process<'a> {
    /// File name of the executable, without its folders; empty if unknown.
    pub executable: &'a [u8],
    /// Arguments, each ended by a zero.
    pub arguments: &'a [u8],
    /// Variables, each ended by a zero.
    pub environment: &'a [u8],
    /// The name of the first thread. Programs change it, so it only confirms what the file was called by, and serves as the last resort
    /// for what has no executable.
    pub first_thread: &'a [u8],
}

/// Options of interpreters whose value is the next argument.
const PYTHON_VALUES: [&str; 3] = ["-X", "-W", "--check-hash-based-pycs"];
const NODE_VALUES: [&str; 7] = ["-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--env-file"];
const JAVA_VALUES: [&str; 9] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
];
const RUBY_VALUES: [&str; 4] = ["-I", "-r", "-C", "-E"];

/// Servers that run an application which they are told by name.
const GUNICORN: &str = "gunicorn";
const APPLICATION_SERVERS: [&str; 6] = ["daphne", "granian", "gunicorn", "hypercorn", "uvicorn", "waitress-serve"];

/// Daemons of the units in which others' programs run: they are the unit themselves.
const SESSION_DAEMONS: [&str; 11] = [
    "agetty",
    "anacron",
    "atd",
    "cron",
    "crond",
    "dropbear",
    "login",
    "sshd",
    "sshd-auth",
    "sshd-session",
    "sftp-server",
];

/// Whether a program is the daemon of a unit that starts what others ask for, such as `sshd` or `cron`.
pub fn is_session_daemon(executable: &[u8]) -> bool {
    SESSION_DAEMONS.iter().any(|daemon| daemon.as_bytes() == executable)
}

/// The name; `None` if nothing at all is known.
pub fn name(process: &Process<'_>) -> Option<String> {
    let arguments = words(process.arguments);
    let executable = lossy(process.executable.strip_suffix(b" (deleted)").unwrap_or(process.executable));
    let named = service_name(process.environment)
        .or_else(|| title(arguments.first().map(String::as_str).unwrap_or_default()))
        .or_else(|| script(&executable, &arguments));
    if let Some(name) = named.as_deref().and_then(clean) {
        return Some(name);
    }
    let first_thread = lossy(process.first_thread);
    // A title has more words, and nginx puts a colon behind its name.
    let called = arguments.first().and_then(|argument| argument.split(' ').next()).unwrap_or_default();
    let called = base_name(called.trim_end_matches(':').trim_start_matches('-'));
    // A file with many programs in it, or a link to one with another name: what it was called by counts if the kernel says the same.
    let is_confirmed = !called.is_empty() && cut(called) == first_thread;
    if is_confirmed || matches!(executable.as_str(), "busybox" | "toybox") && !called.is_empty() {
        return clean(called);
    }
    clean(&executable).or_else(|| clean(called)).or_else(|| clean(&first_thread))
}

/// The service's name as OpenTelemetry is told it.
fn service_name(environment: &[u8]) -> Option<String> {
    // The last part may have been cut.
    let whole = environment.iter().rposition(|&byte| byte == 0).map(|end| &environment[..end])?;
    let variable = |name: &str| {
        whole.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    let own = variable("OTEL_SERVICE_NAME").map(lossy).filter(|name| !name.trim().is_empty());
    own.or_else(|| {
        let attributes = lossy(variable("OTEL_RESOURCE_ATTRIBUTES")?);
        let value = attributes.split(',').find_map(|pair| pair.trim().strip_prefix("service.name="))?;
        (!value.trim().is_empty()).then(|| value.to_owned())
    })
}

/// `gunicorn: worker [shop]` and the like are written over the arguments by the program itself.
fn title(first: &str) -> Option<String> {
    let rest = first.strip_prefix("gunicorn: ")?;
    let (_, name) = rest.strip_suffix(']')?.split_once('[')?;
    Some(name.to_owned())
}

/// What an interpreter runs.
fn script(executable: &str, arguments: &[String]) -> Option<String> {
    let interpreter = executable.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    let rest = arguments.get(1..)?;
    match interpreter {
        "python" | "pypy" => python(rest),
        "java" => java(rest),
        "node" | "nodejs" | "bun" => first_file(rest, &NODE_VALUES, &["-e", "--eval", "-p", "--print"]),
        "deno" => first_file(rest.get(1..)?, &[], &[]),
        "ruby" | "jruby" => first_file(rest, &RUBY_VALUES, &["-e"]),
        "perl" | "php" => first_file(rest, &["-I", "-S", "-c", "-d", "-t"], &["-e", "-E", "-r"]),
        "sh" | "bash" | "dash" | "ash" | "ksh" | "zsh" => first_file(rest, &["-o", "-O"], &["-c"]),
        "dotnet" => {
            let file = rest.iter().find(|argument| argument.ends_with(".dll"))?;
            Some(base_name(file).to_owned())
        }
        _ => None,
    }
}

fn python(arguments: &[String]) -> Option<String> {
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        if argument == "-m" {
            return application(rest.next()?, rest.collect());
        }
        if argument == "-c" || argument == "-" {
            return None;
        }
        if PYTHON_VALUES.contains(&argument) {
            rest.next();
        } else if !argument.starts_with('-') {
            return application(base_name(argument), rest.collect());
        }
    }
    None
}

/// A script, or, if it is a server for applications, what it was told to serve.
fn application(script: &str, arguments: Vec<&str>) -> Option<String> {
    if !APPLICATION_SERVERS.contains(&script) {
        return Some(script.to_owned());
    }
    let named = script == GUNICORN;
    let mut rest = arguments.iter();
    let mut served = None;
    while let Some(argument) = rest.next() {
        if named && matches!(*argument, "-n" | "--name") {
            return rest.next().map(|name| (*name).to_owned());
        }
        if named && let Some(name) = argument.strip_prefix("--name=") {
            return Some(name.to_owned());
        }
        // `module:application` or `package.module`; values of options look otherwise, addresses have digits behind the colon.
        let is_application = argument.split_once(':').is_some_and(|(module, object)| {
            !module.is_empty() && object.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        });
        if served.is_none() && is_application && !argument.starts_with('-') && !argument.contains('/') {
            served = Some((*argument).to_owned());
        }
    }
    served.or_else(|| Some(script.to_owned()))
}

fn java(arguments: &[String]) -> Option<String> {
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        if argument == "-jar" {
            return rest.next().map(|jar| base_name(jar).to_owned());
        }
        if argument == "-m" || argument == "--module" {
            return rest.next().map(|module| module.split('/').next_back().unwrap_or(module).to_owned());
        }
        if JAVA_VALUES.contains(&argument) {
            rest.next();
        } else if !argument.starts_with('-') && !argument.starts_with('@') {
            if argument.ends_with(".java") {
                return Some(base_name(argument).to_owned());
            }
            // A class: its package is long and the same for many.
            return argument.rsplit('.').next().map(str::to_owned);
        }
    }
    None
}

/// The first argument that is no option. `code` are options that hold the program itself, which then has no file.
fn first_file(arguments: &[String], values: &[&str], code: &[&str]) -> Option<String> {
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        if code.contains(&argument) || argument == "-" {
            return None;
        }
        if values.contains(&argument) {
            rest.next();
        } else if !argument.starts_with('-') {
            return Some(base_name(argument).to_owned());
        }
    }
    None
}

fn words(bytes: &[u8]) -> Vec<String> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if end == 0 { Vec::new() } else { bytes[..end].split(|&byte| byte == 0).map(lossy).collect() }
}

fn lossy(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A name as the kernel keeps it for a thread (TASK_COMM_LEN less the zero).
fn cut(name: &str) -> &str {
    let mut end = name.len().min(15);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}
