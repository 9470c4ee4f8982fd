//! `cargo xtask test`: everything that CI runs.
//!
//! Format first, which takes seconds; then one build of everything; then all tests side by side, as far as they allow it,
//! with the checks of the sources in what time they leave. A failure stops nothing: the run ends with all that failed.
//! Nothing is skipped quietly: a test that lacks the kernel or Kafka fails, an ignored one too, and what only `--all` runs
//! is named. Every test of the workspace is found by asking the executables.

mod classes;
mod job;
mod kafka;
mod programs;
mod report;
mod runner;
mod schedule;

use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, bail};

use self::classes::{Class, Work, rule_of};
use self::job::{Job, Turn};
use self::kafka::SharedKafka;
use self::programs::Case;
use self::report::{Report, Stage};
use crate::needs::Purpose;
use crate::run;
use crate::setup;

/// Checks of the sources that run beside the tests.
const CHECK_LIMIT: Duration = Duration::from_secs(40 * 60);
/// The programs in `tests` folders that `--quick` builds: those that compute only.
const PURE_PROGRAMS: &[&str] = &["choice", "http1", "redis", "contract", "settings", "exact"];

pub struct Options {
    pub yes: bool,
    /// Also what is too slow for each run.
    pub all: bool,
    /// Format, lints, and the tests that need neither root nor Kafka.
    pub quick: bool,
    /// Tests whose id contains this.
    pub only: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let mut stages = Vec::new();
    let mut stage = |name, work: &mut dyn FnMut() -> Result<bool>| -> Result<bool> {
        println!("\n=== {name}");
        let begun = Instant::now();
        let is_good = work()?;
        stages.push(Stage { name, time: begun.elapsed(), is_good });
        Ok(is_good)
    };
    if !options.quick && !run::is_root() {
        let path = env::var("PATH").unwrap_or_default();
        bail!(
            "the tests load programs into the kernel and make network namespaces, so they need root: run `sudo env PATH={path} cargo xtask test`, or `cargo xtask test --quick` without root"
        );
    }
    let purposes = match (options.quick, options.all) {
        (true, _) => &[Purpose::Build][..],
        (_, false) => Purpose::EACH_RUN,
        (_, true) => Purpose::ALL,
    };
    stage("set-up", &mut || setup::ensure(purposes, options.yes).map(|()| true))?;
    stage("format", &mut || Ok(format_is_good()))?;
    let mut programs = Vec::new();
    stage("build", &mut || {
        let (built, is_good) = if options.quick { programs::build_quick(PURE_PROGRAMS) } else { programs::build() }?;
        programs = built;
        Ok(is_good)
    })?;

    let logs = run::root().join("target/test-logs");
    if options.only.is_none() {
        // Each failed test leaves the logs of its Kafka there. The folder may not be there yet.
        let _ = fs::remove_dir_all(&logs);
    }
    fs::create_dir_all(&logs).with_context(|| format!("make the folder {}", logs.display()))?;
    let mut cases = Vec::new();
    for program in &programs {
        cases.extend(programs::cases(program)?);
    }
    let plan = plan(cases, options);
    let needs_kafka = plan.jobs.iter().any(|job| !matches!(job.turn, Turn::Background | Turn::Test(Class::Pure)));
    let kafka = needs_kafka.then(|| SharedKafka::start(&logs.join("shared-kafka"))).transpose()?;
    println!("\n=== {} tests and checks; the output of each is in {}", plan.jobs.len(), logs.display());
    let done = runner::run_all(plan.jobs, &logs, kafka)?;

    let report = Report { stages, done, total: started.elapsed(), left_out: plan.left_out };
    println!("\n{}", report.text());
    if !report.is_good() {
        bail!("something failed; `cargo xtask test --only NAME` repeats the tests whose name contains NAME");
    }
    Ok(())
}

/// What a run consists of.
#[derive(Default)]
struct Plan {
    jobs: Vec<Job>,
    left_out: Vec<String>,
}

fn plan(cases: Vec<Case>, options: &Options) -> Plan {
    let mut plan = Plan::default();
    let cargo = run::cargo();
    if options.only.is_none() {
        let lints = [&cargo, "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        plan.jobs.push(Job::background("lints", &lints, CHECK_LIMIT));
        // For the host: the lints are the same, and the library of the machine in the kernel need not be built.
        let probes = [&cargo, "clippy", "--manifest-path", "kernel-probes/Cargo.toml", "--", "-D", "warnings"];
        plan.jobs.push(Job::background("lints of the probes", &probes, CHECK_LIMIT));
        if !options.quick {
            let docs = [&cargo, "doc", "--workspace", "--no-deps", "--keep-going"];
            let mut docs = Job::background("documentation", &docs, CHECK_LIMIT);
            docs.variables.push(("RUSTDOCFLAGS".to_owned(), "-D warnings".to_owned()));
            plan.jobs.push(docs);
        }
    }
    extras(&mut plan, &cases, options);
    for case in cases {
        let rule = rule_of(&case.id, case.is_unit);
        if options.only.as_ref().is_some_and(|only| !case.id.contains(only)) {
            continue;
        }
        if options.quick && rule.class != Class::Pure {
            continue;
        }
        if rule.slow && !options.all {
            plan.left_out.push(case.id);
            continue;
        }
        let mate = plan.jobs.iter_mut().find(|job| rule.together && job.id == rule.prefix);
        match mate {
            Some(job) => job.line.push(case.name),
            None => plan.jobs.push(test_job(case, &rule)),
        }
    }
    plan
}

/// Adds what only `--all` runs, or says that it is left out.
fn extras(plan: &mut Plan, cases: &[Case], options: &Options) {
    if options.quick {
        return;
    }
    for extra in classes::EXTRAS {
        if !options.all {
            plan.left_out.push(extra.name.to_owned());
            continue;
        }
        if options.only.as_ref().is_some_and(|only| !extra.name.contains(only)) {
            continue;
        }
        let mut job = match extra.work {
            Work::Command(line) => Job::background(extra.name, line, extra.limit),
            Work::Again(id) => match cases.iter().find(|case| case.id == id) {
                Some(case) => test_job(case.clone(), &rule_of(id, case.is_unit)),
                // A name that is no test's any more must not go unnoticed.
                None => Job::background(extra.name, &["false"], extra.limit),
            },
            Work::InGuest(kernel, id) => match cases.iter().find(|case| case.id == id) {
                Some(case) => guest_job(kernel, test_job(case.clone(), &rule_of(id, case.is_unit)), extra.limit),
                None => Job::background(extra.name, &["false"], extra.limit),
            },
        };
        (job.id, job.step) = (extra.name.to_owned(), "what only --all runs".to_owned());
        (job.turn, job.limit) = (Turn::Test(extra.class), extra.limit);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        job.variables.extend(extra.variables.iter().map(owned));
        plan.jobs.push(job);
    }
}

/// The same job on another kernel.
fn guest_job(kernel: &str, job: Job, limit: Duration) -> Job {
    // The guest is ended before the job is, so that it says why.
    let limit_s = limit.as_secs().saturating_sub(30).to_string();
    let xtask = this_program();
    let guest = [&xtask, "guest", "run", "--kernel", kernel, "--limit-s", &limit_s, "--"];
    let line = guest.iter().map(|&word| word.to_owned()).chain(job.line).collect();
    Job { line, ..job }
}

fn this_program() -> String {
    run::this_program().map_or_else(|_| "cargo-xtask".to_owned(), |path| path.to_string_lossy().into_owned())
}

fn test_job(case: Case, rule: &classes::Rule) -> Job {
    let package = case.id.split("::").next().unwrap_or_default();
    let executable = case.executable.to_string_lossy();
    // An ignored test is run as if it failed: its source says that it is not run, which nobody would see.
    let line: Vec<&str> = match case.is_ignored {
        false => vec![&executable, "--nocapture", "--test-threads=1", "--exact", &case.name],
        true => vec!["sh", "-c", "echo 'This test is ignored in its source: run it or remove it.'; exit 1"],
    };
    Job {
        step: format!("tests of {package}"),
        id: if rule.together { rule.prefix.to_owned() } else { case.id.clone() },
        turn: Turn::Test(rule.class),
        line: line.into_iter().map(str::to_owned).collect(),
        variables: vec![
            ("CARGO_MANIFEST_DIR".to_owned(), case.folder.to_string_lossy().into_owned()),
            ("CARGO".to_owned(), run::cargo()),
            // Another `cargo xtask` would wait for the checks that build beside the tests.
            ("XTASK".to_owned(), this_program()),
        ],
        folder: case.folder,
        typical_s: rule.typical_s,
        limit: rule.limit,
    }
}

fn format_is_good() -> bool {
    let cargo = run::cargo();
    let all = run::checked(&[&cargo, "fmt", "--all", "--check"]);
    let probes = run::checked(&[&cargo, "fmt", "--manifest-path", "kernel-probes/Cargo.toml", "--check"]);
    all.and(probes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: &str) -> Case {
        Case {
            id: id.to_owned(),
            name: id.rsplit("::").next().unwrap_or_default().to_owned(),
            is_unit: false,
            is_ignored: false,
            executable: "/t/x".into(),
            folder: "/w".into(),
        }
    }

    fn options(all: bool, quick: bool, only: Option<&str>) -> Options {
        Options { yes: true, all, quick, only: only.map(str::to_owned) }
    }

    fn ids(cases: &[&str], options: &Options) -> Vec<String> {
        plan(cases.iter().map(|id| case(id)).collect(), options).jobs.into_iter().map(|job| job.id).collect()
    }

    #[test]
    fn quick_takes_what_computes_and_only_takes_what_is_named() {
        let cases = ["protocols::http1::a", "kafka::real_kafka::b"];
        let all = ["lints", "lints of the probes", "documentation", "protocols::http1::a", "kafka::real_kafka::b"];
        assert_eq!(ids(&cases, &options(false, false, None)), all);
        assert_eq!(ids(&cases, &options(false, true, None)), ["lints", "lints of the probes", "protocols::http1::a"]);
        assert_eq!(ids(&cases, &options(false, false, Some("real_kafka"))), ["kafka::real_kafka::b"]);
    }

    #[test]
    fn tests_that_share_something_dear_run_in_one_process() {
        let rule = classes::RULES.iter().find(|rule| rule.together).map_or("", |rule| rule.prefix);
        let cases = [format!("{rule}one"), format!("{rule}two")];
        let plan = plan(cases.iter().map(|id| case(id)).collect(), &options(false, false, None));
        let job = plan.jobs.iter().find(|job| job.id == rule);
        assert!(job.is_some_and(|job| job.line.ends_with(&["one".to_owned(), "two".to_owned()])), "{rule}");
    }

    #[test]
    fn what_only_all_runs_is_named_by_a_plain_run() {
        let plain = plan(Vec::new(), &options(false, false, None));
        assert!(plain.left_out.iter().any(|name| name.contains("fuzzing")), "{:?}", plain.left_out);
        let all = plan(Vec::new(), &options(true, false, None));
        assert!(all.left_out.is_empty());
        let chaos = all.jobs.iter().find(|job| job.id == "chaos with seed 11");
        assert!(chaos.is_some_and(|job| job.line == ["false"]), "a test that is not there any more fails");
    }

    #[test]
    fn a_test_on_another_kernel_is_the_same_test_in_a_guest() {
        let job = guest_job("6.1", test_job(case("x::y::z"), &rule_of("x::y::z", false)), Duration::from_secs(90));
        let line = job.line.join(" ");
        assert!(line.contains(" guest run --kernel 6.1 --limit-s 60 -- /t/x --nocapture"), "{line}");
    }

    #[test]
    fn an_ignored_test_fails() {
        let job = test_job(Case { is_ignored: true, ..case("x::y::z") }, &rule_of("x::y::z", false));
        assert!(job.line.concat().contains("exit 1"));
    }
}
