//! What the system says of the machine: the processor's name, its cores and caches, large pages.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Where the system describes its processors.
pub(super) const PROCESSORS: &str = "/sys/devices/system/cpu";

/// The machine as the system describes it; what it does not say is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct System {
    /// The processor's name.
    pub processor: Option<String>,
    /// Logical processors that run.
    pub online: Option<usize>,
    /// Those that this process may use.
    pub usable: Vec<usize>,
    /// Logical processors that share a core.
    pub threads_per_core: Option<usize>,
    /// Data caches of the first usable one, from the nearest on.
    pub caches: Vec<Cache>,
    /// Who gets large pages: `always` all memory, `madvise` that which asks, as that of weights
    /// does, `never` none.
    pub large_pages: Option<String>,
}

/// A cache that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// 1 is the nearest.
    pub level: u32,
    /// Its size.
    pub bytes: u64,
    /// Bytes of a line.
    pub line: u32,
    /// Logical processors that share it.
    pub shared_by: usize,
}

impl System {
    /// Asks the system.
    pub fn read() -> System {
        let usable = usable();
        let first = usable.first().copied().unwrap_or(0);
        let all = Path::new(PROCESSORS);
        let one = all.join(format!("cpu{first}"));
        let list = |path: &Path| Some(members(&text(path)?).len()).filter(|count| *count > 0);
        System {
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            online: list(&all.join("online")),
            threads_per_core: list(&one.join("topology/thread_siblings_list")),
            caches: caches(&one.join("cache")),
            usable,
            large_pages: text(Path::new("/sys/kernel/mm/transparent_hugepage/enabled"))
                .and_then(|text| chosen(&text)),
        }
    }
}

/// The word in brackets of `always [madvise] never`.
fn chosen(words: &str) -> Option<String> {
    let (_, rest) = words.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// The logical processors that this process may use.
pub(super) fn usable() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// The name of the first processor in `/proc/cpuinfo`; aarch64 has none there.
fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The folders of a processor's caches: `index0`, `index1`, ..
pub(super) fn indices(folder: &Path) -> impl Iterator<Item = PathBuf> {
    (0..16).map(|index| folder.join(format!("index{index}")))
}

/// The data caches in a folder of `index0`, `index1`, ..
fn caches(folder: &Path) -> Vec<Cache> {
    let mut caches: Vec<Cache> = indices(folder).filter_map(|index| cache(&index)).collect();
    caches.sort_by_key(|cache| cache.level);
    caches
}

/// One cache, if it holds data and says how much.
fn cache(folder: &Path) -> Option<Cache> {
    let file = |name: &str| text(&folder.join(name));
    if file("type")? == "Instruction" {
        return None;
    }
    Some(Cache {
        level: file("level")?.parse().ok()?,
        bytes: size(&file("size")?)?,
        line: file("coherency_line_size").and_then(|line| line.parse().ok()).unwrap_or(64),
        shared_by: file("shared_cpu_list").map_or(1, |list| members(&list).len().max(1)),
    })
}

/// A file of one line.
pub(super) fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// `32K`, `1M` or a number of bytes.
fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (text.strip_suffix('K')?, 10),
        b'M' => (text.strip_suffix('M')?, 20),
        b'G' => (text.strip_suffix('G')?, 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << unit).filter(|bytes| *bytes > 0)
}

/// Most numbers that a list may name: no machine has more processors.
const MOST: usize = 1 << 16;

/// The numbers of a list such as `0-3,8`; what is no list is empty.
pub(super) fn members(list: &str) -> Vec<usize> {
    let range = |part: &str| -> Option<(usize, usize)> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
    };
    let ranges = list.split(',').filter_map(range).filter(|(_, last)| *last < MOST);
    ranges.flat_map(|(first, last)| first..=last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lists_are_read() {
        let sizes = ["32K", "1024K", "2M", "1G", "96", "0K", "K", "", "12Q"].map(size);
        let kib = |n: u64| Some(n << 10);
        let expected = [kib(32), kib(1024), kib(2048), kib(1 << 20), Some(96)];
        assert_eq!(sizes[..5], expected);
        assert_eq!(sizes[5..], [None; 4]);
        assert_eq!(members("0-2,8, 10-11"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(members("x,3-1,0-99999999999"), [0; 0]);
        let choices = ["always [madvise] never", "[always] madvise never", "always", "[always"];
        let chosen = choices.map(chosen);
        assert_eq!(
            chosen.each_ref().map(Option::as_deref),
            [Some("madvise"), Some("always"), None, None]
        );
    }

    #[test]
    fn caches_are_those_that_hold_data() {
        let folder = tempfile::tempdir().unwrap();
        let index = |i: u32, files: &[(&str, &str)]| {
            let index = folder.path().join(format!("index{i}"));
            fs::create_dir(&index).unwrap();
            files.iter().for_each(|(name, text)| fs::write(index.join(name), text).unwrap());
        };
        index(0, &[("level", "2\n"), ("type", "Unified\n"), ("size", "1M\n")]);
        index(1, &[("level", "1\n"), ("type", "Instruction\n"), ("size", "32K\n")]);
        let line = ("coherency_line_size", "128\n");
        let shared = ("shared_cpu_list", "0,4\n");
        index(2, &[("level", "1\n"), ("type", "Data\n"), ("size", "48K\n"), line, shared]);
        index(3, &[("level", "3\n"), ("type", "Unified\n")]); // of no size
        let nearest = Cache { level: 1, bytes: 48 << 10, line: 128, shared_by: 2 };
        let second = Cache { level: 2, bytes: 1 << 20, line: 64, shared_by: 1 };
        assert_eq!(caches(folder.path()), [nearest, second]);
        assert_eq!(caches(&folder.path().join("none")), []);
    }

    #[test]
    fn the_processor_has_the_name_of_the_first() {
        let text = "processor\t: 0\nmodel name\t: Some CPU: 3 GHz\nmodel name : other\n";
        assert_eq!(processor(text).as_deref(), Some("Some CPU: 3 GHz"));
        assert_eq!(processor("processor : 0\n"), None);
    }

    #[test]
    fn this_process_may_use_something() {
        assert!(!System::read().usable.is_empty());
    }
}
