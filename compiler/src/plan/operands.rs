//! Where the operands of a step lie: what the buffer roles of its kernels are bound to.

use super::ahead;
use super::arena::Slots;
use crate::fir::{Epilogue, Func, HeadShape, Op, ValueId};
use crate::lower::{Asks, CacheLayout, Role, vector_bytes};
use deepthin_runtime::program::{Base, Operand, Regions};

/// Where a function's steps stand: its memory, the stored block and KV slot at hand.
pub(super) struct Site<'a> {
    pub(super) func: &'a Func,
    pub(super) slots: &'a Slots,
    pub(super) block: Option<u32>,
    /// Byte offset of the application's KV slot, and its layout.
    pub(super) kv: u64,
    pub(super) cache: Option<CacheLayout>,
    /// What the function's products ask for.
    pub(super) asks: Asks,
}

/// What the buffer roles of a step stand for.
#[derive(Default)]
pub(super) struct Bound {
    pub(super) input: Option<ValueId>,
    pub(super) output: Option<ValueId>,
    pub(super) weights: Vec<u64>,
    pub(super) gain: Option<u64>,
    pub(super) rope: Option<u64>,
}

impl Site<'_> {
    /// Where the buffer of a role lies; `scratch` bytes of the thread's working memory are taken.
    pub(super) fn operand(
        &self,
        regions: &Regions,
        bound: &Bound,
        role: Role,
        scratch: &mut u64,
    ) -> Operand {
        let vector = |value: Option<ValueId>| {
            let Some(value) = value else { unreachable!("lowering and plan agree on operands") };
            let stride = u64::from(vector_bytes(self.func.values[value].width));
            let (base, offset) = match self.slots.offset(value) {
                Some(offset) => (Base::Arena, offset),
                None => (Base::Logits, 0),
            };
            Operand { token_stride: stride, ..Operand::fixed(base, offset) }
        };
        let fixed = |base, offset: Option<u64>| {
            let Some(offset) = offset else { unreachable!("lowering and plan agree on operands") };
            Operand::fixed(base, offset)
        };
        let image = |offset| fixed(Base::Image, offset);
        let cache = || {
            let Some(cache) = self.cache else {
                unreachable!("only ops with a KV slot ask for it")
            };
            cache
        };
        let slot = |before: u64| Operand::fixed(Base::Kv, self.kv + before);
        match role {
            Role::Input => vector(bound.input),
            Role::Output => vector(bound.output),
            Role::Weights(i) => image(bound.weights.get(i).copied()),
            Role::Ahead(i, _) => ahead::own(image(bound.weights.get(i).copied())),
            Role::Gain => image(bound.gain),
            Role::RopeTable => {
                let table = fixed(Base::Tables, bound.rope);
                Operand { position_stride: u64::from(cache().head_dim) * 4, ..table }
            }
            Role::Scratch(bytes) => {
                let offset = *scratch;
                *scratch = (offset + u64::from(bytes)).next_multiple_of(64);
                Operand::fixed(Base::Scratch, offset)
            }
            Role::Keys => slot(0),
            Role::Values => slot(cache().key_bytes()),
            Role::KeyScales => slot(cache().key_bytes() + cache().value_bytes()),
            Role::ValueScales => slot(cache().bytes() - cache().value_scale_bytes()),
            Role::Partials => Operand::fixed(Base::Arena, regions.arena),
            Role::Maxima => Operand {
                token_stride: regions.maxima_stride,
                ..Operand::fixed(Base::Logits, regions.maxima)
            },
        }
    }
}

/// The layout of the KV slot that a block function appends to or reads.
pub(super) fn cache_of(func: &Func, context: u32) -> Option<CacheLayout> {
    func.ops.iter().find_map(|op| match op {
        Op::Attention { shape, kv, .. }
        | Op::Linear { epilogue: Epilogue::RopeAppend { shape, kv, .. }, .. } => {
            let HeadShape { kv_heads, head_dim, .. } = *shape;
            Some(CacheLayout { kv: *kv, kv_heads, head_dim, context })
        }
        _ => None,
    })
}
