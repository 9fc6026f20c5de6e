//! How much memory this process may still take: the least of what the machine has free and of what
//! its limits leave.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

/// Bytes that can still be taken, and what sets the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// The bytes.
    pub bytes: u64,
    /// What does not allow more.
    pub bound: Bound,
}

/// What bounds the memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The memory that the machine can give without swapping.
    Machine,
    /// The limit of a control group, as containers have it.
    ControlGroup,
    /// The limit of the address space (`ulimit -v`).
    AddressSpace,
    /// The limit of private writable memory (`ulimit -d`).
    Data,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Machine => "this machine's free memory",
            Bound::ControlGroup => "the memory limit of this control group",
            Bound::AddressSpace => "the limit of the address space (ulimit -v)",
            Bound::Data => "the limit of a process's data (ulimit -d)",
        })
    }
}

impl Available {
    /// Asks the system; `None` where it says nothing.
    pub fn now() -> Option<Available> {
        let bounds = [
            (machine(), Bound::Machine),
            (control_group(), Bound::ControlGroup),
            (left(Resource::As, 0), Bound::AddressSpace),
            (left(Resource::Data, 5), Bound::Data),
        ];
        let known = bounds.into_iter().filter_map(|(bytes, bound)| Some((bytes?, bound)));
        let (bytes, bound) = known.min_by_key(|(bytes, _)| *bytes)?;
        Some(Available { bytes, bound })
    }
}

/// Bytes that the machine can give without swapping.
fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What is left of a resource limit; `field` of `/proc/self/statm` counts the pages in use.
fn left(resource: Resource, field: usize) -> Option<u64> {
    let limit = getrlimit(resource).current?;
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(field)?.parse().ok()?;
    Some(limit.saturating_sub(pages.saturating_mul(page_size() as u64)))
}

/// Bytes that the tightest of this process's control groups has left (version 2, or the memory
/// controller of version 1).
fn control_group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let one = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let path = path.trim_start_matches('/');
        match controllers {
            "" => tightest(Path::new("/sys/fs/cgroup"), path, "memory.max", "memory.current"),
            list if list.split(',').any(|controller| controller == "memory") => tightest(
                Path::new("/sys/fs/cgroup/memory"),
                path,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            ),
            _ => None,
        }
    };
    groups.lines().filter_map(one).min()
}

/// The least that a group below `root`, or one above it, has left. A group without a limit says
/// `max`, which is no number. Inside of a container the group's own path need not be visible; its
/// root then stands for it.
fn tightest(root: &Path, group: &str, limit: &str, usage: &str) -> Option<u64> {
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let whole = root.join(group);
    let groups = whole.ancestors().take_while(|path| path.starts_with(root));
    let left =
        |path: &Path| Some(number(path.join(limit))?.saturating_sub(number(path.join(usage))?));
    groups.filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        let group = |path: &str, limit: &str, usage: &str| {
            fs::write(root.join(path).join("max"), limit).unwrap();
            fs::write(root.join(path).join("current"), usage).unwrap();
        };
        group("a/b", "max\n", "10\n");
        group("a", "1000\n", "400\n");
        assert_eq!(tightest(root, "a/b", "max", "current"), Some(600));
        group("a/b", "500\n", "600\n");
        assert_eq!(tightest(root, "a/b", "max", "current"), Some(0), "already above");
        assert_eq!(tightest(root, "c", "max", "current"), None, "the root has no limit");
        assert_eq!(tightest(root, "a/hidden", "max", "current"), Some(600));
    }

    #[test]
    fn this_machine_has_memory() {
        let available = Available::now().unwrap();
        assert!(available.bytes > 1 << 20, "{available:?}");
    }
}
