//! What io_uring receives behind another call is not read from that call's buffer.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::Command;

use headwater_process::Launch;
use headwater_schemas::records::Side;
use headwater_system_tests::lab::{Lab, stop, wait_for};
use headwater_system_tests::topics;

const COUNT: usize = 50;

#[test]
fn what_completes_behind_another_call_is_not_read_from_its_buffer() {
    let lab = Lab::start().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oracle-uring"));
    command.arg(COUNT.to_string());
    let launch = Launch::new("oracle-uring", command, lab.folder.path().join("oracle-uring.log"));
    let mut program = launch.in_cgroup(lab.cgroup.path()).piping_stdin().piping_stdout().spawn().unwrap();
    assert_eq!(program.first_line().unwrap(), "ready");
    let mut agent = lab.agent().unwrap();
    program.take_stdin().unwrap().write_all(b"go\n").unwrap();
    let status = program.join().unwrap();
    assert!(status.success(), "{status}: {}", program.log_text());
    stop(&mut agent).unwrap();
    let last = || topics::agents(&lab.settings).unwrap().pop().unwrap();
    wait_for("the last heartbeat", || Ok(last().is_final)).unwrap();

    let requests = topics::requests(&lab.settings).unwrap();
    let paths = |side| {
        let mut paths: Vec<&str> =
            requests.iter().filter(|one| one.side == side).map(|one| one.path.as_str()).collect();
        paths.sort_unstable();
        paths
    };
    let right: Vec<String> = (0..COUNT).map(|n| format!("/right/{n:06}")).collect();
    println!("{}, {:?}, {:?}", last().capture_path, last().dropped, last().counters);
    assert_eq!(paths(Side::Client), right, "the client calls send and receive itself");
    match last().capture_path.as_str() {
        // The hook names the buffer, whoever gave it.
        "fexit" => assert_eq!(paths(Side::Server), right),
        // There is no call that names it, so that nothing is known of the request.
        _ => {
            let others: Vec<&str> = paths(Side::Server).into_iter().filter(|path| path.starts_with("/decoy")).collect();
            assert_eq!(others, [""; 0]);
            assert!(last().counters["probe_other_call"] >= COUNT as i64, "{:?}", last().counters);
        }
    }
}
