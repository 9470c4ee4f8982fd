//! Tables of inputs and what must come out of them.
#![allow(clippy::unwrap_used)]

use headwater_workload::path::{Container, Enclosure, Place, Spot};
use headwater_workload::program::{self, Process};
use proptest::prelude::*;

const I: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const J: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const P: &str = "9f1c1f5e-70a5-4f0b-8a3e-5d7d2f4c6b1a";

/// Rows of a table, without comments, as columns.
fn rows(text: &'static str) -> Vec<Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split('\t').collect()).collect()
}

/// A place in the words of the table.
fn words(place: &Place) -> String {
    let container = |container: &Container| {
        let letter = match container.id.as_str() {
            I => "I",
            J => "J",
            "" => "-",
            other => other,
        };
        let pod = container.pod_uid.as_deref().map(|uid| format!("pod {} ", if uid == P { "P" } else { uid }));
        format!("{}container {letter}", pod.unwrap_or_default())
    };
    let mut parts: Vec<String> = place
        .within
        .iter()
        .map(|enclosure| match enclosure {
            Enclosure::Container(inner) => container(inner),
            Enclosure::Guest(name) => format!("guest {name}"),
        })
        .collect();
    parts.push(match &place.spot {
        Spot::Plain => "plain".into(),
        Spot::Unit(name) => format!("unit {name}"),
        Spot::Session(name) => format!("session {name}"),
        Spot::Container(inner) => container(inner),
        Spot::Machine(name) => format!("machine {name}"),
    });
    let owner = place.owner.map(|owner| format!(", owner {owner}")).unwrap_or_default();
    parts.join(" > ") + &owner
}

/// Puts ids in the place of single letters that stand alone between other characters of a path.
fn expand(path: &str) -> String {
    path.replace("podP", &format!("pod{P}"))
        .replace("podQ", &format!("pod{}", P.replace('-', "_")))
        .split_inclusive(['/', '-', '.', ':'])
        .map(|part| match part.trim_end_matches(['/', '-', '.', ':']) {
            "I" => part.replacen('I', I, 1),
            "J" => part.replacen('J', J, 1),
            _ => part.to_owned(),
        })
        .collect()
}

#[test]
fn paths_of_cgroups_say_what_the_table_says() {
    let rows = rows(include_str!("paths.tsv"));
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let said = words(&Place::of_path(&expand(row[0])));
            (said != row[1]).then(|| format!("{}: {said} instead of {}", row[0], row[1]))
        })
        .collect();
    assert!(wrong.is_empty() && rows.len() > 50, "{} rows\n{}", rows.len(), wrong.join("\n"));
}

#[test]
fn programs_are_named_as_the_table_says() {
    let rows = rows(include_str!("programs.tsv"));
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let zeroed = |text: &str| -> Vec<u8> {
                let words = text.split(' ').filter(|word| !word.is_empty());
                words.flat_map(|word| [word.replace('␣', " ").into_bytes(), vec![0]].concat()).collect()
            };
            let (arguments, environment) = (zeroed(row[1]), zeroed(row[2]));
            let process = Process {
                executable: row[0].as_bytes(),
                arguments: &arguments,
                environment: &environment,
                first_thread: row.get(4).unwrap_or(&"MainThread").as_bytes(),
            };
            let name = program::name(&process);
            (name.as_deref() != Some(row[3])).then(|| format!("{row:?}: {name:?}"))
        })
        .collect();
    assert!(wrong.is_empty() && rows.len() > 40, "{} rows\n{}", rows.len(), wrong.join("\n"));
}

#[test]
fn of_several_hierarchies_the_one_that_says_something_is_read() {
    let container = Spot::Container(Container { id: I.into(), pod_uid: None });
    for cgroups in [
        format!("0::/system.slice/docker-{I}.scope\n"),
        format!("4:pids:/docker/{I}\n1:name=systemd:/docker/{I}\n0::/\n"),
        format!("4:pids:/docker/{I}\n0::/init.scope\n"),
        format!("3:memory:/docker/{I}\n1:name=systemd:/\n0::/\n"),
    ] {
        assert_eq!(Place::of_process(&cgroups).spot, container, "{cgroups}");
    }
    let both = "4:pids:/x\n1:name=systemd:/system.slice/nginx.service\n0::/\n";
    assert_eq!(Place::of_process(both).spot, Spot::Unit("nginx".into()));
    assert_eq!(Place::of_process(""), Place::default());
    assert_eq!(Place::of_process("nonsense"), Place::default());
}

#[test]
fn a_kernel_thread_is_called_by_its_own_name() {
    let process = Process { first_thread: b"kworker/0:1\0\0", ..Process::default() };
    assert_eq!(program::name(&process).as_deref(), Some("kworker/0:1"));
    assert_eq!(program::name(&Process::default()), None);
}

proptest! {
    /// Nobody can make a directory above his own: what is around a place never depends on the names below it.
    #[test]
    fn a_directory_below_a_users_slice_carries_the_user(inner in "[a-z0-9./_@-]{0,80}") {
        let forged = format!("/user.slice/user-1000.slice/user@1000.service/{inner}");
        prop_assert_eq!(Place::of_path(&forged).owner, Some(1000));
        let forged = format!("/system.slice/shop.service/{inner}");
        prop_assert_eq!(Place::of_path(&forged).spot, Spot::Unit("shop".into()));
    }

    #[test]
    fn any_bytes_have_a_bounded_name(executable: Vec<u8>, arguments: Vec<u8>, environment: Vec<u8>) {
        let process =
            Process { executable: &executable, arguments: &arguments, environment: &environment, first_thread: b"" };
        if let Some(name) = program::name(&process) {
            prop_assert!(!name.is_empty() && name.chars().count() <= headwater_workload::NAME_CHARS_MAX);
            prop_assert!(!name.chars().any(char::is_control));
        }
    }
}
