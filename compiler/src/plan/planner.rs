//! From functions to steps: which kernels, which operands, which memory.

use super::ahead;
use super::arena;
use super::attended;
use super::image::{Image, Tables, owner, segments};
use super::kernels::{Kernels, Spec};
use super::operands::{Bound, Site, cache_of};
use super::{Plan, PlanError, PlanOptions};
use crate::fir::{Epilogue, Graph, HeadShape, NormSpec, Op, ValueId, Weight, WeightId};
use crate::format::KvFormat;
use crate::lower::{
    Asks, AttentionKernel, CHUNK, CacheLayout, EmbedKernel, EpilogueKernel, LinearKernel, Merge,
    Role, maxima_bytes, vector_bytes,
};
use crate::pack::layout::{Layout, PANEL};
use crate::pack::tables::RopeTable;
use crate::pack::{Content, Rows};
use deepthin_runtime::program::{Base, Operand, Passes, Regions, Split, Step, Variant};

/// A plan in the making.
pub(super) struct Planner<'a> {
    options: &'a PlanOptions,
    kernels: Kernels,
    image: Image,
    tables: Tables,
    regions: Regions,
    /// Bytes of the KV cache given out so far.
    kv_bytes: u64,
    /// Bytes behind all values of the arena that partial results take.
    partials: u64,
}

impl<'a> Planner<'a> {
    /// An empty plan.
    pub(super) fn new(options: &'a PlanOptions) -> Self {
        Planner {
            options,
            kernels: Kernels::default(),
            image: Image::default(),
            tables: Tables::default(),
            regions: Regions::default(),
            kv_bytes: 0,
            partials: 0,
        }
    }

    /// Plans all functions of the graph and the schedule of its blocks.
    pub(super) fn graph(mut self, graph: &Graph) -> Result<Plan, PlanError> {
        let chunk = self.options.chunk;
        let pays =
            if self.options.asks_ahead { ahead::pays(graph) } else { ahead::Pays::default() };
        let embed = arena::assign(&graph.embed, chunk, false)?;
        let head = arena::assign(&graph.head, chunk, true)?;
        let blocks = graph
            .blocks
            .iter()
            .map(|func| arena::assign(func, chunk, false))
            .collect::<Result<Vec<_>, _>>()?;
        let ends = blocks.iter().chain([&embed, &head]).map(|s| s.end);
        self.regions.arena = ends.max().unwrap_or(0);
        let width = graph.embed.values[graph.embed.result].width;
        let vocab = graph.head.values[graph.head.result].width;
        self.regions.logits_stride = u64::from(vector_bytes(vocab));
        self.regions.maxima = self.regions.logits_stride * u64::from(self.head_tile());
        self.regions.maxima_stride = u64::from(maxima_bytes(vocab.div_ceil(PANEL)));
        let behind = self.regions.maxima_stride * u64::from(self.head_tile());
        self.regions.logits = self.regions.maxima + behind;

        let asks = pays.head;
        let site = |func, slots| Site { func, slots, block: None, kv: 0, cache: None, asks };
        let mut body = self.func(&site(&graph.embed, &embed))?;
        let mut application_ends = Vec::with_capacity(graph.schedule.len());
        for (at, application) in graph.schedule.iter().enumerate() {
            let index = application.func as usize;
            let func = &graph.blocks[index];
            let context = self.options.context;
            let cache = cache_of(func, context);
            let block = Some(application.block);
            let kv = self.kv_bytes;
            self.kv_bytes += cache.map_or(0, CacheLayout::bytes);
            let (slots, asks) = (&blocks[index], pays.application(&graph.schedule, at));
            let site = Site { func, slots, block, kv, cache, asks };
            body.extend(self.func(&site)?);
            application_ends.push(body.len());
        }
        let mut head = self.func(&site(&graph.head, &head))?;
        ahead::across_blocks(&mut body, &application_ends, &graph.schedule, &self.kernels.list);
        for step in body.iter_mut().chain(&mut head) {
            ahead::inside(step, self.image.bytes, &self.kernels.list);
        }
        self.regions.kv = self.kv_bytes;
        self.regions.arena += self.partials;
        self.regions.image = self.image.bytes;
        self.regions.tables = self.tables.bytes;
        let stream = Operand {
            token_stride: u64::from(vector_bytes(width)),
            ..Operand::fixed(Base::Arena, 0)
        };
        Ok(Plan {
            name: graph.name.clone(),
            vocab,
            options: self.options.clone(),
            kernels: self.kernels.list,
            image: self.image.tensors,
            tables: self.tables.tables,
            body,
            head,
            application_ends,
            stream: (stream, width),
            regions: self.regions,
        })
    }

    fn head_tile(&self) -> u32 {
        self.options.tiles.first().copied().unwrap_or(1)
    }

    fn func(&mut self, site: &Site<'_>) -> Result<Vec<Step>, PlanError> {
        attended::check(site.func)?;
        let mut steps = Vec::with_capacity(site.func.ops.len());
        for op in &site.func.ops {
            match op {
                Op::Embed { table, out } => {
                    let table = site.func.weights[*table];
                    let spec = Spec::Embed(EmbedKernel {
                        lanes: self.options.lanes,
                        format: table.format,
                        vocab: table.rows,
                        width: table.columns,
                    });
                    let rows = Rows::Plain { role: table.role, rows: table.rows };
                    let layout = Layout { format: table.format, columns: table.columns };
                    let content = Content::Panels { layout, parts: vec![rows] };
                    let table = self.image.place(owner(table.role, site.block), content);
                    let bound =
                        Bound { output: Some(*out), weights: vec![table], ..Bound::default() };
                    let split = Split::TokenUnits { count: 1 };
                    steps.push(self.step(site, &[(1, spec)], &bound, split));
                }
                Op::Linear { x, norm, weights, epilogue } => {
                    steps.extend(self.linear(site, *x, norm.as_ref(), weights, epilogue)?);
                }
                Op::Attention { q, shape, kv, out } => {
                    let bound = Bound { input: Some(*q), output: Some(*out), ..Bound::default() };
                    steps.extend(self.attention(site, *shape, *kv, &bound));
                }
                Op::Norm { .. }
                | Op::Rope { .. }
                | Op::KvAppend { .. }
                | Op::Glu { .. }
                | Op::Add { .. } => unreachable!("`arena::assign` refuses ops that are not fused"),
            }
        }
        Ok(steps)
    }

    /// Attention of several tokens, which threads share, and that of one, the chunks of which they
    /// share and leave to the products that read it.
    fn attention(
        &mut self,
        site: &Site<'_>,
        shape: HeadShape,
        kv: KvFormat,
        bound: &Bound,
    ) -> [Step; 2] {
        let PlanOptions { lanes, context, .. } = *self.options;
        let count = shape.kv_heads;
        let kernel = AttentionKernel { lanes, shape, context, kv };
        let by_chunk = Split::ChunkUnits { count, positions: CHUNK };
        [
            (Spec::Attention(kernel), Split::TokenUnits { count }, Passes::SeveralTokens),
            (Spec::AttentionChunks(kernel), by_chunk, Passes::OneToken),
        ]
        .map(|(spec, split, passes)| Step { passes, ..self.step(site, &[(1, spec)], bound, split) })
    }

    /// A product: one step, or one of several tokens and one of one where that merges what attention
    /// gave.
    fn linear(
        &mut self,
        site: &Site<'_>,
        x: ValueId,
        norm: Option<&NormSpec>,
        weights: &[WeightId],
        epilogue: &Epilogue,
    ) -> Result<Vec<Step>, PlanError> {
        let func = site.func;
        if let (Epilogue::Glu { .. }, [gate, up]) = (epilogue, weights) {
            let [gate, up] = [gate, up].map(|weight| func.weights[*weight]);
            if (gate.format, gate.activations) != (up.format, up.activations) {
                let said = |weight: Weight| match gate.format == up.format {
                    true => format!("{} by {}", weight.format, weight.activations),
                    false => weight.format.to_string(),
                };
                let (func, gate, up) = (func.name.clone(), said(gate), said(up));
                return Err(PlanError::PairFormats { func, gate, up });
            }
        }
        let segments = segments(func, weights, epilogue);
        let role = weights.first().map(|w| func.weights[*w].role);
        let block = role.and_then(|r| owner(r, site.block));
        let mut bound = Bound { input: Some(x), ..Bound::default() };
        let mut kinds = Vec::with_capacity(segments.len());
        for (segment, content) in segments {
            kinds.push(segment);
            bound.weights.push(self.image.place(block, content));
        }
        bound.gain = norm.map(|norm| {
            let gain = func.weights[norm.gain];
            let content = Content::Gain { role: gain.role, width: gain.columns };
            self.image.place(owner(gain.role, site.block), content)
        });
        let epilogue = match epilogue {
            Epilogue::Store { out } => {
                bound.output = out.first().copied();
                // Whatever else is stored, `arena::assign` has refused.
                EpilogueKernel::Logits { vocab: func.values[func.result].width }
            }
            Epilogue::Residual { out, .. } => {
                bound.output = Some(*out);
                EpilogueKernel::Residual
            }
            Epilogue::Glu { out } => {
                bound.output = Some(*out);
                EpilogueKernel::Glu
            }
            Epilogue::RopeAppend { shape, rope, kv, q } => {
                bound.output = Some(*q);
                let HeadShape { heads, kv_heads, head_dim } = *shape;
                let context = self.options.context;
                let table = RopeTable { head_dim, theta: rope.theta, context, offset: 0 };
                bound.rope = Some(self.tables.place(table));
                EpilogueKernel::RopeAppend { heads, kv_heads, head_dim, context, kv: *kv }
            }
        };
        let split = Split::Units { count: kinds.iter().map(|s| s.panels).sum() };
        let kernel = LinearKernel {
            lanes: self.options.lanes,
            tokens: 1,
            columns: func.values[x].width,
            merge: None,
            norm: norm.map(|n| n.eps),
            segments: kinds,
            epilogue,
            asks: site.asks,
        };
        Ok(match attended::merged(func, x, site.cache) {
            None => vec![self.step(site, &self.tiled(&kernel), &bound, split)],
            Some(merge) => self.behind_attention(site, kernel, merge, &bound, split),
        })
    }

    /// A product behind attention: of several tokens, and of one, whose chunks it merges.
    fn behind_attention(
        &mut self,
        site: &Site<'_>,
        kernel: LinearKernel,
        merge: Merge,
        bound: &Bound,
        split: Split,
    ) -> Vec<Step> {
        // Of several tokens even the last one by itself finds its weights in the caches.
        let plain = LinearKernel { asks: Asks::Nothing, ..kernel.clone() };
        let several = self.step(site, &self.tiled(&plain), bound, split);
        let merging = Spec::Linear(LinearKernel { merge: Some(merge), ..kernel });
        let one = self.step(site, &[(1, merging)], bound, split);
        vec![
            Step { passes: Passes::SeveralTokens, ..several },
            Step { passes: Passes::OneToken, ..one },
        ]
    }

    /// A product's kernels by falling tile.
    fn tiled(&self, kernel: &LinearKernel) -> Vec<(u32, Spec)> {
        let of = |&tokens| {
            let asks = ahead::of_tile(tokens, kernel.asks);
            (tokens, Spec::Linear(LinearKernel { tokens, asks, ..kernel.clone() }))
        };
        self.options.tiles.iter().map(of).collect()
    }

    /// A step whose kernels, by falling tile, are `specs`.
    fn step(
        &mut self,
        site: &Site<'_>,
        specs: &[(u32, Spec)],
        bound: &Bound,
        split: Split,
    ) -> Step {
        let mut variants = Vec::with_capacity(specs.len());
        for (tile, spec) in specs {
            let kernel = self.kernels.index(spec.clone());
            let scalars = self.kernels.list[kernel].lowered.scalars.clone();
            variants.push(Variant { tile: *tile, kernel, scalars });
        }
        // The first variant has the largest tile and so needs the most working memory.
        let first = variants.first().map(|v| &self.kernels.list[v.kernel].lowered);
        let roles = first.map(|lowered| lowered.buffers.clone()).unwrap_or_default();
        let partials = first.and_then(|lowered| lowered.bytes(Role::Partials)).unwrap_or(0);
        self.partials = self.partials.max(u64::from(partials));
        let mut scratch = 0;
        let operands = roles
            .iter()
            .map(|role| site.operand(&self.regions, bound, *role, &mut scratch))
            .collect();
        self.regions.scratch = self.regions.scratch.max(scratch);
        Step { variants, operands, split, passes: Passes::All }
    }
}
