//! A judge of plans that knows nothing of how they are made: it walks the steps beside the ops
//! that they stand for, and remembers which step wrote every word last.
//!
//! A read is right where all words of the value were last written by the step of the op that
//! defines it, for every token of a chunk. A token by itself and a whole chunk take steps of their
//! own in part, so that each is judged for itself.

use deepthin_compiler::fir::{Epilogue, Func, Graph, Op, ValueId, WeightId};
use deepthin_compiler::lower::Role;
use deepthin_compiler::pack::{Content, PackedTensor};
use deepthin_compiler::plan::{Plan, PlannedKernel, Spec};
use deepthin_runtime::program::{Base, Operand, Step};

/// Which step wrote a word last.
type Writers = Vec<Option<usize>>;

struct Judge<'a> {
    plan: &'a Plan,
    /// Tokens of the pass.
    tokens: u32,
    arena: Writers,
    /// Which application, and which of its [`PARTS`], a word of the cache belongs to.
    cache: Vec<Option<(usize, usize)>>,
    /// Where the application at hand appends: operand and bytes of each of the [`PARTS`].
    appended: [Option<(Operand, u64)>; PARTS],
    /// The step that wrote the residual stream last.
    stream: Option<usize>,
}

/// Parts of a KV slot: keys, values, scales of keys, scales of values.
const PARTS: usize = 4;

/// The part of a KV slot that a buffer is.
fn part(role: Role) -> Option<usize> {
    match role {
        Role::Keys => Some(0),
        Role::Values => Some(1),
        Role::KeyScales => Some(2),
        Role::ValueScales => Some(3),
        _ => None,
    }
}

/// A step and what it stands for.
struct Site<'a> {
    number: usize,
    step: &'a Step,
    func: &'a Func,
    op: &'a Op,
    block: Option<u32>,
    application: usize,
    is_head: bool,
}

/// Walks all steps of a token and of a chunk; the first thing that is wrong.
pub(super) fn judge(graph: &Graph, plan: &Plan) -> Result<(), String> {
    image(plan)?;
    walk(graph, plan, 1)?;
    match plan.options.chunk {
        1 => Ok(()),
        chunk => walk(graph, plan, chunk),
    }
}

/// Walks the steps of a pass of so many tokens.
fn walk(graph: &Graph, plan: &Plan, tokens: u32) -> Result<(), String> {
    let words = |bytes: u64| usize::try_from(bytes / 4).unwrap_or(0);
    let (arena, cache) =
        (vec![None; words(plan.regions.arena)], vec![None; words(plan.regions.kv)]);
    let mut judge = Judge { plan, tokens, arena, cache, appended: [None; PARTS], stream: None };
    let all = plan.body.iter().chain(&plan.head).enumerate();
    let mut steps = all.filter(|(_, step)| step.passes.have(tokens as usize));
    let blocks = graph.schedule.iter().enumerate().map(|(application, scheduled)| {
        (&graph.blocks[scheduled.func as usize], Some(scheduled.block), application)
    });
    let funcs = std::iter::once((&graph.embed, None, usize::MAX))
        .chain(blocks)
        .chain(std::iter::once((&graph.head, None, usize::MAX)));
    let mut end = 0;
    for (func, block, application) in funcs {
        let mut writers: Vec<Option<usize>> = vec![None; func.values.len()];
        if let Some(param) = func.param {
            writers[param.0 as usize] = judge.stream;
        }
        for op in &func.ops {
            let (number, step) = steps.next().ok_or("there are fewer steps than ops")?;
            let is_head = func.name == "head";
            let site = Site { number, step, func, op, block, application, is_head };
            let wrong = |error| format!("step {number} ({} of {}): {error}", op.name(), func.name);
            judge.step(&site, &mut writers).map_err(wrong)?;
            end = number + 1;
        }
        judge.stream = writers[func.result.0 as usize];
        if block.is_some() && plan.application_ends.get(application) != Some(&end) {
            return Err(format!("application {application} ends elsewhere"));
        }
    }
    if steps.next().is_some() {
        return Err("there are more steps than ops".to_owned());
    }
    Ok(())
}

/// Tensors of the image lie one behind the other on lines of their own; so do tables.
fn image(plan: &Plan) -> Result<(), String> {
    let mut free = 0;
    for tensor in &plan.image {
        if tensor.offset < free || !tensor.offset.is_multiple_of(64) {
            return Err(format!("{} lies at {}", tensor.content, tensor.offset));
        }
        free = tensor.offset + tensor.content.bytes();
    }
    if free > plan.regions.image {
        return Err("the image is too small".to_owned());
    }
    let mut free = 0;
    for table in &plan.tables {
        if table.offset < free || !table.offset.is_multiple_of(64) {
            return Err(format!("{table} lies at {}", table.offset));
        }
        free = table.offset + table.bytes();
    }
    if free > plan.regions.tables { Err("too little room for tables".to_owned()) } else { Ok(()) }
}

impl Judge<'_> {
    fn step(&mut self, site: &Site<'_>, writers: &mut [Option<usize>]) -> Result<(), String> {
        let Some(last) = site.step.variants.last() else { return Err("no variants".to_owned()) };
        let PlannedKernel { spec, lowered, .. } = &self.plan.kernels[last.kernel];
        let sizes: Vec<u64> =
            lowered.kernel.buffers.values().map(|buffer| u64::from(buffer.bytes)).collect();
        let parameters = || lowered.buffers.iter().zip(&site.step.operands).zip(&sizes);
        for ((role, operand), bytes) in parameters() {
            self.read(site, spec, *role, operand, *bytes, writers)?;
        }
        self.scratch(site)?;
        for ((role, operand), bytes) in parameters() {
            match role {
                Role::Output if !site.is_head => self.write(site, operand, *bytes)?,
                Role::Output if operand.base != Base::Logits => {
                    return Err("logits lie elsewhere".to_owned());
                }
                Role::Maxima => self.maxima(site, operand)?,
                Role::Partials if matches!(spec, Spec::AttentionChunks(_)) => {
                    self.write(site, operand, *bytes)?;
                }
                _ => {
                    let is_append = matches!(site.op, Op::Linear { .. });
                    if let Some(part) = part(*role).filter(|_| is_append) {
                        self.append(site, part, operand, *bytes)?;
                        self.appended[part] = Some((*operand, *bytes));
                    }
                }
            }
        }
        for out in site.op.outputs() {
            writers[out.0 as usize] = Some(site.number);
        }
        Ok(())
    }

    /// The maxima of a head call's tokens lie one behind the other, and behind all logits.
    fn maxima(&self, site: &Site<'_>, operand: &Operand) -> Result<(), String> {
        let Plan { regions, options, vocab, .. } = self.plan;
        let tile = u64::from(options.tiles[0]);
        let blocks = u64::from(vocab.div_ceil(32)) * 4;
        let logits = tile * regions.logits_stride;
        let expected = Operand { token_stride: blocks, ..Operand::fixed(Base::Logits, logits) };
        let known = (regions.maxima, regions.maxima_stride, regions.logits);
        if site.is_head && *operand == expected && known == (logits, blocks, logits + tile * blocks)
        {
            return Ok(());
        }
        Err(format!("maxima lie at {operand:?}, told {known:?}, expected {expected:?}"))
    }

    fn read(
        &self,
        site: &Site<'_>,
        spec: &Spec,
        role: Role,
        operand: &Operand,
        bytes: u64,
        writers: &[Option<usize>],
    ) -> Result<(), String> {
        let value = |value: ValueId| {
            let width = u64::from(site.func.values[value].width);
            let expected = writers[value.0 as usize];
            self.value(operand, width, expected).map_err(|e| format!("{value} {e}"))
        };
        match (role, site.op) {
            (Role::Input, op) => value(op.inputs()[0]),
            (Role::Output, Op::Linear { epilogue: Epilogue::Residual { residual, .. }, .. }) => {
                value(*residual)
            }
            (Role::Weights(segment), op) => self.weights(site, operand, segment, op),
            (Role::Gain, Op::Linear { norm: Some(norm), .. }) => {
                let tensor = self.tensor(operand)?;
                let role = site.func.weights[norm.gain].role;
                match tensor.content {
                    Content::Gain { role: found, .. }
                        if found == role && tensor.block == owner(site, norm.gain) =>
                    {
                        Ok(())
                    }
                    _ => Err(format!("the gain is {}, not {role}", tensor.content)),
                }
            }
            (Role::RopeTable, Op::Linear { epilogue: Epilogue::RopeAppend { rope, .. }, .. }) => {
                let mut tables = self.plan.tables.iter();
                let found = tables.find(|table| table.offset == operand.offset);
                match found.filter(|_| operand.base == Base::Tables) {
                    Some(table)
                        if (table.head_dim, table.theta) == (rope.head_dim, rope.theta)
                            && table.context == self.plan.options.context =>
                    {
                        Ok(())
                    }
                    other => Err(format!("the rotary table is {other:?}")),
                }
            }
            (
                Role::Keys | Role::Values | Role::KeyScales | Role::ValueScales,
                Op::Attention { .. },
            ) => self.cached(role, operand, bytes),
            (Role::Ahead(..), Op::Linear { .. }) => {
                let is_inside = operand.offset + bytes <= self.plan.regions.image;
                let fits = operand.base == Base::Image && is_inside;
                fits.then_some(()).ok_or_else(|| "asks for what is no line of weights".to_owned())
            }
            // Written by the attention whose value the product takes; a token by itself has them once.
            (Role::Partials, Op::Linear { x, .. }) => {
                let attention = writers[x.0 as usize];
                self.value(operand, bytes / 4, attention).map_err(|e| format!("{role:?} {e}"))
            }
            (Role::Partials, Op::Attention { .. }) if matches!(spec, Spec::AttentionChunks(_)) => {
                Ok(())
            }
            (Role::Scratch(_) | Role::Output | Role::Maxima, _)
            | (
                Role::Keys | Role::Values | Role::KeyScales | Role::ValueScales,
                Op::Linear { epilogue: Epilogue::RopeAppend { .. }, .. },
            ) => Ok(()),
            (role, op) => Err(format!("{role:?} makes no sense in {}", op.name())),
        }
    }

    /// Word numbers of `bytes` bytes of an operand for each token of a chunk.
    fn words(&self, operand: &Operand, bytes: u64) -> impl Iterator<Item = usize> + use<> {
        let Operand { offset, token_stride, .. } = *operand;
        (0..u64::from(self.tokens)).flat_map(move |token| {
            let first = offset + token * token_stride;
            (first / 4..(first + bytes) / 4).map(|word| usize::try_from(word).unwrap_or(usize::MAX))
        })
    }

    fn value(&self, operand: &Operand, width: u64, expected: Option<usize>) -> Result<(), String> {
        if operand.base != Base::Arena || !operand.offset.is_multiple_of(4) {
            return Err("does not lie in the arena".to_owned());
        }
        for word in self.words(operand, width * 4) {
            let found = self.arena.get(word).copied().flatten();
            if found.is_none() || found != expected {
                return Err(format!("is of step {expected:?}, its word {word} of step {found:?}"));
            }
        }
        Ok(())
    }

    /// Marks what a step writes, which nothing that it reads for other rows may share.
    fn write(&mut self, site: &Site<'_>, operand: &Operand, bytes: u64) -> Result<(), String> {
        if operand.base != Base::Arena {
            return Err("the output does not lie in the arena".to_owned());
        }
        let Some(last) = site.step.variants.last() else { return Ok(()) };
        let roles = &self.plan.kernels[last.kernel].lowered.buffers;
        let mut own: Vec<usize> = self.words(operand, bytes).collect();
        own.sort_unstable();
        for (role, input) in roles.iter().zip(&site.step.operands) {
            let overlaps = |word: usize| own.binary_search(&word).is_ok();
            if *role == Role::Input && self.words(input, 4).any(overlaps) {
                return Err("the output overlaps the input".to_owned());
            }
        }
        for word in own {
            let slot = self.arena.get_mut(word).ok_or("the output passes the arena's end")?;
            *slot = Some(site.number);
        }
        Ok(())
    }

    /// The packed tensor at an operand.
    fn tensor(&self, operand: &Operand) -> Result<&PackedTensor, String> {
        let found = self.plan.image.iter().find(|tensor| tensor.offset == operand.offset);
        found.filter(|_| operand.base == Base::Image).ok_or_else(|| "no tensor there".to_owned())
    }

    /// The matrices of a segment are those of the op, in their order and of the right block.
    fn weights(
        &self,
        site: &Site<'_>,
        operand: &Operand,
        segment: usize,
        op: &Op,
    ) -> Result<(), String> {
        let matrices: Vec<WeightId> = match op {
            Op::Linear { weights, .. } => weights.clone(),
            other => other.weights(),
        };
        let segments = |at: &Operand| match &self.tensor(at).ok()?.content {
            Content::Panels { parts, .. } => {
                Some(parts.iter().flat_map(|part| part.roles()).count())
            }
            Content::Gain { .. } => None,
        };
        let Some(last) = site.step.variants.last() else { return Ok(()) };
        let roles = &self.plan.kernels[last.kernel].lowered.buffers;
        let before: usize = roles
            .iter()
            .zip(&site.step.operands)
            .filter(|(role, _)| matches!(role, Role::Weights(i) if *i < segment))
            .filter_map(|(_, operand)| segments(operand))
            .sum();
        let tensor = self.tensor(operand)?;
        let Content::Panels { layout, parts } = &tensor.content else {
            return Err(format!("the weights are {}", tensor.content));
        };
        let found = parts.iter().flat_map(|part| part.roles());
        for (role, id) in found.zip(matrices.iter().skip(before)) {
            let weight = site.func.weights[*id];
            if (role, layout.format, layout.columns) != (weight.role, weight.format, weight.columns)
                || tensor.block != owner(site, *id)
            {
                return Err(format!("the weights are {}, not {}", tensor.content, weight.role));
            }
        }
        Ok(())
    }

    /// Buffers of working memory lie apart and inside, for every variant.
    fn scratch(&self, site: &Site<'_>) -> Result<(), String> {
        for variant in &site.step.variants {
            let lowered = &self.plan.kernels[variant.kernel].lowered;
            let mut parts: Vec<(u64, u64)> = Vec::new();
            for (role, operand) in lowered.buffers.iter().zip(&site.step.operands) {
                if let Role::Scratch(bytes) = role {
                    parts.push((operand.offset, operand.offset + u64::from(*bytes)));
                }
            }
            parts.sort_unstable();
            let apart = parts.windows(2).all(|two| two[0].1 <= two[1].0);
            let inside = parts.last().is_none_or(|last| last.1 <= self.plan.regions.scratch);
            if !apart || !inside {
                return Err(format!("working memory {parts:?}"));
            }
        }
        Ok(())
    }

    /// Marks a part of the cache as the application's own, for all positions.
    fn append(
        &mut self,
        site: &Site<'_>,
        part: usize,
        operand: &Operand,
        bytes: u64,
    ) -> Result<(), String> {
        for word in operand.offset / 4..(operand.offset + bytes) / 4 {
            let word = usize::try_from(word).unwrap_or(usize::MAX);
            let slot = self.cache.get_mut(word).ok_or("an append passes the cache's end")?;
            let owner = (site.application, part);
            if slot.is_some_and(|other| other != owner) {
                return Err(format!("word {word} of the cache has two owners"));
            }
            *slot = Some(owner);
        }
        Ok(())
    }

    /// Attention reads the very cache that the step before it appended to.
    fn cached(&self, role: Role, operand: &Operand, bytes: u64) -> Result<(), String> {
        let appended = part(role).and_then(|part| self.appended[part]);
        let (written, written_bytes) = appended.ok_or("nothing was appended")?;
        let is_same = (operand.base, operand.offset) == (written.base, written.offset);
        if !is_same || bytes != written_bytes {
            return Err(format!("{operand:?} is not the cache that {written:?} appends to"));
        }
        Ok(())
    }
}

/// The stored block of a weight: none for those of the whole model.
fn owner(site: &Site<'_>, weight: WeightId) -> Option<u32> {
    site.block.filter(|_| site.func.weights[weight].role.in_block())
}
