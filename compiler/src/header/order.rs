//! The order in which a product is summed, in words: for each kind of weights in a kernel.

use super::count;
use crate::format::{Activations, Format};
use crate::lower::{LinearKernel, Segment};

/// What a kernel's sums are, segment kind by segment kind.
pub(super) fn order(kernel: &LinearKernel) -> String {
    let mut kinds: Vec<Segment> = Vec::new();
    for segment in &kernel.segments {
        let kind = |other: &Segment| (other.format, other.activations);
        if kinds.iter().all(|other| kind(other) != kind(segment)) {
            kinds.push(*segment);
        }
    }
    let has_one = kinds.len() == 1;
    let words = kinds.iter().map(|kind| {
        let of = if has_one { String::new() } else { format!("Of {}: ", kind.format) };
        of + &sums(kernel, kind)
    });
    words.collect::<Vec<_>>().join(" ")
}

fn sums(kernel: &LinearKernel, segment: &Segment) -> String {
    let (Format::Codes(codes), Activations::Q8(group), Some((_, piece))) =
        (segment.format, segment.activations, kernel.quantized_input(segment))
    else {
        return "Sums run over ascending columns from +0, a fused multiply-add for each."
            .to_owned();
    };
    let x = if kernel.norm.is_some() { "n" } else { "x" };
    let code = match codes.bias() {
        0 => "c".to_owned(),
        bias => format!("(c - {bias})"),
    };
    let minimum = if codes.minimum { ", then acc = fma(m, D * sum of C, acc)" } else { "" };
    format!(
        "{x} is taken as codes C in groups of {}: D is the greatest magnitude of a group by 127, C is \
         {x} * (127 / that magnitude) rounded to an integer, ties to even (0 where the magnitude is \
         below 2^-100; where one is not finite, D is a NaN and C are 0). From acc = +0, for each {} in \
         ascending order: acc = fma(sum of {code} * C, d * D, acc){minimum}.",
        count(group.columns(kernel.columns), "column"),
        count(piece, "column"),
    )
}
