//! The guards of test buffers: they are there, and they notice.

use deepthin_tests::guard::{GuardedBuffer, POISON, Placement};

/// Whether the page of an address is mapped for reading, by the system's own list.
fn readable(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|end| usize::from_str_radix(end, 16).unwrap());
        (from..to).contains(&address) && rest.starts_with('r')
    })
}

#[test]
fn guarded_buffers_touch_a_guard_page() {
    for len in [1, 63, 4096, 5000] {
        let mut front = GuardedBuffer::new(len, Placement::Front);
        let first = front.as_mut_ptr().addr();
        assert!(readable(first) && !readable(first - 1));
        let mut back = GuardedBuffer::new(len, Placement::Back);
        let end = back.as_mut_ptr().addr() + len;
        assert!(readable(end - 1) && !readable(end));
        assert!(back.bytes().iter().all(|byte| *byte == POISON));
        back.bytes_mut().fill(0);
        back.assert_surroundings();
    }
}

#[test]
fn guarded_buffers_notice_a_stray_write() {
    let mut buffer = GuardedBuffer::new(100, Placement::Front);
    let behind = buffer.as_mut_ptr().addr() + 100;
    assert!(readable(behind), "the rest of the page is there to be checked");
    assert_eq!(buffer.stray_writes(), None);
    buffer.disturb(103);
    assert_eq!(buffer.stray_writes(), Some(103));
}
