//! Summaries of machine code: how many instructions, which, and how many go to the stack.
//!
//! A listing changes with every register that is chosen otherwise; its summary changes when code
//! is selected otherwise, when something is spilled, or when a loop gets longer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::codegen::target::{Isa, Target};
use deepthin_compiler::codegen::{Backend, CodegenError};
use deepthin_compiler::vir::Verified;

/// One line for each instruction set with its least processor: `aarch64: 31 instructions, ..`.
///
/// # Errors
/// A kernel that a back end refuses.
pub fn summaries(kernel: &Verified) -> Result<Vec<String>, CodegenError> {
    let targets = Isa::ALL.map(|isa| Target::of(isa, None));
    let of = |target: Target| {
        let listing = Clif::new(&target)?.listing(kernel)?;
        let isa = target.triple().split('-').next().unwrap_or_default();
        Ok(format!("{isa}: {}", summary(&listing.asm)))
    };
    targets.into_iter().map(|target| of(target.expect("each has a least processor"))).collect()
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
