//! Operands of an encoded instruction, and what fills the room between instructions.

use super::forms::Operand;
use iced_x86::{Instruction, OpKind, Register};

/// Operand `n` is a register.
pub(super) fn set_register(encoded: &mut Instruction, n: u32, register: Register) {
    encoded.set_op_kind(n, OpKind::Register);
    encoded.set_op_register(n, register);
}

/// Operand `n` lies in memory, `displacement` bytes behind what the base holds; read once for every
/// lane where it is broadcast.
pub(super) fn set_memory(
    encoded: &mut Instruction,
    n: u32,
    base: Register,
    displacement: i64,
    broadcast: bool,
) {
    encoded.set_op_kind(n, OpKind::Memory);
    encoded.set_memory_base(base);
    encoded.set_memory_displacement64(displacement.cast_unsigned());
    encoded.set_memory_displ_size(u32::from(displacement != 0));
    encoded.set_is_broadcast(broadcast);
}

/// A number in the size that a form wants. What does not fit was never selected.
#[expect(clippy::cast_possible_truncation, reason = "forms are chosen by the number's size")]
pub(super) fn set_number(encoded: &mut Instruction, n: u32, operand: Operand, number: i64) {
    match operand {
        Operand::SignedByte => {
            encoded.set_op_kind(n, OpKind::Immediate8to64);
            encoded.set_immediate8to64(number);
        }
        Operand::Signed32 => {
            encoded.set_op_kind(n, OpKind::Immediate32to64);
            encoded.set_immediate32to64(number);
        }
        Operand::Bits32 => {
            encoded.set_op_kind(n, OpKind::Immediate32);
            encoded.set_immediate32(number.cast_unsigned() as u32);
        }
        Operand::Bits64 => {
            encoded.set_op_kind(n, OpKind::Immediate64);
            encoded.set_immediate64(number.cast_unsigned());
        }
        _ => {
            encoded.set_op_kind(n, OpKind::Immediate8);
            encoded.set_immediate8(number.cast_unsigned() as u8);
        }
    }
}

/// Fills code up to a multiple of `alignment` with instructions that do nothing.
pub(super) fn align(code: &mut Vec<u8>, alignment: usize) {
    let mut missing = code.len().next_multiple_of(alignment) - code.len();
    while missing > 0 {
        let bytes = missing.min(NOPS.len());
        code.extend_from_slice(NOPS[bytes - 1]);
        missing -= bytes;
    }
}

/// Instructions that do nothing, of 1 to 9 bytes: those that the manuals recommend.
const NOPS: [&[u8]; 9] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];
