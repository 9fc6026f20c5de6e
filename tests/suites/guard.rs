//! The guards of test buffers: they are there, and they notice.

use std::sync::Arc;

use deepthin::verify::Case;
use deepthin::verify::guard::{GuardedBuffer, POISON, Placement};
use deepthin::verify::machine::Bench;
use deepthin_compiler::interp::kernel_code::interpreted;
use deepthin_compiler::vir::{Access, Affine, Builder, Elem, verify};
use deepthin_tests::faulty::Faulty;

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
        let mut front = GuardedBuffer::new(len, Placement::Front).unwrap();
        let first = front.as_mut_ptr().addr();
        assert!(readable(first) && !readable(first - 1));
        let mut back = GuardedBuffer::new(len, Placement::Back).unwrap();
        let end = back.as_mut_ptr().addr() + len;
        assert!(readable(end - 1) && !readable(end));
        assert!(back.bytes().iter().all(|byte| *byte == POISON));
        back.bytes_mut().fill(0);
        assert_eq!(back.stray_write(), None);
    }
}

/// A kernel of one store, and code that stores one byte elsewhere too.
fn stray(offset: isize) -> Result<(), String> {
    let mut b = Builder::new("k", 4);
    let out = b.buffer("out", 100, Access::Write);
    let zero = b.f32(0.0);
    b.store(zero, Elem::F32, out, Affine::constant(84));
    let kernel = Arc::new(verify(b.finish()).unwrap());
    let [code] = interpreted(std::slice::from_ref(&*kernel)).try_into().ok().unwrap();
    let mut bench = Bench::new(Arc::clone(&kernel), Faulty::stray(code, 0, offset));
    let placement = if offset < 0 { Placement::Back } else { Placement::Front };
    let case = Case { kernel, buffers: vec![vec![0; 100].into()], scalars: vec![] };
    let ran = bench.run(&case, placement).map(|_| ()).map_err(|error| error.to_string());
    // What one run left behind is not blamed on the next.
    let again = bench.run(&case, placement).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(ran, again);
    ran
}

#[test]
fn a_store_beside_a_buffer_is_noticed() {
    assert_eq!(stray(50), Ok(()));
    for offset in [-1, -7, 100, 103] {
        let message = format!("byte {offset} of `out` was written, which has 100");
        assert_eq!(stray(offset), Err(message));
    }
}
