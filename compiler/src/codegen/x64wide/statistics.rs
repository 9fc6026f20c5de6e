//! What a kernel's code is made of: instructions, and what allocation added, by loop.

use std::fmt;

/// Instructions at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Instructions in all, those below among them.
    pub instructions: u32,
    /// Stores of a register to the stack.
    pub spills: u32,
    /// Loads of one from there.
    pub reloads: u32,
    /// Moves between registers.
    pub moves: u32,
}

/// The instructions of a kernel, by the loops around them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Those outside of all loops, those in one loop, in two, ...
    pub depths: Vec<Counts>,
    /// Those in loops without loops inside.
    pub inner: Counts,
    /// Bytes of instructions, and of the constants behind them.
    pub bytes: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { instructions, spills, reloads, moves } = self;
        write!(f, "{instructions} instructions, {spills} spills, {reloads} reloads, {moves} moves")
    }
}
