//! Summaries of machine code: how many instructions, which, and how many go to the stack.
//!
//! A listing changes with every register that is chosen otherwise; its summary changes when code
//! is selected otherwise, when something is spilled, or when a loop gets longer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use deepthin_compiler::codegen::Backend;
use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::codegen::target::{Isa, Target};
use deepthin_compiler::vir::Verified;

/// One line for each instruction set with its least processor: `aarch64: 31 instructions, ..`; or
/// where `processors` are named, one for each of them: `alderlake: 31 instructions, ..`.
///
/// # Errors
/// A processor that there is not, and a kernel that a back end refuses.
pub fn summaries(kernel: &Verified, processors: &[&str]) -> Result<Vec<String>, String> {
    let least = Isa::ALL.map(|isa| {
        let name = isa.triple().split('-').next().unwrap_or_default();
        (name, Target::of(isa, None).ok())
    });
    let named = processors
        .iter()
        .map(|name| (*name, Isa::ALL.into_iter().find_map(|isa| Target::of(isa, Some(name)).ok())));
    let targets: Vec<_> = if processors.is_empty() { least.to_vec() } else { named.collect() };
    let of = |(name, target): (&str, Option<Target>)| {
        let target = target.ok_or_else(|| format!("there is no processor `{name}`"))?;
        let listing = Clif::new(&target).and_then(|clif| clif.listing(kernel));
        let listing = listing.map_err(|error| error.to_string())?;
        Ok(format!("{name}: {}", summary(&listing.asm)))
    };
    targets.into_iter().map(of).collect()
}

/// Counts of a listing: all instructions, those that move something to or from the stack for want
/// of a register, and each mnemonic. Blocks, comments and notes for the unwinder are left out.
fn summary(listing: &str) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut instructions, mut stack) = (0, 0);
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        let Some(mnemonic) = words.next() else { continue };
        let is_code = line.starts_with(' ') && !["unwind", "uninit"].contains(&mnemonic);
        if !is_code {
            continue;
        }
        instructions += 1;
        // How Cranelift writes a slot for a spilled value, on x86-64 and on aarch64.
        stack += u32::from(line.contains("<offset:1>") || line.contains("[sp, #"));
        *counts.entry(mnemonic).or_default() += 1;
    }
    let mut text = format!("{instructions} instructions, {stack} with the stack");
    for (mnemonic, count) in counts {
        let _ = write!(text, ", {mnemonic} {count}");
    }
    text
}
