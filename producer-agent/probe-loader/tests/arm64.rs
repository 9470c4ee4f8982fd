//! What the probes would be told on arm64 is found in the BTF of Debian's arm64 kernel: registers, members, numbers and functions.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::HashMap;
use std::process::Command;

use headwater_probe_loader::{Machine, globals_for};

/// Magic number, version, flags, length of the header (Documentation/bpf/btf.rst).
const BTF_START: [u8; 8] = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0];

#[test]
fn registers_and_members_are_found_in_debians_kernel() {
    let image = std::fs::read(image_path()).unwrap();
    let starts = image.windows(BTF_START.len()).enumerate().filter(|(_, bytes)| *bytes == BTF_START);
    let globals = starts.map(|(at, _)| globals_for(&image[at..], Machine::Arm64)).find_map(Result::ok);
    let globals: HashMap<&str, u32> =
        globals.expect("no BTF in the image names all that is needed").into_iter().collect();
    println!("{globals:?}");
    // arch/arm64/include/asm/ptrace.h: 31 registers, sp, pc and pstate, then what the system call was.
    let registers = ["REGS_RESULT", "REGS_ARG2", "REGS_ARG3", "REGS_ARG1", "REGS_SYSCALL"].map(|name| globals[name]);
    assert_eq!(registers, [0, 8, 16, 34 * 8, 35 * 8]);
    assert_eq!(globals["RESULT_IS_ARG1"], 1);
    // include/net/sock.h: remote address, local address, hash, remote port, local port, family, state.
    let addresses = ["SKC_DADDR", "SKC_RCV_SADDR", "SKC_DPORT", "SKC_NUM", "SKC_FAMILY", "SKC_STATE"];
    assert_eq!(addresses.map(|name| globals[name]), [0, 4, 12, 14, 16, 18]);
    // include/linux/uio.h of 6.1.
    assert_eq!(["ITER_IOVEC", "ITER_UBUF"].map(|name| globals[name]), [0, 6]);
    let types = globals["ITER_TYPE"];
    assert!(types < globals["ITER_OFFSET"] && globals["ITER_OFFSET"] < globals["ITER_BUFFER"]);
    let sequences = ["TP_SND_UNA", "TP_SND_NXT", "TP_RCV_NXT", "TP_COPIED_SEQ", "TP_WRITE_SEQ"];
    assert!(sequences.iter().all(|name| globals[name] > 500), "they stand behind struct sock");
}

fn image_path() -> String {
    // `cargo xtask test` says where it is itself.
    let mut command = match std::env::var_os("XTASK") {
        Some(xtask) => Command::new(xtask),
        None => {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.arg("xtask");
            cargo
        }
    };
    let output = command.args(["guest", "arm64"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().last().unwrap().to_owned()
}
