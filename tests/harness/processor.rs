//! What this machine's processor can do, as the system tells it: what the project's own look at it
//! is held against.

use std::collections::BTreeSet;
use std::fs;

/// Flags of `/proc/cpuinfo` that a back end needs, or that kernels use where they are there.
const NEEDED: [(&str, &[&str]); 4] = [
    ("clif128", &[]),
    ("avx2", &["avx2", "fma", "f16c"]),
    ("avx512", &["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"]),
    ("avx2 without dot products", &["avx2", "fma", "f16c", "avx_vnni"]),
];

/// Names of the engines of machine code that this processor can run ([`crate::jit::machines`]).
///
/// # Panics
/// Where the system does not say.
pub fn engines() -> Vec<&'static str> {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_else(|error| panic!("{error}"));
    let lines = text.lines().filter(|line| line.starts_with("flags"));
    let flags: BTreeSet<&str> = lines.flat_map(str::split_whitespace).collect();
    let can = |needed: &[&str]| needed.iter().all(|flag| flags.contains(flag));
    NEEDED.iter().filter(|(_, needed)| can(needed)).map(|(name, _)| *name).collect()
}
