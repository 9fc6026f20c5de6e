//! Blocks of 32 codes as a row of weights stores them.
//!
//! | bits | bytes | element j lies in |
//! |---|---|---|
//! | 8 | 32 | byte j; two's complement where the format is symmetric |
//! | 4 | 16 | byte j mod 16: the low half for j < 16, else the high half |
//! | 6 | 16, then 8 | its low four bits as with 4 bits; its high two in byte 16 + j mod 8, from bit 2 * (j / 8) on |
//!
//! 8 and 4 bits are as GGUF has them. Unpacked codes are a byte each, in order, never negative:
//! symmetric ones are around their bias.

use crate::format::{BLOCK, Bits, Codes};

/// A block, unpacked.
pub type Block = [u8; BLOCK];

/// The codes of a block; bytes that are missing count as 0.
pub fn unpack(codes: Codes, bytes: &[u8]) -> Block {
    let mut block = [0; BLOCK];
    match codes.bits {
        Bits::Eight => {
            let sign = if codes.minimum { 0 } else { 0x80 };
            for (to, code) in block.iter_mut().zip(bytes) {
                *to = code ^ sign;
            }
        }
        Bits::Four | Bits::Six => {
            let (low, high) = block.split_at_mut(16);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
                *low = byte & 15;
                *high = byte >> 4;
            }
        }
    }
    if codes.bits == Bits::Six {
        let pairs = bytes.get(16..).unwrap_or_default();
        for (part, field) in block.chunks_exact_mut(8).zip([0, 2, 4, 6]) {
            for (code, pairs) in part.iter_mut().zip(pairs) {
                *code |= (pairs >> field & 3) << 4;
            }
        }
    }
    block
}

/// Appends the bytes of a block whose codes are at most [`Bits::most`].
pub fn pack(codes: Codes, block: &Block, bytes: &mut Vec<u8>) {
    match codes.bits {
        Bits::Eight => {
            let sign = if codes.minimum { 0 } else { 0x80 };
            bytes.extend(block.iter().map(|code| code ^ sign));
        }
        Bits::Four | Bits::Six => {
            let (low, high) = block.split_at(16);
            bytes.extend(low.iter().zip(high).map(|(low, high)| low & 15 | high << 4));
        }
    }
    if codes.bits == Bits::Six {
        let pairs = |j: usize| {
            let parts = block.chunks_exact(8).zip([0, 2, 4, 6]);
            parts.fold(0, |byte, (part, field)| byte | (part[j] >> 4) << field)
        };
        bytes.extend((0..8).map(pairs));
    }
}
