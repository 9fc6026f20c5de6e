//! Register allocation: the machine's registers, and what the allocator is asked for.

use super::Width;
use super::code::{Code, GENERAL, LANES, MASKS};
use regalloc2::{
    Algorithm, MachineEnv, Output, PReg, PRegSet, RegAllocError, RegClass, RegallocOptions,
};

/// General registers that a function may change: rax, rcx, rdx, rsi, rdi, r8 to r11.
const FREE: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];
/// Those that it has to give back as they were: rbx, rbp, r12 to r15. rsp is no one's.
pub(super) const SAVED: [usize; 6] = [3, 5, 12, 13, 14, 15];

/// The registers of the calling convention and of a width.
fn machine(width: Width) -> MachineEnv {
    let set = |numbers: &[usize], class: RegClass| {
        let registers = numbers.iter().map(|number| PReg::new(*number, class));
        registers.fold(PRegSet::empty(), PRegSet::with)
    };
    let vectors: Vec<usize> = (0..width.registers()).collect();
    // k0 stands for all lanes where an instruction takes a mask.
    let masks: &[usize] = match width {
        Width::Ymm => &[],
        Width::Zmm => &[1, 2, 3, 4, 5, 6, 7],
    };
    let none = PRegSet::empty();
    MachineEnv {
        preferred_regs_by_class: [set(&FREE, GENERAL), set(&vectors, LANES), set(masks, MASKS)],
        non_preferred_regs_by_class: [set(&SAVED, GENERAL), none, none],
        scratch_by_class: [None; 3],
        fixed_stack_slots: Vec::new(),
    }
}

/// Registers for all operands, and the moves between them.
pub(super) fn allocate(code: &Code, width: Width) -> Result<Output, RegAllocError> {
    let options = RegallocOptions {
        verbose_log: false,
        validate_ssa: cfg!(debug_assertions),
        algorithm: Algorithm::Ion,
    };
    regalloc2::run(code, &machine(width), &options)
}
