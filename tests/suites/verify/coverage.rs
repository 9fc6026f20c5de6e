//! What the generators of `verify` reach: operations, formats, tails, values, scalars. A generator
//! that no longer reaches something proves less, and nobody would see it.

use std::collections::{BTreeMap, BTreeSet};

use deepthin::verify::choices::mix;
use deepthin::verify::cost::steps;
use deepthin::verify::guard::POISON;
use deepthin::verify::models::Generated;
use deepthin::verify::planned::{Drawing, Own, planned};
use deepthin::verify::random::random_model;
use deepthin::verify::values::Class;
use deepthin_compiler::fir::{Func, Graph, Op, Role};
use deepthin_compiler::format::{Activations, Format, Group, KvFormat, Scale};
use deepthin_compiler::lower::{EpilogueKernel, LinearKernel, Segment};
use deepthin_compiler::pipeline::{Lowered, lower};
use deepthin_compiler::plan::{PlanOptions, Spec};
use deepthin_compiler::vir::{Index, check_scalars};
use deepthin_dsl::model::Sharing;
use deepthin_runtime::program::Regions;

/// Models looked at.
const MODELS: u64 = 120;

/// How often things were seen.
#[derive(Default)]
struct Seen(BTreeMap<String, u32>);

impl Seen {
    fn see(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    #[track_caller]
    fn assert_at_least(&self, least: u32, all: impl IntoIterator<Item = impl AsRef<str>>) {
        for what in all {
            let what = what.as_ref();
            let seen = self.0.get(what).copied().unwrap_or(0);
            assert!(
                seen >= least,
                "`{what}` was seen {seen} times, expected {least}: {:?}",
                self.0
            );
        }
    }
}

fn models() -> impl Iterator<Item = Generated> {
    first(MODELS)
}

fn first(count: u64) -> impl Iterator<Item = Generated> {
    (0..count).map(|seed| random_model(seed).expect("nothing is rejected"))
}

fn lowered(generated: &Generated) -> Option<Lowered> {
    let Generated { model, formats } = generated;
    lower(model, formats, &PlanOptions::new(4, model.context)).ok()
}

/// The word of an op, with its norm and epilogue.
fn word(op: &Op) -> String {
    let text = format!("{op:?}");
    let name = text.split([' ', '(', '{']).next().unwrap_or_default().to_lowercase();
    match op {
        Op::Linear { norm, epilogue, .. } => {
            let epilogue = format!("{epilogue:?}");
            let epilogue = epilogue.split([' ', '{']).next().unwrap_or_default().to_lowercase();
            format!("{}{name} {epilogue}", if norm.is_some() { "norm " } else { "" })
        }
        _ => name,
    }
}

fn functions(graph: &Graph) -> impl Iterator<Item = &Func> {
    graph.blocks.iter().chain([&graph.embed, &graph.head])
}

#[test]
fn models_compile() {
    let valid = models().filter(|generated| lowered(generated).is_some()).count() as u64;
    assert!(valid * 100 >= MODELS * 80, "{valid} of {MODELS} compile");
    assert_eq!(valid, MODELS, "and the rest is a fault of the compiler or the generator");
}

#[test]
fn every_operation_is_met() {
    let mut seen = Seen::default();
    for lowered in models().filter_map(|generated| lowered(&generated)) {
        for op in functions(&lowered.plain).chain(functions(&lowered.fused)).flat_map(|f| &f.ops) {
            seen.see(word(op));
        }
    }
    let plain = ["embed", "norm", "linear store", "rope", "kvappend", "attention", "glu", "add"];
    let fused =
        ["norm linear store", "linear residual", "norm linear glu", "norm linear ropeappend"];
    seen.assert_at_least(100, plain.into_iter().chain(fused));
}

/// A matrix of a format in a kind of kernel.
fn see_format(seen: &mut Seen, kind: &str, format: Format) {
    seen.see(format!("any {format}"));
    seen.see(match format.codes().map(|codes| codes.scale) {
        Some(Scale::Bf16) => format!("{kind} of our own"),
        Some(Scale::F16) | None => format!("{kind} {format}"),
    });
}

/// Every format in some kernel and a file's in every kind, formats of codes with activations of f32 and with codes;
/// sums over pieces of every length, also where weights and activations differ in their groups.
#[test]
fn every_format_is_met_in_every_kind_of_kernel() {
    let mut seen = Seen::default();
    for lowered in first(30 * MODELS).filter_map(|generated| lowered(&generated)) {
        for kernel in &lowered.plan.kernels {
            match &kernel.spec {
                Spec::Embed(embed) => see_format(&mut seen, "embed", embed.format),
                Spec::Attention(attention) => seen.see(format!("attention {}", attention.kv)),
                Spec::AttentionChunks(chunks) => seen.see(format!("chunks {}", chunks.kv)),
                Spec::Linear(linear) => {
                    if linear.merge.is_some() {
                        seen.see("merge");
                    }
                    if let Some((_, cache)) = linear.epilogue.appends() {
                        seen.see(format!("append {}", cache.kv));
                        let groups = [cache.key_groups(), cache.value_groups()];
                        seen.see(format!("groups {groups:?}"));
                    }
                    let kind = match linear.epilogue {
                        EpilogueKernel::Logits { .. } => "logits",
                        EpilogueKernel::Residual => "residual",
                        EpilogueKernel::Glu => "glu",
                        EpilogueKernel::RopeAppend { .. } => "rope append",
                    };
                    for segment in &linear.segments {
                        let Segment { format, activations, .. } = *segment;
                        see_format(&mut seen, kind, format);
                        let Activations::Q8(group) = activations else {
                            seen.see(format!("{format} by f32"));
                            continue;
                        };
                        seen.see(format!("{format} by q8"));
                        seen.see(format!("{kind} by q8"));
                        let columns = linear.columns as usize;
                        let own = format.codes().unwrap().group;
                        seen.see(format!("pieces of {}", activations.piece(format, columns)));
                        seen.see(format!("{own:?} by {group:?}"));
                    }
                    seen.see(format!("{} ways of quantizing", quantizations(linear)));
                    seen.see(format!("{} segments", linear.segments.len()));
                }
            }
        }
    }
    let kinds = ["embed", "logits", "residual", "glu", "rope append"];
    // Of each kind with each format there are too many for every one to be met in so few models.
    let files = [Format::F32, Format::F16, Format::Bf16, Format::Q8_0, Format::Q4_0, Format::Q4_1];
    let all = kinds.iter().flat_map(|kind| files.map(|format| format!("{kind} {format}")));
    seen.assert_at_least(1, all.chain(kinds.map(|kind| format!("{kind} of our own"))));
    seen.assert_at_least(4, Format::ALL.map(|format| format!("any {format}")));
    seen.assert_at_least(10, ["1 segments", "2 segments", "3 segments"]);
    seen.assert_at_least(20, ["merge"]);
    let caches = ["attention", "chunks", "append"]
        .into_iter()
        .flat_map(|kind| KvFormat::ALL.map(|format| format!("{kind} {format}")));
    seen.assert_at_least(20, caches);
    seen.assert_at_least(5, ["groups [1, 1]", "groups [2, 2]"]);
    let coded = || Format::ALL.into_iter().filter(|format| format.codes().is_some());
    let by = |activations| coded().map(move |format| format!("{format} by {activations}"));
    seen.assert_at_least(5, by("f32").chain(by("q8")));
    seen.assert_at_least(5, kinds[1..].iter().map(|kind| format!("{kind} by q8")));
    seen.assert_at_least(5, [32, 64, 96, 192].map(|piece| format!("pieces of {piece}")));
    let pairs = Group::ALL.iter().flat_map(|own| Group::ALL.map(|other| (own, other)));
    seen.assert_at_least(1, pairs.map(|(own, other)| format!("{own:?} by {other:?}")));
    seen.assert_at_least(
        5,
        ["0 ways of quantizing", "1 ways of quantizing", "2 ways of quantizing"],
    );
}

/// The different codes that a kernel makes of its input.
fn quantizations(kernel: &LinearKernel) -> usize {
    let inputs = kernel.segments.iter().filter_map(|segment| kernel.quantized_input(segment));
    inputs.map(|(number, _)| number).collect::<BTreeSet<_>>().len()
}

/// Where in vectors, tiles and panels sizes end.
#[test]
fn every_tail_is_met() {
    let mut seen = Seen::default();
    let tail = |size: u32, of: u32| match size % of {
        0 => "none",
        1 => "one",
        rest if rest == of - 1 => "all but one",
        rest if rest < of / 2 => "less than half",
        _ => "half or more",
    };
    for Generated { model, .. } in models() {
        let block = &model.block;
        for (name, size) in [
            ("width", model.width),
            ("hidden", block.ffn_hidden),
            ("vocab", model.vocab),
            ("heads", block.heads * block.head_dim),
        ] {
            seen.see(format!("{name} of panels: {}", tail(size, 32)));
        }
        for (name, size) in [("width", model.width), ("hidden", block.ffn_hidden)] {
            seen.see(format!("{name} of lanes: {}", tail(size, 4)));
            seen.see(format!("{name} of tiles: {}", tail(size, 16)));
        }
        seen.see(format!(
            "pairs of tiles: {}",
            if block.head_dim % 32 == 0 { "whole" } else { "cut" }
        ));
        seen.see(format!("ratio {}", block.heads / block.kv_heads));
        seen.see(if model.context > 64 { "several chunks" } else { "one chunk" });
        seen.see(if model.tied { "tied" } else { "untied" });
        seen.see(if model.width >= 576 { "a real size" } else { "a small size" });
        seen.see(match model.sharing {
            Sharing::None => "sharing none",
            Sharing::Immediate(_) => "sharing immediate",
            Sharing::Loop(_) => "sharing loop",
            Sharing::Reverse => "sharing reverse",
            Sharing::Order(_) => "sharing order",
        });
    }
    let tails = ["none", "one", "all but one", "less than half", "half or more"];
    let of = |name: &str, tails: &[&str]| {
        tails.iter().map(|tail| format!("{name}: {tail}")).collect::<Vec<_>>()
    };
    for name in ["width of panels", "hidden of panels", "width of tiles", "hidden of tiles"] {
        seen.assert_at_least(2, of(name, &tails));
    }
    seen.assert_at_least(2, of("vocab of panels", &tails));
    for name in ["width of lanes", "hidden of lanes"] {
        seen.assert_at_least(4, of(name, &["none", "one", "all but one", "half or more"]));
    }
    seen.assert_at_least(5, ["pairs of tiles: whole", "pairs of tiles: cut"]);
    seen.assert_at_least(4, ["ratio 1", "ratio 2", "ratio 3", "ratio 4", "ratio 8"]);
    seen.assert_at_least(10, ["several chunks", "one chunk", "tied", "untied"]);
    seen.assert_at_least(2, ["a real size"]);
    let sharing = ["none", "immediate", "loop", "reverse", "order"];
    seen.assert_at_least(10, sharing.map(|scheme| format!("sharing {scheme}")));
}

#[test]
fn every_kind_of_call_is_drawn() {
    let mut seen = Seen::default();
    let drawing = Drawing { own: None, garbage: POISON, steps: 100_000 };
    for lowered in models().take(30).filter_map(|generated| lowered(&generated)) {
        let Regions { image, tables, .. } = lowered.plan.regions;
        let [image, tables] = [image, tables].map(|bytes| vec![0; usize::try_from(bytes).unwrap()]);
        for kernel in planned(&lowered) {
            for case in 0..12 {
                let seed = mix(kernel.number() as u64, case);
                let own = Own { image: &image, tables: &tables };
                let own = Drawing { own: Some(own), ..drawing };
                let drawn = kernel.draw(if case % 2 == 0 { &drawing } else { &own }, seed);
                let scalars = &drawn.case.scalars;
                assert_eq!(
                    check_scalars(&kernel.kernel, scalars),
                    Ok(()),
                    "{}",
                    kernel.kernel.name
                );
                seen.see(if drawn.place.is_some() { "of a session" } else { "any scalars" });
                seen.see(if drawn.is_tame { "tame" } else { "wild" });
                seen.see(if drawn.is_own { "own weights" } else { "drawn weights" });
                drawn.classes.iter().for_each(|class| seen.see(class.name()));
                for (index, value) in kernel.kernel.indices.values().zip(scalars) {
                    match index {
                        Index::Scalar { lo, .. } if value == lo => seen.see("least scalar"),
                        Index::Scalar { hi, .. } if value == hi => seen.see("greatest scalar"),
                        Index::Scalar { .. } => seen.see("scalar in between"),
                        Index::RangeBegin { .. } | Index::RangeEnd { .. } | Index::Loop => {}
                    }
                }
                let Some(Index::RangeBegin { count, .. }) = kernel.kernel.indices.values().next()
                else {
                    panic!("{} has no share", kernel.kernel.name);
                };
                seen.see(match (scalars[0], scalars[1]) {
                    (begin, end) if begin == end => "empty share",
                    (0, end) if end == i64::from(*count) => "whole share",
                    (0, _) => "first share",
                    (_, end) if end == i64::from(*count) => "last share",
                    _ => "inner share",
                });
            }
        }
    }
    seen.assert_at_least(60, Class::ALL.map(Class::name));
    seen.assert_at_least(500, ["of a session", "any scalars", "tame", "wild"]);
    seen.assert_at_least(100, ["own weights", "drawn weights"]);
    seen.assert_at_least(50, ["least scalar", "greatest scalar", "scalar in between"]);
    let shares = ["empty share", "whole share", "first share", "last share", "inner share"];
    seen.assert_at_least(50, shares);
}

/// Kernels of which one unit is long are run all the same, and with little else.
#[test]
fn long_kernels_are_run() {
    let large = models().filter_map(|generated| {
        let is_large = generated.model.width >= 576;
        if is_large { lowered(&generated) } else { None }
    });
    let mut longest = 0;
    for lowered in large.take(2) {
        for kernel in planned(&lowered) {
            let drawing = Drawing { own: None, garbage: POISON, steps: 1000 };
            let drawn: Vec<u64> = (0..20)
                .map(|seed| kernel.draw(&drawing, seed).case)
                .filter(|case| case.scalars[0] < case.scalars[1])
                .map(|case| steps(&kernel.kernel, &case.scalars, u64::MAX).unwrap())
                .collect();
            assert!(drawn.len() >= 10, "{} of 20 calls of {}", drawn.len(), kernel.kernel.name);
            longest = longest.max(*drawn.iter().max().unwrap());
        }
    }
    assert!((50_000..1_000_000).contains(&longest), "{longest}");
}

/// Mixed formats name every tensor of the model.
#[test]
fn mixed_formats_are_those_of_the_model() {
    let mut differing = 0;
    for Generated { model, formats } in models() {
        for block in 0..model.depth {
            let [gate, up] =
                [Role::FfnGate, Role::FfnUp].map(|role| formats.get(Some(block), role).unwrap());
            assert_eq!(gate, up, "gate and up share their panels");
            let query = formats.get(Some(block), Role::Query);
            differing += u32::from(query != formats.get(Some(block), Role::Value));
        }
    }
    assert!(differing > 20, "{differing}");
}
