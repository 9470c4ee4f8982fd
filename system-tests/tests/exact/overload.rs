//! More arrives than the agent can take: it is stopped and continued by turns, so that its ring buffer is full all the time. Its walks,
//! watermarks and heartbeats come in their turn all the same, the watermarks no later than what is before them, and it ends when it is
//! told to.
#![allow(clippy::unwrap_used)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headwater_process::Launch;
use headwater_system_tests::lab::{Lab, wait_for};
use headwater_system_tests::program::ours;
use headwater_system_tests::topics;

const CONNECTIONS: u64 = 24;

/// The agent runs for the first of each two times: that is for a thirtieth. With a tenth it keeps up with this load on a fast machine.
const RUNS: Duration = Duration::from_millis(5);
const STOPS: Duration = Duration::from_millis(145);

/// What the end of an agent may take that runs so little: its last drain, its last walk, names and delivery.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn an_agent_that_is_overloaded_does_its_duties_and_stops() {
    let lab = Lab::start().unwrap();
    let (_server, address) = lab.hyper(env!("CARGO_BIN_EXE_oracle-server")).unwrap();
    let mut command = ours("headwater-agent").unwrap();
    command
        .args(["--kafka-brokers", &lab.settings.brokers, "--registry-url", &lab.settings.registry_url])
        .args(["--kafka-prefix", &lab.settings.prefix, "--node-name", "overloaded", "--flows-interval-ms", "2000"])
        // Added up, the load would not fill the ring buffer.
        .args(["--stop-flush-ms", "30000", "--capture-sums", "off", "--capture-shed", "detail"])
        .args(["--capture-cgroup", &lab.cgroup.path().to_string_lossy(), "--capture-ring-bytes", "8388608"]);
    let mut agent = Launch::new("agent", command, lab.folder.path().join("agent.log")).spawn().unwrap();
    wait_for("the agent's heartbeat", || Ok(topics::agents(&lab.settings).is_ok_and(|all| !all.is_empty()))).unwrap();
    let mut client = lab.steady(env!("CARGO_BIN_EXE_oracle-steady"), address, "hyper", CONNECTIONS).unwrap();
    let throttled = Throttled::open(agent.pid()).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for (signal, time) in [(libc::SIGCONT, RUNS), (libc::SIGSTOP, STOPS)] {
                    throttled.signal(signal);
                    std::thread::sleep(time);
                }
            }
        });
        // Whatever fails in between, the agent must not stay stopped.
        let _over = Over(&is_over);
        let last = || topics::agents(&lab.settings).unwrap().pop().unwrap();
        let lost = |agent: &headwater_schemas::records::Agent| agent.counters["probe_ring_full_data"];
        wait_for("a full ring buffer", || Ok(lost(&last()) > 0)).unwrap();
        let overloaded_from = last();
        wait_for("the third heartbeat under overload", || Ok(last().sequence >= overloaded_from.sequence + 3)).unwrap();
        let newest = last();
        println!("lost {} and then {}: {:?}", lost(&overloaded_from), lost(&newest), newest.dropped);
        assert!(lost(&newest) > lost(&overloaded_from), "it was not overloaded all the time: the test proves nothing");
        // What was lost was told by watermarks, and walks came.
        assert!(
            newest.dropped["requests/ring_full"]
                > overloaded_from.dropped.get("requests/ring_full").copied().unwrap_or(0)
        );
        assert!(newest.captured["flows"] >= overloaded_from.captured["flows"] + 2 * CONNECTIONS as i64);

        let began = Instant::now();
        agent.terminate();
        assert!(!agent.wait(ENDS_WITHIN), "it goes on after SIGTERM: {}", agent.log_text());
        println!("it ended after {:?}", began.elapsed());
    });
    assert!(topics::agents(&lab.settings).unwrap().pop().unwrap().is_final);
    client.go().unwrap();
    client.finish().unwrap();
}

/// A process, which this keeps apart from a later one of the same number.
struct Throttled(OwnedFd);

impl Throttled {
    fn open(pid: u32) -> std::io::Result<Throttled> {
        // SAFETY: plain integers; the result is a descriptor that is nobody else's, or negative.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: see above.
        Ok(Throttled(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// It may have ended.
    fn signal(&self, signal: i32) {
        // SAFETY: a descriptor that lives, plain integers and no further information about the signal.
        unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, std::ptr::null::<libc::c_void>(), 0)
        };
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
