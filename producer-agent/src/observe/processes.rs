//! What happened to processes, as records.
//!
//! In: events of the probes, which have bounded how many there are of each cgroup. Out: one [`Process`] for each.

use headwater_probe_loader::types::life::{LifeEvent, exit_code, signal, what};
use headwater_schemas::records::{Process, ProcessKind};

use super::connection::address;
use super::{Observer, Output};

impl Observer {
    /// Something happened to a process.
    pub(super) fn life(&mut self, event: &LifeEvent, out: &mut impl FnMut(Output<'_>)) {
        let owner = self.owners.living(event);
        let kind = kind(event.what);
        let ended = matches!(kind, ProcessKind::Exit | ProcessKind::OomKill).then_some(event.status);
        let by_signal = ended.map(signal).filter(|signal| *signal != 0);
        let by_itself = ended.filter(|_| by_signal.is_none()).map(exit_code);
        let listens = matches!(kind, ProcessKind::Listen | ProcessKind::ListenEnd | ProcessKind::Listening);
        let local = listens.then(|| address(event.family, event.local_address).to_string());
        let executable = if event.executable[0] == 0 { &event.program[..] } else { &event.executable[..] };
        let executable = String::from_utf8_lossy(text(executable));
        let process = Process {
            kind,
            observed_at_us: self.shared.clock.epoch_us(event.at_ns),
            node: &self.shared.options.node,
            cluster: "",
            namespace: "",
            workload_kind: "",
            workload: "",
            pod: "",
            container: "",
            pid: event.pid.cast_signed(),
            executable_name: &executable,
            process_start_ns: event.process_started_ns.cast_signed(),
            lived_us: (event.lived_ns / 1000).cast_signed(),
            exit_code: by_itself.map(u32::cast_signed),
            signal: by_signal.map(u32::cast_signed),
            local_address: local.as_deref(),
            local_port: listens.then_some(event.local_port.into()),
        };
        out(Output::Process(process, &owner));
    }
}

fn kind(what: u32) -> ProcessKind {
    match what {
        what::EXEC => ProcessKind::Exec,
        what::EXIT => ProcessKind::Exit,
        what::OOM_KILL => ProcessKind::OomKill,
        what::LISTEN => ProcessKind::Listen,
        what::LISTEN_END => ProcessKind::ListenEnd,
        what::LISTENING => ProcessKind::Listening,
        _ => ProcessKind::Unknown,
    }
}

/// Up to the zero at its end.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_their_zero() {
        assert_eq!(text(b"nginx\0rest\0"), b"nginx");
        assert_eq!((text(b"\0"), text(b"whole")), (&b""[..], &b"whole"[..]));
    }

    #[test]
    fn each_event_of_the_probes_has_a_kind() {
        let kinds = (0..=7).map(kind).filter(|kind| *kind != ProcessKind::Unknown).count();
        assert_eq!((kinds, kind(0), kind(7)), (6, ProcessKind::Unknown, ProcessKind::Unknown));
    }
}
