//! The literal list of FIR passes, each with the reason for its place.
//!
//! A pass takes any graph and leaves alone what does not fit; a valid graph stays valid. No pass
//! changes which float operations are done or their order, so each is optional: the test suite
//! drops each in turn and compares bits.

mod fuse_glu;
mod fuse_norm;
mod fuse_qkv;
mod fuse_residual;
mod rewrite;

use super::verify::verify;
use super::{Func, Graph};

/// One rewrite of functions.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// Name in texts and on the command line.
    pub name: &'static str,
    /// Rewrites one function.
    pub run: fn(&mut Func),
    /// Why it stands where it stands in [`PASSES`].
    pub why_here: &'static str,
}

/// The passes in order.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "fuse-qkv",
        run: fuse_qkv::fuse_qkv,
        why_here: "before fuse-norm: afterwards the attention norm has one reader, not three",
    },
    Pass {
        name: "fuse-glu",
        run: fuse_glu::fuse_glu,
        why_here: "before fuse-norm: afterwards the feed-forward norm has one reader, not two",
    },
    Pass {
        name: "fuse-residual",
        run: fuse_residual::fuse_residual,
        why_here: "after fuse-qkv and fuse-glu, which take the products they know as theirs",
    },
    Pass {
        name: "fuse-norm",
        run: fuse_norm::fuse_norm,
        why_here: "last: it asks for a norm with one reader, which the others bring about",
    },
];

impl Pass {
    /// Runs the pass on every function of `graph`.
    pub fn apply(&self, graph: &mut Graph) {
        graph.funcs_mut().for_each(self.run);
    }
}

/// Runs all passes. A graph that [`build`](super::build()) made passes
/// [`verify_fused`](super::verify_fused) afterwards; debug builds verify after each pass.
pub fn fuse(graph: &mut Graph) {
    let checked = cfg!(debug_assertions) && verify(graph).is_ok();
    for pass in PASSES {
        pass.apply(graph);
        if checked && let Err(errors) = verify(graph) {
            unreachable!("{} made a valid graph invalid:\n{errors}", pass.name);
        }
    }
}
