//! The memory that an engine takes: what a process with it alone would have had at most.
//!
//! The system tells how much of a process's memory is resident, and the most that ever was; the
//! latter can be set back. So each engine's peak is counted from what was there before it, and
//! several engines in one process have a figure each.

use std::fs;

/// The file that sets the peak back, and what is written to it.
const RESET: (&str, &str) = ("/proc/self/clear_refs", "5");

/// Resident bytes of this process: now, and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Resident {
    now: u64,
    peak: u64,
}

/// What a part of the work took: at most, and in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// The most, above what was there before.
    pub peak: u64,
    /// What is left, above what was there before.
    pub left: u64,
}

/// Counts the memory of parts of the work that run one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    before: Option<Resident>,
}

impl Meter {
    /// Starts to count.
    pub fn start() -> Meter {
        // Where it cannot be set back the peak may be an older one; `stop` sees that.
        let reset = fs::write(RESET.0, RESET.1).is_ok();
        let now = resident();
        Meter { before: now.filter(|now| reset || now.peak <= now.now + (now.now >> 4)) }
    }

    /// What was taken since; `None` where the system does not tell.
    pub fn stop(self) -> Option<Took> {
        let (before, after) = (self.before?, resident()?);
        let above = |bytes: u64| bytes.saturating_sub(before.now);
        Some(Took { peak: above(after.peak), left: above(after.now) })
    }
}

/// The most that a process of `program` bytes would have had, had it made the engine and then the
/// session and run that.
pub fn peak(program: u64, engine: Took, session: Took) -> u64 {
    program.saturating_add(engine.peak.max(engine.left.saturating_add(session.peak)))
}

/// Resident bytes of this process, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    Some(resident()?.now)
}

fn resident() -> Option<Resident> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(Resident { now: kilobytes(&status, "VmRSS:")?, peak: kilobytes(&status, "VmHWM:")? })
}

/// Bytes of a line `KEY number kB`.
fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_peak_is_in_its_making_or_in_its_running() {
        let engine = Took { peak: 100, left: 60 };
        assert_eq!(peak(7, engine, Took { peak: 30, left: 20 }), 107);
        assert_eq!(peak(7, engine, Took { peak: 50, left: 20 }), 117);
    }

    #[test]
    fn lines_of_the_system_are_read() {
        let status = "Name:\tx\nVmHWM:\t   20 kB\nVmRSS:\t    5 kB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(5120));
        assert_eq!(kilobytes(status, "VmHWM:"), Some(20480));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
        assert_eq!(kilobytes("VmRSS: many kB", "VmRSS:"), None);
    }
}
