//! Calls of a planned model's kernels, drawn from seeds: what a session could pass, and worse.

use std::borrow::Cow;
use std::sync::Arc;

use deepthin_compiler::lower::{CacheLayout, EpilogueKernel, LinearKernel, Role, vector_bytes};
use deepthin_compiler::pack::layout::Layout;
use deepthin_compiler::pipeline::Lowered;
use deepthin_compiler::plan::{Plan, Spec};
use deepthin_compiler::vir::{Buffer, Verified};
use deepthin_runtime::program::{Base, Operand, Step};
use deepthin_runtime::session::Constants;

use super::caches;
use super::case::Case;
use super::choices::Choices;
use super::cost::steps;
use super::partials::Records;
use super::scalars::{Place, any_scalars, narrow, one_unit, session_scalars};
use super::values::{Class, float_bytes, packed};

/// A kernel of a plan with the places that it is called from.
#[derive(Debug, Clone)]
pub struct Planned<'p> {
    /// The kernel.
    pub kernel: Arc<Verified>,
    /// What it was lowered from.
    pub spec: &'p Spec,
    plan: &'p Plan,
    /// Its number in the plan.
    number: usize,
    /// The steps that call it.
    calls: Vec<&'p Step>,
}

/// What sessions of the model share.
#[derive(Debug, Clone, Copy)]
pub struct Own<'i> {
    /// Its packed weights.
    pub image: &'i [u8],
    /// Its tables.
    pub tables: &'i [u8],
}

impl<'i> Own<'i> {
    /// The bytes of both, while no session uses them.
    pub fn of(constants: &'i mut Constants) -> Self {
        Own { image: constants.image.bytes(), tables: constants.tables.bytes() }
    }
}

/// How calls are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Drawing<'i> {
    /// The model's own weights and tables, where there are any: half of the calls take them.
    pub own: Option<Own<'i>>,
    /// What memory holds that the kernel does not read.
    pub garbage: u8,
    /// Most instructions of a call. A kernel that runs more with the least share at the first
    /// position is called with these all the same.
    pub steps: u64,
}

/// A call, and what is known of it.
#[derive(Debug, Clone)]
pub struct Drawn<'i> {
    /// The call.
    pub case: Case<'i>,
    /// Position and token, where a session could make the call.
    pub place: Option<Place>,
    /// Whether all contents are of classes whose accuracy is bounded.
    pub is_tame: bool,
    /// Whether weights are the model's own.
    pub is_own: bool,
    /// The classes of its contents.
    pub classes: Vec<Class>,
}

/// Every kernel of a plan.
pub fn planned(lowered: &Lowered) -> Vec<Planned<'_>> {
    let plan = &lowered.plan;
    let mut all = Vec::with_capacity(plan.kernels.len());
    for (number, (verified, kernel)) in lowered.kernels.iter().zip(&plan.kernels).enumerate() {
        let steps = plan.body.iter().chain(&plan.head);
        let calling = steps.filter(|step| step.variants.iter().any(|v| v.kernel == number));
        all.push(Planned {
            kernel: Arc::new(verified.clone()),
            spec: &kernel.spec,
            plan,
            number,
            calls: calling.collect(),
        });
    }
    all
}

/// What decides the contents of one call.
struct Contents<'d, 'i> {
    drawing: &'d Drawing<'i>,
    classes: Vec<Class>,
    place: Place,
    /// The place, where a session could make the call.
    session: Option<Place>,
    is_tame: bool,
    is_own: bool,
    choices: Choices,
}

impl Planned<'_> {
    /// Tokens of one call.
    pub fn tokens(&self) -> u32 {
        match self.spec {
            Spec::Linear(kernel) => kernel.tokens,
            Spec::Embed(_) | Spec::Attention(_) | Spec::AttentionChunks(_) => 1,
        }
    }

    /// Its number in the plan.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Positions of the KV cache.
    pub fn context(&self) -> u32 {
        self.plan.options.context
    }

    /// What each buffer is.
    pub fn roles(&self) -> &[Role] {
        self.plan.kernels.get(self.number).map_or(&[], |kernel| &kernel.lowered.buffers)
    }

    /// The call that a seed decides. Three in four are such as a session makes; half of all have
    /// tame contents.
    pub fn draw<'i>(&self, drawing: &Drawing<'i>, seed: u64) -> Drawn<'i> {
        let mut choices = Choices::seeded(seed);
        let is_session = !choices.once_in(4);
        let is_tame = choices.once_in(2);
        let is_own = drawing.own.is_some() && choices.once_in(2);
        let (place, scalars) = self.scalars(is_session, drawing.steps, &mut choices);
        let calls = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        let step = self.calls.get(choices.below(calls) as usize);
        let operands = step.map_or(&[][..], |step| &step.operands);
        let classes = Vec::new();
        let session = is_session.then_some(place);
        let mut contents = Contents { drawing, classes, place, session, is_tame, is_own, choices };
        let buffers =
            self.kernel.buffers.values().zip(self.roles()).enumerate().map(|(i, both)| {
                let operand = operands.get(i);
                self.contents(both.0, *both.1, operand, &mut contents)
            });
        let buffers = buffers.collect();
        let case = Case { kernel: Arc::clone(&self.kernel), buffers, scalars };
        Drawn { case, place: session, is_tame, is_own, classes: contents.classes }
    }

    /// Scalars that make the kernel run at most `limit` instructions, or as many as one unit takes.
    fn scalars(&self, is_session: bool, limit: u64, choices: &mut Choices) -> (Place, Vec<i64>) {
        let last = self.plan.options.context.saturating_sub(self.tokens());
        let inside = within(last, choices);
        let position = choices.pick(&[0, last, last.min(63), last.min(64), inside, inside]);
        let last_token = self.plan.vocab.saturating_sub(1);
        let token = [0, last_token, within(last_token, choices)];
        let mut place = Place { position, token: choices.pick(&token) };
        let one = steps(&self.kernel, &one_unit(&self.kernel), u64::MAX).unwrap_or(u64::MAX);
        let limit = limit.max(one);
        let fits = |scalars: &[i64]| steps(&self.kernel, scalars, limit).is_some();
        if !is_session {
            let mut scalars = any_scalars(&self.kernel, choices);
            while !fits(&scalars) && narrow(&self.kernel, &mut scalars) {}
            return (place, scalars);
        }
        let mut units = u32::MAX;
        // An empty share fits always: were it taken in every round, long kernels would get little
        // else.
        let mut is_idle_welcome = true;
        loop {
            let scalars = self.session_scalars(place, units, choices);
            let is_idle = matches!(*scalars.as_slice(), [begin, end, ..] if begin == end);
            let is_taken = fits(&scalars) && (is_idle_welcome || !is_idle);
            if is_taken || (units == 1 && place.position == 0) {
                return (place, scalars);
            }
            is_idle_welcome = false;
            // Of a share that is too long first its length, then the position is halved.
            if units > 1 {
                units = units.min(1 << 16) / 4;
            } else {
                place.position /= 2;
            }
        }
    }

    fn session_scalars(&self, place: Place, units: u32, choices: &mut Choices) -> Vec<i64> {
        let sources = self.plan.kernels.get(self.number).map_or(&[][..], |k| &k.lowered.scalars);
        // All steps that call a kernel split their work in the same way.
        let whole = self.calls.first().map_or(0, |step| step.split.units(place.position));
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        session_scalars(&self.kernel, sources, place, [whole, units], choices)
    }

    /// Contents of one buffer.
    fn contents<'i>(
        &self,
        buffer: &Buffer,
        role: Role,
        operand: Option<&Operand>,
        contents: &mut Contents<'_, 'i>,
    ) -> Cow<'i, [u8]> {
        let bytes = buffer.bytes as usize;
        if !self.is_read(role) {
            return vec![contents.drawing.garbage; bytes].into();
        }
        if let Some(own) = operand.and_then(|operand| contents.own(operand, bytes)) {
            return own.into();
        }
        let class = contents.class();
        let choices = &mut contents.choices;
        if let Some(layout) = self.layout(role) {
            return packed(layout, bytes, class, choices).into();
        }
        if let Some(layout) = self.cache(role) {
            let mut slot = caches::contents(layout, role, bytes, class, choices);
            if let Some(place) = contents.session {
                caches::hide(layout, role, place.position, &mut slot);
            }
            return slot.into();
        }
        let mut floats = class.floats(bytes / 4, choices);
        if let (true, Role::Partials, Spec::Linear(LinearKernel { merge: Some(sizes), .. })) =
            (contents.is_tame, role, self.spec)
        {
            Records::new(sizes.heads, sizes.head_dim).make_possible(&mut floats);
        }
        let mut floats = float_bytes(&floats);
        if role == Role::Input {
            self.pad(&mut floats, contents.drawing.garbage);
        }
        floats.into()
    }

    /// Whether a buffer comes to the kernel with contents that matter.
    fn is_read(&self, role: Role) -> bool {
        match (role, self.spec) {
            (Role::Scratch(_) | Role::Ahead(..), _)
            | (Role::Keys | Role::Values | Role::KeyScales | Role::ValueScales, Spec::Linear(_)) => {
                false
            }
            (Role::Output, Spec::Linear(k)) => k.epilogue == EpilogueKernel::Residual,
            (Role::Partials, spec) => matches!(spec, Spec::Linear(_)),
            (Role::Output | Role::Maxima, _) => false,
            (Role::Input | Role::Weights(_) | Role::Gain | Role::RopeTable, _)
            | (Role::Keys | Role::Values | Role::KeyScales | Role::ValueScales, _) => true,
        }
    }

    /// The layout of a packed matrix.
    fn layout(&self, role: Role) -> Option<Layout> {
        match (role, self.spec) {
            (Role::Weights(i), Spec::Linear(k)) => {
                let format = k.segments.get(i)?.format;
                Some(Layout { format, columns: k.columns })
            }
            (Role::Weights(_), Spec::Embed(k)) => {
                Some(Layout { format: k.format, columns: k.width })
            }
            _ => None,
        }
    }

    /// The layout of the KV slot that attention reads.
    fn cache(&self, role: Role) -> Option<CacheLayout> {
        match (role, self.spec) {
            (
                Role::Keys | Role::Values | Role::KeyScales | Role::ValueScales,
                Spec::Attention(kernel) | Spec::AttentionChunks(kernel),
            ) => Some(kernel.cache()),
            _ => None,
        }
    }

    /// Puts garbage behind the elements of each input vector.
    fn pad(&self, vectors: &mut [u8], garbage: u8) {
        let width = match self.spec {
            Spec::Linear(kernel) => kernel.columns,
            Spec::Attention(kernel) | Spec::AttentionChunks(kernel) => {
                kernel.shape.heads * kernel.shape.head_dim
            }
            Spec::Embed(_) => return,
        };
        for vector in vectors.chunks_mut(vector_bytes(width) as usize) {
            vector.iter_mut().skip(width as usize * 4).for_each(|byte| *byte = garbage);
        }
    }
}

impl<'i> Contents<'_, 'i> {
    /// The model's own bytes of an operand, where the call takes them.
    fn own(&self, operand: &Operand, bytes: usize) -> Option<&'i [u8]> {
        let own = self.drawing.own.filter(|_| self.is_own)?;
        let region = match operand.base {
            Base::Image => own.image,
            Base::Tables => own.tables,
            Base::Arena | Base::Scratch | Base::Kv | Base::Logits => return None,
        };
        let skip = operand.position_stride.checked_mul(u64::from(self.place.position))?;
        let first = usize::try_from(operand.offset.checked_add(skip)?).ok()?;
        region.get(first..first.checked_add(bytes)?)
    }

    /// A class for the next buffer: mostly normal numbers where the call is tame.
    fn class(&mut self) -> Class {
        let class = match (self.is_tame, self.choices.once_in(2)) {
            (true, true) => Class::Normal,
            (true, false) => self.choices.pick(&Class::TAME),
            (false, _) => self.choices.pick(&Class::ALL),
        };
        self.classes.push(class);
        class
    }
}

/// A number of `0..=last`.
fn within(last: u32, choices: &mut Choices) -> u32 {
    choices.below(last.saturating_add(1))
}
