//! Where jumps lead, and which jumps there are at all.
//!
//! Blocks lie in the order of selection; one that holds nothing but a jump is left out, and whoever
//! leads to it leads on.

use super::code::{Code, Condition, Instruction};
use super::forms::Form;
use regalloc2::{Block, Edit, InstOrEdit, Output};

/// For each block where a jump to it leads in the end.
pub(super) fn forwarded(code: &Code, output: &Output) -> Vec<usize> {
    let mut forward: Vec<usize> = (0..code.blocks.len()).collect();
    for block in (0..forward.len()).rev() {
        let info = &code.blocks[block];
        let is_jump = info.end == info.first + 1
            && matches!(code.instructions[info.first], Instruction::Jump);
        let mut steps = output.block_insts_and_edits(code, Block::new(block));
        let moves = steps.any(|step| match step {
            InstOrEdit::Edit(Edit::Move { from, to }) => from != to,
            InstOrEdit::Inst(_) => false,
        });
        if let (true, false, Some(target)) = (is_jump, moves, info.successors.first())
            && block > 0
        {
            forward[block] = target.index();
        }
    }
    for block in 0..forward.len() {
        let mut target = forward[block];
        // An empty loop leads to itself: no further than there are blocks.
        for _ in 0..forward.len() {
            if forward[target] == target {
                break;
            }
            target = forward[target];
        }
        forward[block] = target;
    }
    forward
}

/// The next block that is there, where jumps to the others lead on as `forward` says.
pub(super) fn following(forward: &[usize], block: usize) -> usize {
    let mut later = block + 1..forward.len();
    later.find(|later| forward[*later] == *later).unwrap_or(usize::MAX)
}

/// The jump on a condition, with a distance of 32 and of 8 bits.
pub(super) fn jump_form(condition: Condition) -> [Form; 2] {
    match condition {
        // Nothing leads back on these: they leave a loop.
        Condition::Equal => [Form::JumpEqual; 2],
        Condition::NotEqual => [Form::JumpNotEqual, Form::JumpNotEqualShort],
        Condition::Less => [Form::JumpLess, Form::JumpLessShort],
        Condition::NotLess => [Form::JumpNotLess; 2],
    }
}

/// The jump on all but a condition.
pub(super) fn opposite(condition: Condition) -> [Form; 2] {
    jump_form(match condition {
        Condition::Equal => Condition::NotEqual,
        Condition::NotEqual => Condition::Equal,
        Condition::Less => Condition::NotLess,
        Condition::NotLess => Condition::Less,
    })
}
