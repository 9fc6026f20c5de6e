//! The kernel table: one kernel for each distinct description.

use crate::fir::HeadShape;
use crate::format::{Activations, KvFormat};
use crate::lower::{
    Asks, AttentionKernel, EmbedKernel, EpilogueKernel, LinearKernel, Lowered, Segment,
    lower_attention, lower_attention_chunks, lower_embed, lower_linear,
};

/// A description of a kernel: equal descriptions are one kernel.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// A row of the embedding table.
    Embed(EmbedKernel),
    /// A matrix product.
    Linear(LinearKernel),
    /// Attention of one token.
    Attention(AttentionKernel),
    /// What each chunk of positions gives to the attention of one token.
    AttentionChunks(AttentionKernel),
}

/// A kernel of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedKernel {
    /// Unique name: operation, storage, shape, token tile.
    pub name: String,
    /// What it was lowered from.
    pub spec: Spec,
    /// The kernel and the meaning of its parameters.
    pub lowered: Lowered,
}

/// The kernels of a plan, in order of first use.
#[derive(Default)]
pub(super) struct Kernels {
    pub(super) list: Vec<PlannedKernel>,
}

impl Kernels {
    /// The number of the kernel of `spec`, lowered where it is new.
    pub(super) fn index(&mut self, spec: Spec) -> usize {
        if let Some(known) = self.list.iter().position(|k| k.spec == spec) {
            return known;
        }
        let mut name = base_name(&spec);
        // Descriptions may differ in what the name leaves out (an epsilon).
        let same = self.list.iter().filter(|k| k.name.starts_with(&name)).count();
        if same > 0 {
            name = format!("{name}_{}", same + 1);
        }
        let lowered = match &spec {
            Spec::Embed(kernel) => lower_embed(&name, kernel),
            Spec::Linear(kernel) => lower_linear(&name, kernel),
            Spec::Attention(kernel) => lower_attention(&name, kernel),
            Spec::AttentionChunks(kernel) => lower_attention_chunks(&name, kernel),
        };
        self.list.push(PlannedKernel { name, spec, lowered });
        self.list.len() - 1
    }
}

fn base_name(spec: &Spec) -> String {
    match spec {
        Spec::Embed(k) => format!("embed_{}_{}x{}", k.format, k.vocab, k.width),
        Spec::Attention(k) => format!("attention{}", attention_name(k)),
        Spec::AttentionChunks(k) => format!("attention_chunks{}", attention_name(k)),
        Spec::Linear(k) => {
            let merge = if k.merge.is_some() { "merge_" } else { "" };
            let norm = if k.norm.is_some() { "norm_" } else { "" };
            let kind = match k.epilogue {
                EpilogueKernel::Logits { .. } => "linear_logits".to_owned(),
                EpilogueKernel::Residual => "linear_residual".to_owned(),
                EpilogueKernel::Glu => "linear_glu".to_owned(),
                EpilogueKernel::RopeAppend { kv, .. } => {
                    format!("linear_rope_append{}", cache_name(kv))
                }
            };
            let formats: Vec<String> = k.segments.iter().map(segment_name).collect();
            let rows = k.panels() * crate::pack::layout::PANEL;
            let is_last = k.tokens == 1 && k.asks == Asks::Operand { is_last: true };
            let last = if is_last { "_last" } else { "" };
            let (formats, columns, tokens) = (formats.join("_"), k.columns, k.tokens);
            format!("{merge}{norm}{kind}_{formats}_{rows}x{columns}_t{tokens}{last}")
        }
    }
}

/// What the cache keeps, and the heads.
fn attention_name(kernel: &AttentionKernel) -> String {
    let HeadShape { heads, kv_heads, head_dim } = kernel.shape;
    format!("{}_{heads}q{kv_heads}kv_{head_dim}", cache_name(kernel.kv))
}

/// `q4_0`, or `q4_0_by_q8` where it is multiplied with codes.
fn segment_name(segment: &Segment) -> String {
    match segment.activations {
        Activations::F32 => segment.format.to_string(),
        Activations::Q8(_) => format!("{}_by_q8", segment.format),
    }
}

/// What the cache keeps, in a kernel's name; `f32` goes without saying.
fn cache_name(kv: KvFormat) -> &'static str {
    match kv {
        KvFormat::F32 => "",
        KvFormat::F16 => "_kv16",
        KvFormat::Q8 => "_kv8",
    }
}
