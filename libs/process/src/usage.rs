//! What a process costs, as the kernel counts it.

use std::time::Duration;
use std::{fs, io};

use crate::error::ProcessError;

/// Processor time of all threads of a process so far, in user and kernel mode.
pub fn cpu_time(pid: u32) -> Result<Duration, ProcessError> {
    let path = format!("/proc/{pid}/stat");
    let text = read(&path)?;
    // The program's name, in parentheses, may hold spaces.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    let (Some(user), Some(system)) = (ticks(11), ticks(12)) else { return Err(not_understood(&path)) };
    // SAFETY: sysconf has no preconditions.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Ok(Duration::from_secs_f64((user + system) as f64 / per_second))
}

/// Memory that a process has now.
pub fn rss_bytes(pid: u32) -> Result<u64, ProcessError> {
    bytes_of(pid, "VmRSS:")
}

/// What of it is the process's own data: heaps and stacks, neither its program nor what it shares with the kernel.
pub fn anonymous_bytes(pid: u32) -> Result<u64, ProcessError> {
    bytes_of(pid, "RssAnon:")
}

/// A line of the process's status (proc_pid_status(5)).
fn bytes_of(pid: u32, name: &str) -> Result<u64, ProcessError> {
    let path = format!("/proc/{pid}/status");
    let text = read(&path)?;
    let kib = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| not_understood(&path))? * 1024)
}

fn read(path: &str) -> Result<String, ProcessError> {
    fs::read_to_string(path).map_err(ProcessError::io(format!("read {path}")))
}

fn not_understood(path: &str) -> ProcessError {
    ProcessError::Io { doing: format!("read {path}"), source: io::Error::from(io::ErrorKind::InvalidData) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn our_own_time_and_memory_are_counted() {
        let own = std::process::id();
        let before = cpu_time(own).unwrap();
        let mut sum = 0_u64;
        while cpu_time(own).unwrap() < before + Duration::from_millis(50) {
            sum = (0..1_000_000).fold(sum, |sum, number| sum.wrapping_mul(31).wrapping_add(number));
        }
        assert!(sum != 1);
        let before = rss_bytes(own).unwrap();
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(rss_bytes(own).unwrap() >= before + (60 << 20), "{} bytes of vector", memory.len());
        assert!(cpu_time(u32::MAX).unwrap_err().to_string().contains("/proc/4294967295/stat"));
    }
}
