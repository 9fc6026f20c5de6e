//! The verifier: proof that a kernel is well formed and touches no memory but its own.
//!
//! A [`Verified`] kernel cannot make a back end panic, and compiled or interpreted it reads and
//! writes only bytes of its buffers, given two things that the caller owes: buffers of at least
//! the declared sizes, 4-byte aligned and disjoint where written, and scalars that pass
//! [`check_scalars`](super::check_scalars).
//!
//! The rules, each with files that break it in `tests/filetests/vir/verify`:
//!
//! | rules      | about                                                                      |
//! |------------|----------------------------------------------------------------------------|
//! | V-01       | names                                                                      |
//! | V-02       | lanes                                                                      |
//! | V-03..V-06 | parameters: buffer sizes, scalar bounds, range pairs, loop indices last    |
//! | V-07, V-08 | values: defined once, before use, in scope                                 |
//! | V-09       | indices: visible where used                                                |
//! | V-10, V-19 | types of operands, results and carried values                              |
//! | V-11       | form and magnitude of index expressions                                    |
//! | V-12..V-16 | memory: bounds, alignment, access, lanes moved, stride                     |
//! | V-17, V-22 | shift amounts and mask constants                                           |
//! | V-18, V-21 | loops: bounds and depth                                                    |
//! | V-20       | index instructions fit i32                                                 |
//! | V-23       | buffers exist                                                              |
//!
//! [`Rule`] states each in full. Not checked: that a load from a `write` buffer finds what the
//! kernel stored there (it finds some bytes of its own buffer), and how long a kernel runs.
//!
//! The verifier itself takes any kernel: ids out of range, counts and factors of any size. All
//! bounds are computed in saturating 128-bit integers; V-11 refuses what would have saturated.
//! In a loop that provably never runs, V-12 and V-20 hold vacuously.

mod body;
mod parameters;

use std::ops::Deref;

use super::bounds::{self, Interval, MAX_MAGNITUDE};
use super::print::Line;
use super::{Affine, IndexId, Inst, Kernel, Rule, Ty, ValueId, VerifyError, VerifyErrors};
use crate::id::Id;

/// `i32::MAX`, the greatest size, count and bound.
const MAX_I32: u32 = i32::MAX.unsigned_abs();
/// The deepest nest of loops.
pub const MAX_DEPTH: usize = 16;
/// The longest name in bytes.
pub const MAX_NAME: usize = 128;
/// Errors reported of one kernel; the rest would only repeat them.
const MAX_ERRORS: usize = 100;

/// A kernel that passed [`verify`]: what the interpreter and the back ends accept.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified(Kernel);

impl Verified {
    /// The kernel, to be changed and verified again.
    pub fn into_kernel(self) -> Kernel {
        self.0
    }
}

impl Deref for Verified {
    type Target = Kernel;

    fn deref(&self) -> &Kernel {
        &self.0
    }
}

/// Checks every rule; the errors are all there are, up to a hundred.
pub fn verify(kernel: Kernel) -> Result<Verified, VerifyErrors> {
    let mut verifier = Verifier::new(&kernel);
    verifier.check_parameters();
    verifier.check_body(&kernel.body);
    verifier.check_all_defined();
    let errors = verifier.errors;
    if errors.is_empty() {
        Ok(Verified(kernel))
    } else {
        Err(VerifyErrors { kernel: kernel.name, errors })
    }
}

/// Where a value or a loop variable stands in the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State<T> {
    /// Its definition was not met.
    Ahead,
    /// It may be used.
    Visible(T),
    /// Its loop was left.
    Past,
}

/// The walk over one kernel.
struct Verifier<'k> {
    kernel: &'k Kernel,
    values: Vec<State<()>>,
    indices: Vec<State<Interval>>,
    /// Values defined in the open loops, innermost last.
    scope: Vec<ValueId>,
    /// Whether a loop around provably never runs.
    dead: bool,
    /// Position and instruction at hand, of every open loop and of the innermost instruction.
    path: Vec<(usize, &'k Inst)>,
    errors: Vec<VerifyError>,
}

impl<'k> Verifier<'k> {
    fn new(kernel: &'k Kernel) -> Self {
        Verifier {
            kernel,
            values: vec![State::Ahead; kernel.values.len()],
            indices: vec![State::Ahead; kernel.indices.len()],
            scope: Vec::new(),
            dead: false,
            path: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn report(&mut self, rule: Rule, found: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            let path = self.path.iter().map(|(position, _)| *position).collect();
            let line = self.path.last().map_or_else(String::new, |(_, inst)| {
                Line { kernel: self.kernel, inst }.to_string()
            });
            self.errors.push(VerifyError { rule, path, line, found: found.into() });
        }
    }

    fn require(&mut self, holds: bool, rule: Rule, found: impl FnOnce() -> String) {
        if !holds {
            self.report(rule, found());
        }
    }

    /// Reports a use that is not of a visible value; the value's type if it has one.
    fn used(&mut self, value: ValueId) -> Option<Ty> {
        let found = match self.values.get(value.index()) {
            Some(State::Visible(())) => return self.kernel.values.get(value).copied(),
            Some(State::Ahead) => "is not defined yet",
            Some(State::Past) => "is of a loop that was left",
            None => "is not a value of the kernel",
        };
        self.report(Rule::DefinedBefore, format!("{value} {found}"));
        self.kernel.values.get(value).copied()
    }

    fn operand(&mut self, value: ValueId, expected: Ty) {
        if let Some(found) = self.used(value) {
            self.require(found == expected, Rule::Types, || {
                format!("{value} is {found}, expected {expected}")
            });
        }
    }

    fn define(&mut self, value: ValueId) {
        match self.values.get_mut(value.index()) {
            Some(state @ State::Ahead) => {
                *state = State::Visible(());
                self.scope.push(value);
            }
            Some(State::Visible(()) | State::Past) => {
                self.report(Rule::DefinedOnce, format!("{value} is defined twice"));
            }
            None => self.report(Rule::DefinedOnce, format!("there is no {value}")),
        }
    }

    fn define_as(&mut self, value: ValueId, expected: Ty) {
        if let Some(found) = self.kernel.values.get(value).copied() {
            self.require(found == expected, Rule::Types, || {
                format!("{value} is {found}, expected {expected}")
            });
        }
        self.define(value);
    }

    fn interval(&self, index: IndexId) -> Option<Interval> {
        match self.indices.get(index.index()) {
            Some(State::Visible(interval)) => Some(*interval),
            Some(State::Ahead | State::Past) | None => None,
        }
    }

    /// Checks the form of an expression; what it can be, where all its indices are visible.
    fn range_of(&mut self, affine: &Affine) -> Option<Interval> {
        let ascending = affine.terms.is_sorted_by(|(a, _), (b, _)| a < b);
        self.require(ascending, Rule::AffineForm, || format!("{affine} does not ascend by index"));
        let zero = affine.terms.iter().any(|(_, factor)| *factor == 0);
        self.require(!zero, Rule::AffineForm, || format!("{affine} has a factor of 0"));
        match bounds::range_of(affine, |index| self.interval(index)) {
            Ok(range) => {
                self.require(range.magnitude <= MAX_MAGNITUDE, Rule::AffineForm, || {
                    format!("the magnitudes of {affine} sum to {}, past 2^62", range.magnitude)
                });
                Some(range.interval)
            }
            Err(index) => {
                self.report(Rule::IndexVisible, format!("{index} is not visible here"));
                None
            }
        }
    }

    fn check_all_defined(&mut self) {
        // Past the depth limit the walk did not look, so what it missed says nothing.
        if self.errors.iter().any(|error| error.rule == Rule::Depth) {
            return;
        }
        for (position, state) in self.values.clone().into_iter().enumerate() {
            self.require(state != State::Ahead, Rule::DefinedOnce, || {
                format!("{} is never defined", ValueId::from_index(position))
            });
        }
        for (position, state) in self.indices.clone().into_iter().enumerate() {
            self.require(state != State::Ahead, Rule::LoopIndex, || {
                format!("{} is no loop's variable", IndexId::from_index(position))
            });
        }
    }
}
