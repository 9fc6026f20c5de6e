//! A model as far as its own text goes: each value absent, broken (and reported), or given.

use std::collections::BTreeSet;

use crate::diagnostic::Span;
use crate::model::{Activations, KvStorage, TensorStorage};

/// One value of a model being put together.
#[derive(Debug, Clone, Default)]
pub(super) enum Slot<T> {
    /// Not named.
    #[default]
    Absent,
    /// Named, but wrong, and reported: nothing more is said about it.
    Broken,
    /// Named at a place.
    Given(T, Span),
}

impl<T: Clone> Slot<T> {
    /// The value, where it is given.
    pub(super) fn value(&self) -> Option<T> {
        match self {
            Slot::Given(value, _) => Some(value.clone()),
            Slot::Absent | Slot::Broken => None,
        }
    }

    /// The value, or a default where it is absent; `None` where it is broken.
    pub(super) fn value_or(&self, default: T) -> Option<T> {
        match self {
            Slot::Absent => Some(default),
            Slot::Broken => None,
            Slot::Given(value, _) => Some(value.clone()),
        }
    }

    /// The place, where it is given.
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Slot::Given(_, span) => Some(*span),
            Slot::Absent | Slot::Broken => None,
        }
    }

    /// Whether the text does not name it.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Slot::Absent)
    }

    fn inherit(&mut self, base: &Slot<T>) {
        if self.is_absent() {
            *self = base.clone();
        }
    }
}

/// The order of applications, before it is checked against the depth.
#[derive(Debug, Clone)]
pub(super) enum SharingDraft {
    None,
    Immediate(u32),
    Loop(u32),
    Reverse,
    Order(Vec<(u32, Span)>),
}

/// The values of a model, with their places.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub(super) vocab: Slot<u32>,
    pub(super) context: Slot<u32>,
    pub(super) width: Slot<u32>,
    pub(super) depth: Slot<u32>,
    pub(super) norm_eps: Slot<f32>,
    pub(super) heads: Slot<u32>,
    pub(super) kv_heads: Slot<u32>,
    pub(super) head_dim: Slot<u32>,
    pub(super) rope_theta: Slot<f64>,
    pub(super) ffn_hidden: Slot<u32>,
    pub(super) tied: Slot<bool>,
    pub(super) sharing: Slot<SharingDraft>,
    pub(super) blocks: Slot<TensorStorage>,
    pub(super) embeddings: Slot<TensorStorage>,
    pub(super) kv_cache: Slot<KvStorage>,
    pub(super) activations: Slot<Activations>,
    /// Keys that a misspelled one stands for: they are not reported as missing.
    pub(super) misspelled: BTreeSet<&'static str>,
}

impl Draft {
    /// Takes from the base what this draft does not name.
    pub(super) fn inherit(&mut self, base: &Draft) {
        self.vocab.inherit(&base.vocab);
        self.context.inherit(&base.context);
        self.width.inherit(&base.width);
        self.depth.inherit(&base.depth);
        self.norm_eps.inherit(&base.norm_eps);
        self.heads.inherit(&base.heads);
        self.kv_heads.inherit(&base.kv_heads);
        self.head_dim.inherit(&base.head_dim);
        self.rope_theta.inherit(&base.rope_theta);
        self.ffn_hidden.inherit(&base.ffn_hidden);
        self.tied.inherit(&base.tied);
        self.sharing.inherit(&base.sharing);
        self.blocks.inherit(&base.blocks);
        self.embeddings.inherit(&base.embeddings);
        self.kv_cache.inherit(&base.kv_cache);
        self.activations.inherit(&base.activations);
    }
}
