//! Mapped memory: what becomes of a process whose file is cut, and of one that is merely sent the
//! signal; pages of 2 MiB.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::Duration;

use deepthin_runtime::mapping::{Mapping, exit_where_pages_are_lost};
use deepthin_runtime::memory::Region;
use deepthin_tests::alone;
use rustix::process::{Signal, getpid, kill_process};
use tempfile::TempDir;

const PAGE: usize = 4096;
/// The number of SIGBUS on Linux.
const SIGBUS: i32 = 7;

/// Four pages of a file, mapped; the file, to be cut.
fn mapped(folder: &TempDir, told: &str) -> (Region, File) {
    let path = folder.path().join("four-pages");
    fs::write(&path, [7; 4 * PAGE]).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mapping = Mapping::new(&file, &path, 4 * PAGE, told.to_owned()).unwrap();
    (Region::of_file(mapping, PAGE as u64, 3 * PAGE as u64).unwrap(), file)
}

/// Reads every byte.
fn sum(region: &mut Region) -> u64 {
    region.bytes().iter().map(|byte| u64::from(*byte)).sum()
}

fn last_page() {
    let folder = TempDir::new().unwrap();
    let (mut region, file) = mapped(&folder, "the last page is lost\n");
    exit_where_pages_are_lost(74).unwrap();
    // Another that is still there, and one that is gone: neither is taken for the one that is cut.
    let (_other, _) = mapped(&TempDir::new().unwrap(), "another is lost\n");
    drop(mapped(&TempDir::new().unwrap(), "one that is gone is lost\n"));
    assert_eq!(sum(&mut region), 7 * 3 * PAGE as u64);
    file.set_len(3 * PAGE as u64).unwrap();
    panic!("read {}", sum(&mut region));
}

fn two_threads() {
    let folder = TempDir::new().unwrap();
    let mut regions = [(); 2].map(|()| mapped(&folder, "lost once\n"));
    exit_where_pages_are_lost(74).unwrap();
    regions.iter().for_each(|(_, file)| file.set_len(0).unwrap());
    thread::scope(|scope| {
        let readers = regions.each_mut().map(|(region, _)| scope.spawn(|| sum(region)));
        panic!("read {:?}", readers.map(|reader| reader.join()));
    });
}

fn unasked() {
    let folder = TempDir::new().unwrap();
    let (mut region, file) = mapped(&folder, "nobody asked\n");
    file.set_len(0).unwrap();
    panic!("read {}", sum(&mut region));
}

fn sent() {
    let folder = TempDir::new().unwrap();
    let (mut region, _file) = mapped(&folder, "nothing is lost\n");
    exit_where_pages_are_lost(74).unwrap();
    kill_process(getpid(), Signal::BUS).unwrap();
    // Another thread may get it.
    thread::sleep(Duration::from_secs(60));
    panic!("read {}", sum(&mut region));
}

/// Runs a part of this suite in a process of its own.
fn run(role: &str) -> Output {
    alone::run("mapping::lost_pages_end_the_process_as_it_asked", role)
}

#[test]
fn lost_pages_end_the_process_as_it_asked() {
    match alone::role().as_deref() {
        Some("last page") => last_page(),
        Some("two threads") => two_threads(),
        Some("unasked") => unasked(),
        Some("sent") => sent(),
        _ => {}
    }
    for (role, told) in [("last page", "the last page is lost\n"), ("two threads", "lost once\n")] {
        let ended = run(role);
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), &*stderr), (Some(74), told), "{role}");
    }
    for role in ["unasked", "sent"] {
        let ended = run(role);
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.signal(), &*stderr), (Some(SIGBUS), ""), "{role}");
    }
}

#[test]
fn regions_of_files_lie_in_them() {
    let folder = TempDir::new().unwrap();
    let region = |offset, bytes| {
        let path = folder.path().join("page");
        fs::write(&path, [3; PAGE]).unwrap();
        let file = File::open(&path).unwrap();
        let mapping = Mapping::new(&file, &path, PAGE, String::new()).unwrap();
        Region::of_file(mapping, offset, bytes)
    };
    let whole = PAGE as u64;
    for (offset, bytes) in [(0, whole), (64, whole - 64), (whole - 64, 64), (whole, 0)] {
        let mut region = region(offset, bytes).unwrap();
        assert_eq!(sum(&mut region), 3 * bytes);
        assert!(region.is_file() && region.len() as u64 == bytes);
        assert!(region.bytes_mut().is_empty(), "nothing of a file is written");
    }
    for (offset, bytes) in [(0, whole + 1), (64, whole), (32, 64), (whole + 64, 0), (64, u64::MAX)]
    {
        assert!(region(offset, bytes).is_none(), "{offset}, {bytes}");
    }
}

/// The flags that `/proc/self/smaps` has for the mapping in which an address lies.
fn flags_of(address: usize) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut holds = false;
    for line in text.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let ends = range.map(|(from, to)| [from, to].map(|end| usize::from_str_radix(end, 16)));
        match (ends, line.strip_prefix("VmFlags: ")) {
            (Some([Ok(from), Ok(to)]), _) => holds = (from..to).contains(&address),
            (_, Some(flags)) if holds => {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    panic!("no mapping of {address:#x} in\n{text}");
}

#[test]
fn large_pages_are_asked_for_by_regions_that_are_read_whole() {
    const LARGE: usize = 2 << 20;
    for bytes in [1, LARGE - 1, LARGE, 3 * LARGE + 5] {
        let mut region = Region::in_large_pages("a test", bytes as u64).unwrap();
        let address = region.as_ptr() as usize;
        assert!(address.is_multiple_of(LARGE) && region.len() >= bytes);
        region.bytes_mut().fill(1);
        assert_eq!(sum(&mut region), region.len() as u64);
        // A system without large pages knows no such flag.
        let knows = Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        for place in [address, address + bytes - 1] {
            let asks = flags_of(place).iter().any(|flag| flag == "hg");
            assert_eq!(asks, knows && bytes >= LARGE, "{bytes} bytes, at {place:#x}");
        }
        let small = Region::new("a test", bytes as u64).unwrap();
        assert!(!flags_of(small.as_ptr() as usize).contains(&"hg".to_owned()));
    }
}
