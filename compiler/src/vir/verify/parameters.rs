//! The rules of names, lanes and parameters: V-01 to V-06.

use super::{MAX_I32, MAX_NAME, State, Verifier};
use crate::id::Id;
use crate::vir::bounds::Interval;
use crate::vir::print::is_identifier;
use crate::vir::{Buffer, Index, IndexId, Rule};

impl Verifier<'_> {
    pub(super) fn check_parameters(&mut self) {
        let kernel = self.kernel;
        self.require(matches!(kernel.lanes, 4 | 8 | 16), Rule::Lanes, || {
            format!("found {} lanes, expected 4, 8 or 16", kernel.lanes)
        });
        self.check_name(&kernel.name);
        let mut names = Vec::new();
        for (id, Buffer { name, bytes, .. }) in kernel.buffers.iter() {
            names.push(name);
            self.require((1..=MAX_I32).contains(bytes), Rule::BufferSize, || {
                format!("{id} (`{name}`) has {bytes} bytes, expected 1 to {MAX_I32}")
            });
        }
        let mut previous = None;
        for (id, index) in kernel.indices.iter() {
            self.check_index(id, index, previous);
            if let Index::Scalar { name, .. } | Index::RangeBegin { name, .. } = index {
                names.push(name);
            }
            previous = Some(index);
        }
        if let Some(Index::RangeBegin { name, .. }) = previous {
            self.report(Rule::RangePair, format!("range `{name}` has no end"));
        }
        names.iter().for_each(|name| self.check_name(name));
        names.sort_unstable();
        for pair in names.windows(2) {
            if let [first, second] = pair
                && first == second
            {
                self.report(Rule::Names, format!("two parameters are called `{first}`"));
            }
        }
    }

    fn check_name(&mut self, name: &str) {
        self.require(is_identifier(name) && name.len() <= MAX_NAME, Rule::Names, || {
            let start: String = name.chars().take(MAX_NAME).collect();
            format!("{start:?} is no identifier of at most {MAX_NAME} bytes")
        });
    }

    fn check_index(&mut self, id: IndexId, index: &Index, previous: Option<&Index>) {
        let begun = match previous {
            Some(Index::RangeBegin { name, count }) => Some((name, *count)),
            Some(Index::Scalar { .. } | Index::RangeEnd { .. } | Index::Loop) | None => None,
        };
        if let (Some((name, _)), Index::Scalar { .. } | Index::RangeBegin { .. } | Index::Loop) =
            (begun, index)
        {
            self.report(Rule::RangePair, format!("range `{name}` has no end"));
        }
        if previous == Some(&Index::Loop) && *index != Index::Loop {
            self.report(Rule::LoopIndex, format!("parameter {id} follows a loop index"));
        }
        let (lo, hi) = match index {
            Index::Scalar { name, lo, hi } => {
                let fits = i64::from(i32::MIN) <= *lo && lo <= hi && *hi <= i64::from(i32::MAX);
                self.require(fits, Rule::ScalarBounds, || {
                    format!("`{name}` is {lo}..={hi}, expected lo <= hi within i32")
                });
                (*lo, *hi)
            }
            Index::RangeBegin { name, count } => {
                self.require(*count <= MAX_I32, Rule::RangePair, || {
                    format!("range `{name}` has the count {count}, expected at most {MAX_I32}")
                });
                (0, i64::from(*count))
            }
            Index::RangeEnd { count } => {
                self.require(begun.is_some_and(|(_, n)| n == *count), Rule::RangePair, || {
                    format!("{id} ends no range of 0..{count}")
                });
                (0, i64::from(*count))
            }
            Index::Loop => return,
        };
        let interval = Interval::new(lo, hi).unwrap_or(Interval::point(lo));
        self.indices[id.index()] = State::Visible(interval);
    }
}
