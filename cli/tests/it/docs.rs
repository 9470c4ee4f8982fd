//! What the documentation shows can be typed: each command of a `console` block is run as it is written, or [`SHOWN`] says why not.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DOCUMENTS: [&str; 3] = ["README.md", "docs/kubernetes.md", "docs/operating.md"];

/// How it is known that a command works.
enum Run {
    /// Here, where nothing runs: this must be in what it prints.
    Here(&'static str),
    /// While `up --demo` runs (`up_demo.rs`): this must be in what it prints.
    Up(&'static str),
    /// The same with a command that goes on for ever: it is stopped after its first line.
    UpFirstLine(&'static str),
    /// By this test in this file.
    By(&'static str, &'static str),
    /// By this test in this file, with this difference.
    Nearly(&'static str, &'static str, &'static str),
    /// By no test, for this reason.
    Not(&'static str),
}
use Run::{By, Here, Nearly, Not, Up, UpFirstLine};

/// Every command that is shown: its document, its beginning, and what runs it.
const SHOWN: &[(&str, &str, Run)] = &[
    (
        "README.md",
        "cargo xtask up --demo",
        Not(
            "it builds everything and sets the machine up, as the run that this test is part of did; what it then starts is that of up_demo.rs",
        ),
    ),
    ("README.md", "cargo xtask test", Not("it runs this test")),
    ("README.md", "export PATH=", Here("")),
    ("README.md", "headwater map", Up("shop-orders")),
    ("README.md", "headwater tail requests", UpFirstLine("127.0.0.1:")),
    ("README.md", "headwater topics", Up("headwater.edges")),
    ("README.md", "headwater diff", Up("window")),
    ("README.md", "headwater incident", Up("shop-payments")),
    ("README.md", "headwater replay", Up("into again.*\n")),
    ("README.md", "headwater doctor", Up("OK        broker")),
    ("README.md", "source <(headwater completions bash)", Here("_headwater")),
    ("README.md", "headwater man", Here(".TH headwater")),
    (
        "docs/kubernetes.md",
        "kubectl apply -k k8s/overlays/dev",
        Nearly(
            "xtask/tests/kubernetes/dev.rs",
            "the_dev_overlay_alone_gives_the_map_of_the_sample",
            "it applies one over it, which keeps each agent to the cgroup of its node, and has the server validate strictly",
        ),
    ),
    ("docs/kubernetes.md", "helm template", By("k8s/tests/chart.rs", "what_the_documentation_shows_of_helm_works")),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A command as a document shows it.
#[derive(Debug, Clone)]
struct Shown {
    document: &'static str,
    line: String,
    /// Those of the same block that come before it.
    before: Vec<String>,
}

/// The commands of the `console` blocks.
fn shown() -> Vec<Shown> {
    let mut found = Vec::new();
    for document in DOCUMENTS {
        found.extend(shown_in(document, &fs::read_to_string(root().join(document)).unwrap()).unwrap());
    }
    found
}

fn shown_in(document: &'static str, text: &str) -> Result<Vec<Shown>, String> {
    let mut found = Vec::new();
    let mut block: Option<(&str, Vec<String>)> = None;
    for line in text.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(kind)) => block = Some((kind, Vec::new())),
            (Some(_), Some(_)) => block = None,
            (Some(("console", before)), None) => {
                // What a command prints would have to be compared with what it does print.
                let line =
                    line.strip_prefix("$ ").ok_or(format!("{document}: no command in a console block: {line}"))?;
                found.push(Shown { document, line: line.to_owned(), before: before.clone() });
                before.push(line.to_owned());
            }
            (Some((kind, _)), None) if ["", "sh", "bash", "shell"].contains(kind) => {
                return Err(format!(
                    "{document}: commands stand in `console` blocks, and this one is `{kind}`: {line}"
                ));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn entry(shown: &Shown) -> Option<&'static Run> {
    let names =
        |(document, command, _): &&(&str, &str, Run)| shown.document == *document && shown.line.starts_with(command);
    // `headwater man` is not what runs `headwater map`.
    SHOWN.iter().filter(names).max_by_key(|(_, command, _)| command.len()).map(|(.., run)| run)
}

#[test]
fn every_command_that_is_shown_is_run_or_says_why_not() {
    let shown = shown();
    let unknown: Vec<_> = shown.iter().filter(|shown| entry(shown).is_none()).collect();
    assert!(unknown.is_empty(), "these are in no line of SHOWN: {unknown:?}");
    for (document, command, run) in SHOWN {
        assert!(
            shown.iter().any(|shown| shown.document == *document && shown.line.starts_with(command)),
            "{document} shows no `{command}` any more"
        );
        match run {
            By(file, test) | Nearly(file, test, _) => {
                assert!(!matches!(run, Nearly(_, _, difference) if difference.is_empty()));
                let text = fs::read_to_string(root().join(file)).unwrap();
                assert!(text.contains(&format!("#[test]\nfn {test}()")), "{file} has no test {test}");
            }
            Not(reason) => assert!(!reason.is_empty()),
            Here(_) | Up(_) | UpFirstLine(_) => {}
        }
    }
    for shown in &shown {
        if let Some(Here(wanted)) = entry(shown) {
            // These print nothing: what they have made is looked at.
            let look = match shown.line.split(' ').next() {
                Some("source") => "\ncomplete -p headwater",
                Some("headwater") => "\ncat target/man/headwater.1",
                _ => "",
            };
            let printed = run(shown, look, Path::new("/nowhere"));
            assert!(printed.contains(wanted), "{}: no `{wanted}` in: {printed}", shown.line);
        }
    }
}

#[test]
fn what_nobody_runs_is_found() {
    let found =
        shown_in("README.md", "```console\n$ headwater\n$ headwater map  # why\n```\n```text\nno\n```\n").unwrap();
    assert_eq!(found[1].before, ["headwater"]);
    assert!(entry(&found[0]).is_none() && entry(&found[1]).is_some());
    assert!(shown_in("README.md", "```console\nprinted\n```\n").is_err());
    assert!(shown_in("README.md", "```sh\nheadwater\n```\n").is_err());
}

/// Runs what is shown of a running `up`, which tells of itself in `up_folder`.
pub fn run_what_is_shown_of_up(up_folder: &Path) {
    let mut count = BTreeSet::new();
    for shown in shown() {
        let (wanted, printed) = match entry(&shown) {
            Some(Up(wanted)) => (wanted, run(&shown, "", up_folder)),
            Some(UpFirstLine(wanted)) => (wanted, first_line(&shown, up_folder)),
            _ => continue,
        };
        assert!(printed.contains(wanted), "{}: no `{wanted}` in: {printed}", shown.line);
        assert!(!printed.contains("Computed 0 of"), "{printed}");
        count.insert(shown.line);
    }
    println!("what is shown works: {count:?}");
    assert!(count.len() >= 5);
}

/// In a shell in the root of the repository, behind the other lines of its block that only set something.
fn shell(shown: &Shown, look: &str, up_folder: &Path) -> Command {
    let set: String =
        shown.before.iter().filter(|line| line.starts_with("export ")).map(|line| format!("{line}\n")).collect();
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("{set}{}{look}", shown.line)])
        .current_dir(root())
        .env("HEADWATER_UP_FOLDER", up_folder);
    // The programs of this very build.
    let folder = Path::new(env!("CARGO_BIN_EXE_headwater")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.display())).stdin(Stdio::null());
    command
}

fn run(shown: &Shown, look: &str, up_folder: &Path) -> String {
    let output = shell(shown, look, up_folder).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{}` of {}: {}\n{errors}", shown.line, shown.document, output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn first_line(shown: &Shown, up_folder: &Path) -> String {
    let mut child = shell(shown, "", up_folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // Its test has a limit, should nothing ever come.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let _ = child.kill();
    let _ = child.wait();
    line
}
