//! Epilogues of linear kernels: from the products of a thread's panels to the output. That of q, k
//! and v is in [`append`](super::append).

use super::exp::silu;
use super::norm::Rows;
use crate::pack::layout::{PANEL, TILE};
use crate::vir::{Bound, Builder, Elem, IndexId};

/// Products and output of a kernel.
pub(super) struct Output {
    /// Products, 32 elements for each panel.
    pub(super) y: Rows,
    /// Output vector.
    pub(super) out: Rows,
    /// Tokens of the tile.
    pub(super) tokens: u32,
    /// The thread's panels.
    pub(super) range: (IndexId, IndexId),
}

/// `out += y`.
pub(super) fn residual(b: &mut Builder, o: &Output) {
    let lanes = b.lanes();
    over_panels(b, o, |b, panel| {
        b.repeat(PANEL / lanes, |b, v| {
            for token in 0..o.tokens {
                let place = |rows: Rows| {
                    rows.at(token, 0)
                        .plus(panel, i64::from(PANEL) * 4)
                        .plus(v, i64::from(lanes) * 4)
                };
                let product = b.load(Elem::F32, o.y.buffer, place(o.y));
                let residual = b.load(Elem::F32, o.out.buffer, place(o.out));
                let sum = b.fadd(product, residual);
                b.store(sum, Elem::F32, o.out.buffer, place(o.out));
            }
        });
    });
}

/// `out[16p + r] = silu(y[32p + r]) * y[32p + 16 + r]`.
pub(super) fn glu(b: &mut Builder, o: &Output) {
    let lanes = b.lanes();
    over_panels(b, o, |b, panel| {
        b.repeat(TILE / lanes, |b, v| {
            for token in 0..o.tokens {
                let place = |rows: Rows, first: u32, panel_rows: u32| {
                    rows.at(token, first)
                        .plus(panel, i64::from(panel_rows) * 4)
                        .plus(v, i64::from(lanes) * 4)
                };
                let gate = b.load(Elem::F32, o.y.buffer, place(o.y, 0, PANEL));
                let up = b.load(Elem::F32, o.y.buffer, place(o.y, TILE, PANEL));
                let activated = silu(b, gate);
                let product = b.fmul(activated, up);
                b.store(product, Elem::F32, o.out.buffer, place(o.out, 0, TILE));
            }
        });
    });
}

fn over_panels(b: &mut Builder, o: &Output, body: impl FnOnce(&mut Builder, IndexId)) {
    let (begin, end) = o.range;
    b.for_range(Bound::Scalar(begin), Bound::Scalar(end), [], |b, panel, []| {
        body(b, panel);
        []
    });
}
