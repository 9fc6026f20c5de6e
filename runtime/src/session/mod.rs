//! A session: one sequence of tokens run through a program.
//!
//! Tokens go in by [`Session::feed`], in chunks of the program's size; each chunk walks the flat
//! step list once, every step on all threads with a barrier behind it. Because work is split
//! over rows, heads and tokens and never over a sum, the logits do not depend on the number of
//! threads or on how the tokens were cut.

mod error;
mod walk;

pub use error::{Origin, RunError};

use crate::logits::{BLOCK, Logits};
use crate::memory::Region;
use crate::program::{Base, Operand, Program, Step};
use crate::threads::{Pool, Worker};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use walk::{Pass, Regions, run_step};

/// Most parameters of either kind that a kernel may have.
pub const MAX_PARAMETERS: usize = 32;

/// What the sessions of a program share and only read.
#[derive(Debug)]
pub struct Constants {
    /// Packed weights.
    pub image: Region,
    /// Tables that were computed at start.
    pub tables: Region,
}

/// One sequence: its KV cache, its working memory and its threads.
pub struct Session {
    program: Arc<Program>,
    memory: Regions,
    pool: Pool,
    position: u32,
}

/// The times of one step of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTime {
    /// From the step's begin to the end of the barrier behind it, on the caller's thread.
    pub whole: Duration,
    /// In kernels, on each thread.
    pub kernels: Vec<Duration>,
}

impl Session {
    /// A session of `program` on its weights and tables, with `threads` threads (the caller's
    /// included).
    pub fn new(
        program: Arc<Program>,
        constants: Arc<Constants>,
        threads: usize,
    ) -> Result<Self, RunError> {
        program.validate()?;
        for kernel in &program.kernels {
            if kernel.buffers.len().max(kernel.scalars.len()) > MAX_PARAMETERS {
                return Err(RunError::Parameters { kernel: kernel.name.clone() });
            }
        }
        let sizes = program.regions;
        let Constants { image, tables } = &*constants;
        let shared = [("packed weights", image, sizes.image), ("tables", tables, sizes.tables)];
        for (what, region, expected) in shared {
            if (region.len() as u64) < expected {
                return Err(RunError::Constants { what, found: region.len(), expected });
            }
        }
        let pool = Pool::new(threads)?;
        // A page between the threads' parts: no line is shared.
        let stride = sizes.scratch.next_multiple_of(4096);
        let scratch = Region::new("working memory", stride.saturating_mul(threads as u64))?;
        let memory = Regions {
            constants,
            arena: Region::new("activations", sizes.arena)?,
            scratch,
            scratch_stride: usize::try_from(stride).unwrap_or(usize::MAX),
            kv: Region::new("the KV cache", sizes.kv)?,
            logits: Region::new("logits", sizes.logits)?,
        };
        Ok(Session { program, memory, pool, position: 0 })
    }

    /// Pins each thread but the caller's to a logical processor, as [`Pool::pin`] does; results do
    /// not depend on it.
    ///
    /// # Errors
    /// Fewer processors than threads; a processor that the system does not give to this process.
    pub fn pin(&mut self, processors: &[usize]) -> Result<(), RunError> {
        Ok(self.pool.pin(processors)?)
    }

    /// The program that runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Tokens in the KV cache.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Forgets the sequence from `position` on; a position past the present one changes nothing.
    pub fn truncate(&mut self, position: u32) {
        self.position = self.position.min(position);
    }

    /// Appends `tokens` to the sequence and returns the logits after the last one.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Logits<'_>, RunError> {
        let last = tokens.len().saturating_sub(1);
        let number = self.run(tokens, last, &mut |_, _| ())?;
        Ok(self.logits(number))
    }

    /// The logits of a token of the last head call.
    fn logits(&mut self, number: usize) -> Logits<'_> {
        let Program { vocab, regions, .. } = &*self.program;
        let blocks = u32::try_from((*vocab as usize).div_ceil(BLOCK)).unwrap_or(u32::MAX);
        let floats = number as u64 * regions.logits_stride;
        let integers = regions.maxima + number as u64 * regions.maxima_stride;
        let memory = &mut self.memory.logits;
        let (logits, maxima) =
            memory.floats_and_integers((floats, *vocab), (integers, blocks)).unwrap_or_default();
        Logits::with_maxima(logits, maxima)
    }

    /// Appends `tokens` and shows `visit` the logits after each token from index `from` on.
    pub fn feed_each(
        &mut self,
        tokens: &[u32],
        from: usize,
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), RunError> {
        self.run(tokens, from, visit)?;
        Ok(())
    }

    /// Appends `tokens` and shows `visit` what each step computes from: its number in the body, and
    /// the vector in its first operand, for each token in turn. Where the body ends, it shows the
    /// residual stream with the number of steps. All tokens go the way of several, which leaves every
    /// vector in memory. No logits are computed.
    pub fn feed_observed(
        &mut self,
        tokens: &[u32],
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), RunError> {
        self.admit(tokens)?;
        let program = Arc::clone(&self.program);
        let (stream, width) = program.stream;
        for chunk in tokens.chunks(program.chunk as usize) {
            let pass = Pass { is_observed: true, ..Pass::of(chunk, self.position) };
            let steps = program.body.iter().enumerate();
            for (number, step) in steps.filter(|(_, step)| pass.takes(step)) {
                if let Some((operand, elements)) = first_vector(&program, step) {
                    self.show(operand, elements, chunk.len(), &mut |x| visit(number, x));
                }
                self.walk_unchanged(std::slice::from_ref(step), pass)?;
            }
            self.show(stream, width, chunk.len(), &mut |x| visit(program.body.len(), x));
            self.position += u32::try_from(chunk.len()).unwrap_or(0);
        }
        Ok(())
    }

    /// Appends one token and returns the times of the steps of body and head that a token by itself
    /// takes. Looking at the clock takes some 50 ns a step.
    pub fn feed_timed(&mut self, token: u32) -> Result<Vec<StepTime>, RunError> {
        let tokens = [token];
        self.admit(&tokens)?;
        let program = Arc::clone(&self.program);
        let pass = Pass::of(&tokens, self.position);
        let mut times = self.walk_timed(&program.body, pass);
        times.extend(self.walk_timed(&program.head, pass));
        self.memory.constants.image.check_unchanged()?;
        self.position += 1;
        Ok(times)
    }

    /// Shows a vector of the arena for each token of a chunk.
    fn show(
        &mut self,
        operand: Operand,
        elements: u32,
        tokens: usize,
        visit: &mut dyn FnMut(&[f32]),
    ) {
        for token in 0..tokens as u64 {
            let place = operand.offset + token * operand.token_stride;
            visit(self.memory.arena.floats(place, elements).unwrap_or_default());
        }
    }

    /// Runs all chunks; the number of the last token in its head call.
    fn run(
        &mut self,
        tokens: &[u32],
        from: usize,
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<usize, RunError> {
        self.admit(tokens)?;
        let program = Arc::clone(&self.program);
        let mut number = 0;
        let mut done = 0;
        for chunk in tokens.chunks(program.chunk as usize) {
            let mut pass = Pass::of(chunk, self.position);
            self.walk_unchanged(&program.body, pass)?;
            let mut first = from.saturating_sub(done).min(chunk.len());
            while first < chunk.len() {
                pass.first = first;
                pass.end = chunk.len().min(first + program.head_tile as usize);
                self.walk_unchanged(&program.head, pass)?;
                for token in pass.first..pass.end {
                    number = token - pass.first;
                    let logits = self.logits(number);
                    if logits.first_non_finite().is_some() {
                        return Err(self.non_finite(pass, token));
                    }
                    visit(done + token, &logits);
                }
                first = pass.end;
            }
            done += chunk.len();
            self.position += u32::try_from(chunk.len()).unwrap_or(0);
        }
        Ok(number)
    }

    /// Checks everything about the tokens before anything is computed.
    fn admit(&self, tokens: &[u32]) -> Result<(), RunError> {
        let (context, vocab) = (self.program.context, self.program.vocab);
        if tokens.is_empty() {
            return Err(RunError::NoTokens);
        }
        if tokens.len() > (context - self.position.min(context)) as usize {
            return Err(RunError::ContextFull {
                position: self.position,
                tokens: tokens.len(),
                context,
            });
        }
        match tokens.iter().find(|t| **t >= vocab) {
            Some(&id) => Err(RunError::TokenId { id, vocab }),
            None => Ok(()),
        }
    }

    /// Runs steps on all threads, on weights that nobody has changed by then.
    fn walk_unchanged(&mut self, steps: &[Step], pass: Pass<'_>) -> Result<(), RunError> {
        self.walk(steps, pass);
        Ok(self.memory.constants.image.check_unchanged()?)
    }

    /// Runs steps on all threads.
    fn walk(&mut self, steps: &[Step], pass: Pass<'_>) {
        let (program, memory) = (&self.program, &self.memory);
        self.pool.run(&|worker: &Worker<'_>| {
            for step in pass.steps(steps) {
                run_step(program, memory, step, pass, worker);
                worker.barrier();
            }
        });
    }

    /// Runs steps on all threads, with a look at the clock around each.
    fn walk_timed(&mut self, steps: &[Step], pass: Pass<'_>) -> Vec<StepTime> {
        let (program, memory) = (&self.program, &self.memory);
        let threads = self.pool.threads();
        let spans: Vec<Mutex<Vec<[Duration; 2]>>> =
            (0..threads).map(|_| Mutex::new(Vec::with_capacity(steps.len()))).collect();
        self.pool.run(&|worker: &Worker<'_>| {
            let Some(own) = spans.get(worker.thread) else { return };
            let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
            worker.barrier(); // all are awake
            for step in pass.steps(steps) {
                let begin = Instant::now();
                run_step(program, memory, step, pass, worker);
                let computed = begin.elapsed();
                worker.barrier();
                own.push([begin.elapsed(), computed]);
            }
        });
        let spans: Vec<Vec<[Duration; 2]>> = spans
            .into_iter()
            .map(|spans| spans.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect();
        let time = |step: usize| {
            let mut of = spans.iter().filter_map(|spans| spans.get(step).copied());
            let kernels = of.clone().map(|[_, computed]| computed).collect();
            StepTime { whole: of.next().map_or(Duration::ZERO, |[whole, _]| whole), kernels }
        };
        (0..spans.first().map_or(0, Vec::len)).map(time).collect()
    }

    /// Names the place where the computation of `token` first leaves the finite numbers: the
    /// chunk is computed again (its KV entries get the same values) application by application.
    fn non_finite(&mut self, pass: Pass<'_>, token: usize) -> RunError {
        let program = Arc::clone(&self.program);
        let position = pass.position + u32::try_from(token).unwrap_or(0);
        let pass = Pass { first: 0, end: pass.tokens.len(), ..pass };
        let (stream, elements) = program.stream;
        let place = stream.offset + token as u64 * stream.token_stride;
        let embed = program.body.len().min(1);
        let mut start = 0;
        let ends = std::iter::once(embed).chain(program.application_ends.iter().copied());
        for (i, end) in ends.enumerate() {
            self.walk(&program.body[start..end.max(start)], pass);
            start = end.max(start);
            let values = self.memory.arena.floats(place, elements).unwrap_or_default();
            if values.iter().any(|value| !value.is_finite()) {
                let origin = i.checked_sub(1).map_or(Origin::Embedding, Origin::Application);
                return RunError::NonFinite { position, origin };
            }
        }
        RunError::NonFinite { position, origin: Origin::Head }
    }
}

/// The vector that a step reads first, with its room for whole panels, where it lies in the arena.
fn first_vector(program: &Program, step: &Step) -> Option<(Operand, u32)> {
    let operand = step.operands.first().filter(|operand| operand.base == Base::Arena)?;
    let kernel = program.kernels.get(step.variants.last()?.kernel)?;
    Some((*operand, u32::try_from(kernel.buffers.first()?.bytes / 4).ok()?))
}
