//! The program format: kernels, memory regions and the flat list of steps that a session walks.
//!
//! A [`Program`] is data made by the compiler. It says nothing of models: a step is a kernel,
//! where its operands lie, where its scalars come from, and how its work splits over threads.

use crate::abi::KernelInfo;
use thiserror::Error;

/// A region of memory that operands lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// Packed weights, shared by all sessions, never written.
    Image,
    /// Tables of constants, computed at start, shared by all sessions, never written.
    Tables,
    /// Activations of the tokens at hand, shared by the threads of a session.
    Arena,
    /// Working memory of one thread.
    Scratch,
    /// Keys and values of past positions.
    Kv,
    /// Logits of the tokens of one head call.
    Logits,
}

/// Where a buffer parameter points:
/// `base + offset + token * token_stride + position * position_stride` bytes, for the first
/// token of the call. `token` counts from the first token of the chunk, in [`Base::Logits`] from
/// the first token of the head call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// Region.
    pub base: Base,
    /// Bytes from the region's start.
    pub offset: u64,
    /// Bytes from one token's part to the next.
    pub token_stride: u64,
    /// Bytes from one position's part to the next.
    pub position_stride: u64,
}

/// `((x + add) / divide) % modulo + plus`, with `modulo == 0` for no remainder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotient {
    /// Added first.
    pub add: u32,
    /// Divisor, not 0.
    pub divide: u32,
    /// Modulus, 0 for none.
    pub modulo: u32,
    /// Added last.
    pub plus: u32,
}

/// Where a scalar parameter comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarSource {
    /// First unit of the thread's share.
    RangeBegin,
    /// One past the last unit of the thread's share.
    RangeEnd,
    /// From the absolute position of the call's first token.
    Position(Quotient),
    /// From the id of the call's first token.
    TokenId(Quotient),
}

/// A kernel for a tile of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Tokens that one call computes.
    pub tile: u32,
    /// Index into [`Program::kernels`].
    pub kernel: usize,
    /// One for each scalar parameter.
    pub scalars: Vec<ScalarSource>,
}

/// How a step's work splits over threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Units `0..count` of every token: a thread takes a contiguous share of the units, for all
    /// tokens.
    Units {
        /// Units in all.
        count: u32,
    },
    /// `count` units for each token: a thread takes a contiguous share of all (token, unit).
    TokenUnits {
        /// Units of one token.
        count: u32,
    },
    /// `count` units for each chunk of `positions` positions that a token sees one of: a thread takes
    /// a contiguous share of those of every token.
    ChunkUnits {
        /// Units of one chunk.
        count: u32,
        /// Positions of a chunk, not 0.
        positions: u32,
    },
}

/// Which passes over the steps a step is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// All.
    All,
    /// Those of one token.
    OneToken,
    /// Those of two tokens and more.
    SeveralTokens,
}

/// One operation on all tokens at hand; a barrier follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Kernels by falling tile; the last has tile 1.
    pub variants: Vec<Variant>,
    /// One for each buffer parameter, the same for every variant.
    pub operands: Vec<Operand>,
    /// How the work splits.
    pub split: Split,
    /// When it runs.
    pub passes: Passes,
}

/// A compiled model, ready to run on a packed image.
#[derive(Debug, Clone)]
pub struct Program {
    /// The model's name.
    pub name: String,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Positions that the KV cache holds.
    pub context: u32,
    /// Most tokens that one pass over the steps takes.
    pub chunk: u32,
    /// Most tokens that one head call takes.
    pub head_tile: u32,
    /// Kernels.
    pub kernels: Vec<KernelInfo>,
    /// From token ids to the residual stream.
    pub body: Vec<Step>,
    /// From the residual stream to logits.
    pub head: Vec<Step>,
    /// Index into `body` one past the last step of each block application.
    pub application_ends: Vec<usize>,
    /// Where the residual stream lies after `body`, and its elements.
    pub stream: (Operand, u32),
    /// Bytes of each region.
    pub regions: Regions,
}

/// Bytes of the memory regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Regions {
    /// Packed weights.
    pub image: u64,
    /// Tables of constants.
    pub tables: u64,
    /// Activations.
    pub arena: u64,
    /// Working memory of one thread.
    pub scratch: u64,
    /// KV cache.
    pub kv: u64,
    /// Logits.
    pub logits: u64,
    /// Bytes from one token's logits to the next.
    pub logits_stride: u64,
    /// Where in the region of logits their maxima begin: of each block of
    /// [`BLOCK`](crate::logits::BLOCK) the greatest rank.
    pub maxima: u64,
    /// Bytes from one token's maxima to the next.
    pub maxima_stride: u64,
}

/// A program that would touch memory that is not its own; always a bug of the compiler.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("program `{program}`, {place}: {problem}")]
pub struct InvalidProgram {
    /// The program.
    pub program: String,
    /// Step and kernel.
    pub place: String,
    /// What is wrong.
    pub problem: String,
}

impl Operand {
    /// An operand that does not depend on token or position.
    pub const fn fixed(base: Base, offset: u64) -> Self {
        Operand { base, offset, token_stride: 0, position_stride: 0 }
    }
}

impl Split {
    /// Units of a token at a position.
    pub fn units(self, position: u32) -> u64 {
        match self {
            Split::Units { count } | Split::TokenUnits { count } => count.into(),
            Split::ChunkUnits { count, positions } => {
                u64::from(count) * (u64::from(position / positions.max(1)) + 1)
            }
        }
    }
}

impl Passes {
    /// Whether a pass of so many tokens is among them.
    pub fn have(self, tokens: usize) -> bool {
        match self {
            Passes::All => true,
            Passes::OneToken => tokens == 1,
            Passes::SeveralTokens => tokens > 1,
        }
    }
}

impl Quotient {
    /// The value itself.
    pub const fn identity() -> Self {
        Quotient { add: 0, divide: 1, modulo: 0, plus: 0 }
    }

    /// The quotient of `x`.
    pub fn of(self, x: u32) -> i64 {
        let q = (i64::from(x) + i64::from(self.add)) / i64::from(self.divide.max(1));
        let r = if self.modulo == 0 { q } else { q % i64::from(self.modulo) };
        r + i64::from(self.plus)
    }

    /// The greatest value for `x <= max`.
    fn most(self, max: u32) -> i64 {
        let top = Quotient { modulo: 0, plus: 0, ..self }.of(max);
        let top = if self.modulo == 0 { top } else { top.min(i64::from(self.modulo) - 1) };
        top + i64::from(self.plus)
    }
}

impl Regions {
    /// Bytes of one region.
    pub const fn size(&self, base: Base) -> u64 {
        match base {
            Base::Image => self.image,
            Base::Tables => self.tables,
            Base::Arena => self.arena,
            Base::Scratch => self.scratch,
            Base::Kv => self.kv,
            Base::Logits => self.logits,
        }
    }
}

impl Program {
    /// Proves every call that the steps can make: operands inside their regions for all tokens
    /// and positions, scalars inside their bounds, no store to weights and tables. A session of a
    /// validated program needs no check before a call.
    pub fn validate(&self) -> Result<(), InvalidProgram> {
        let invalid = |place: String, problem: String| InvalidProgram {
            program: self.name.clone(),
            place,
            problem,
        };
        let counts = [self.vocab, self.context, self.chunk, self.head_tile];
        if counts.contains(&0) {
            let problem = "vocabulary, context, chunk and head tile are positive";
            return Err(invalid("sizes".to_owned(), problem.to_owned()));
        }
        // Logits are placed by a token's number in its call: in the head one of a tile, in the
        // body one of a chunk.
        for (list, steps, call) in
            [("body", &self.body, self.chunk), ("head", &self.head, self.head_tile)]
        {
            for (i, step) in steps.iter().enumerate() {
                self.validate_step(step, call)
                    .map_err(|problem| invalid(format!("{list} step {i}"), problem))?;
            }
        }
        Ok(())
    }

    /// Checks a step that is called for at most `call` tokens of a chunk at once.
    fn validate_step(&self, step: &Step, call: u32) -> Result<(), String> {
        // No more tokens are ever at hand than the context has positions.
        let tokens = self.chunk.min(self.context);
        if matches!(step.split, Split::ChunkUnits { positions: 0, .. }) {
            return Err("positions of a chunk are positive".to_owned());
        }
        if step.variants.last().is_none_or(|v| v.tile != 1)
            || step.variants.windows(2).any(|w| w[0].tile <= w[1].tile)
        {
            return Err("variants are not by falling tile down to 1".to_owned());
        }
        for variant in &step.variants {
            let Some(kernel) = self.kernels.get(variant.kernel) else {
                return Err(format!("no kernel {}", variant.kernel));
            };
            if kernel.buffers.len() != step.operands.len()
                || kernel.scalars.len() != variant.scalars.len()
            {
                return Err(format!("kernel `{}`: wrong number of operands", kernel.name));
            }
            if variant.tile > tokens.min(call) {
                continue; // never called: so many tokens are never at hand
            }
            for (operand, buffer) in step.operands.iter().zip(&kernel.buffers) {
                let count = if operand.base == Base::Logits { call } else { tokens };
                self.validate_operand(operand, buffer, count - variant.tile, variant.tile)
                    .map_err(|e| {
                        format!("kernel `{}`, buffer `{}`: {e}", kernel.name, buffer.name)
                    })?;
            }
            for (source, scalar) in variant.scalars.iter().zip(&kernel.scalars) {
                let (lo, hi) = self.scalar_bounds(*source, step.split, variant.tile);
                if lo < scalar.lo || hi > scalar.hi {
                    return Err(format!(
                        "kernel `{}`, scalar `{}`: {lo}..={hi} passes {}..={}",
                        kernel.name, scalar.name, scalar.lo, scalar.hi
                    ));
                }
            }
        }
        Ok(())
    }

    fn validate_operand(
        &self,
        operand: &Operand,
        buffer: &crate::abi::BufferInfo,
        last_token: u32,
        tile: u32,
    ) -> Result<(), String> {
        match operand.base {
            Base::Image if buffer.writes => return Err("the image is never written".to_owned()),
            Base::Tables if buffer.writes => return Err("tables are never written".to_owned()),
            _ => {}
        }
        let last_position = self.context.saturating_sub(tile);
        let end = u64::from(last_token)
            .checked_mul(operand.token_stride)
            .zip(u64::from(last_position).checked_mul(operand.position_stride))
            .and_then(|(a, b)| a.checked_add(b))
            .and_then(|x| x.checked_add(operand.offset))
            .and_then(|x| x.checked_add(buffer.bytes));
        let size = self.regions.size(operand.base);
        match end {
            Some(end) if end <= size => {}
            Some(end) => return Err(format!("ends at byte {end} of {size} of {:?}", operand.base)),
            None => return Err("address overflows".to_owned()),
        }
        let strides = [operand.offset, operand.token_stride, operand.position_stride];
        if strides.iter().any(|s| s % 4 != 0) {
            return Err("not aligned to 4 bytes".to_owned());
        }
        Ok(())
    }

    fn scalar_bounds(&self, source: ScalarSource, split: Split, tile: u32) -> (i64, i64) {
        match source {
            ScalarSource::RangeBegin | ScalarSource::RangeEnd => {
                let most = split.units(self.context.saturating_sub(tile));
                (0, i64::try_from(most).unwrap_or(i64::MAX))
            }
            ScalarSource::Position(q) => {
                (i64::from(q.plus), q.most(self.context.saturating_sub(tile)))
            }
            ScalarSource::TokenId(q) => (i64::from(q.plus), q.most(self.vocab.saturating_sub(1))),
        }
    }
}
