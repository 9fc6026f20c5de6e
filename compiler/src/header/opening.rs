//! The comment that opens a header: the model, the contract of a call, the layouts that occur.

use super::{Header, paragraph};
use crate::format::{Bits, Format, Group, KvFormat, Scale};
use crate::lower::EpilogueKernel;
use crate::pack::layout::Layout;
use crate::plan::Spec;
use deepthin_runtime::program::Step;
use std::fmt::Write;

/// The contract of a call. `NAME` and `name` stand for a kernel.
const CALLS: &str = "\
CALLS

Every kernel is a function of two tables:

    void name(uint8_t *const *buffers, const int64_t *scalars);

buffers[i] points to the bytes of buffer i, aligned to 4 (64 is faster); scalars[i] is scalar i.
The comment before each kernel tells what it computes and what the tables hold. With NAME for
the function's name in capitals there are the constants

    NAME_BUFFERS, NAME_SCALARS    entries of the two tables
    NAME_BUFFER_X, NAME_BYTES_X   index and bytes of the buffer x
    NAME_SCALAR_Y                 index of the scalar y

so that a call looks like this:

    uint8_t *buffers[NAME_BUFFERS];
    int64_t scalars[NAME_SCALARS];
    buffers[NAME_BUFFER_X] = (uint8_t *)x;    and so on
    scalars[NAME_SCALAR_BEGIN] = 0;           and so on
    name(buffers, scalars);

A kernel checks nothing. The caller owes it

  - buffers of at least the declared bytes; one that is written overlaps no other,
  - scalars inside their bounds, and begin <= end,
  - the usual floating-point environment: round to nearest, subnormals kept,
  - a processor that has at least the features of the target.

It touches no other memory, keeps nothing between calls, calls nothing, and gives the same bits
on every target.

A buffer marked `in` is read. Of one marked `out` the kernel writes the parts that belong to its
units and tokens; `in out` is read and written so. `scratch` is memory to work in, whose contents
mean nothing before or after. The header of another target may leave out a kernel's `hint` buffers.

The share begin..end of the units (tokens, panels, heads) makes it possible to split a call:
threads that call with shares, scratch and tables of their own and the other buffers in common
compute together what one call with all units computes, to the bit.
";

/// Layouts that every model has, before its matrices.
const VECTORS: &str = "\
LAYOUTS

Everything is little-endian; f32, f16 and bf16 are the usual floating-point formats.

vector of n: n f32, then room up to a multiple of 32 elements. What the room holds does not
    matter, and it may be written. Several vectors lie one behind the other, each with its room.
";

/// What every model has behind its matrices, before its caches.
const ROTARY: &str = "\
rotary row of a position: HEAD_DIM/2 cosines, then HEAD_DIM/2 sines, f32, of the angles
    position * ROPE_THETA^(-2i / HEAD_DIM) for i = 0, 1, .. HEAD_DIM/2 - 1. A head h is rotated in
    pairs a = h[i], b = h[i + HEAD_DIM/2]: with the cosine c and the sine s of i they become
    a * c - b * s and b * c + a * s.
";

/// The scales of quantized caches.
const SCALES: &str = "
scales of a layer's key cache: bf16 [CHUNKS][KV_HEADS][KEY_GROUPS][CHUNK], one for each group of a head
    and position. The elements i and i + HEAD_DIM/2 of a head are in group i / 16. With the greatest
    magnitude m of a group, s is the bf16 nearest to m / 127; where m is at least 2^-100, x has the
    code x * (1 / s), rounded to the nearest, the even of two, else 0. A group with an infinity or a
    NaN has the scale NaN and codes 0. An element is its code times s.

scales of a layer's value cache: bf16 [CHUNKS][KV_HEADS][VALUE_GROUPS][CHUNK], likewise; element i of a
    head is in group i / 32.
";

/// The whole comment.
pub(super) fn text(header: &Header<'_>) -> String {
    let Header { model, target, .. } = header;
    let name = &model.name;
    let cpu = target.cpu();
    let mut text = format!(
        "{name}.h: the kernels of the language model `{name}`, made by deepthin {}\n\n    \
         target     {}\n    \
         processor  {} or better ({})\n    \
         code       {name}.o, for the shapes of this model alone; with each kernel it is told what its\n               \
         matrices are stored as:\n\n",
        env!("CARGO_PKG_VERSION"),
        target.triple(),
        cpu.name,
        cpu.about,
    );
    for line in deepthin_dsl::print(model).lines() {
        // Writing to a string cannot fail.
        let _ = if line.is_empty() { writeln!(text) } else { writeln!(text, "    {line}") };
    }
    let _ =
        write!(text, "\n{CALLS}\n{VECTORS}\n{}\n{ROTARY}\n{}\n", matrices(header), caches(header));
    text.push_str(&order(header));
    text
}

/// The formats and row orders of a model's matrices.
#[derive(Default)]
struct Matrices {
    formats: Vec<Format>,
    /// Whether there are q and k matrices, and gate and up ones.
    rotated: bool,
    paired: bool,
}

impl Matrices {
    fn of(header: &Header<'_>) -> Self {
        let mut found = Matrices::default();
        for kernel in &header.lowered.plan.kernels {
            match &kernel.spec {
                Spec::Embed(embed) => found.formats.push(embed.format),
                Spec::Linear(linear) => {
                    found.formats.extend(linear.segments.iter().map(|segment| segment.format));
                    match linear.epilogue {
                        EpilogueKernel::Glu => found.paired = true,
                        EpilogueKernel::RopeAppend { .. } => found.rotated = true,
                        EpilogueKernel::Logits { .. } | EpilogueKernel::Residual => {}
                    }
                }
                Spec::Attention(_) | Spec::AttentionChunks(_) => {}
            }
        }
        found.formats.sort_unstable();
        found.formats.dedup();
        found
    }
}

/// The layouts of packed matrices: the formats and row orders that occur.
fn matrices(header: &Header<'_>) -> String {
    let Matrices { formats, rotated, paired } = Matrices::of(header);
    let mut text = String::from(
        "\
packed matrix: panels of 32 rows, one behind the other; rows past the last are zeros. A panel is
    two tiles, A and B, of 16 rows each, and is stored in steps along the columns:

",
    );
    for format in formats {
        text.push_str(&paragraph(&format!("      {format:8}"), &step(format)));
    }
    text.push_str("\n    Panel p of a matrix holds its rows 32p .. 32p+15 in tile A, 32p+16 .. 32p+31 in tile B, but\n\n");
    if rotated {
        text.push_str(&paragraph(
            "      ",
            "of q and k: a head begins a new panel; tile A holds its elements i .. i+15, tile B its \
             elements i + HEAD_DIM/2 .. i+15 + HEAD_DIM/2, for i = 0, 16, .. below HEAD_DIM/2; where \
             HEAD_DIM/2 ends inside a tile, the rows past it are zeros;",
        ));
        text.push_str(&paragraph(
            "      ",
            "of v: rows in order, but a head begins a new panel; where HEAD_DIM ends inside a panel, \
             the rows past it are zeros (where q, k and v are of one format, they are one matrix: \
             the panels of q, of k, of v);",
        ));
    }
    if paired {
        text.push_str(
            "      of gate and up: rows 16p .. 16p+15 of gate in tile A, of up in tile B.\n",
        );
    }
    text
}

/// The layouts of the caches, for what they keep.
fn caches(header: &Header<'_>) -> String {
    let kv = header.cache().kv;
    let (element, scales) = match kv {
        KvFormat::F32 | KvFormat::F16 => (kv.name(), ""),
        KvFormat::Q8 => ("signed bytes", SCALES),
    };
    let entry = |text: &str| paragraph("    ", text).trim_start().to_owned();
    let keys = entry(&format!(
        "key cache of a layer: {element} [CHUNKS][KV_HEADS][HEAD_DIM][CHUNK]; element d of a head's key \
             at a position lies in chunk position / CHUNK, in row d, at place position % CHUNK."
    ));
    let values = entry(&format!(
        "value cache of a layer: {element} [CHUNKS][KV_HEADS][CHUNK][HEAD_DIM]; a head's value at a \
             position lies in chunk position / CHUNK, in row position % CHUNK."
    ));
    let partials = entry(
        "what is known of each chunk: a record for each, one behind the other, of f32: of each query \
             head its max, then of each its total, in rows with room up to a multiple of 16, then of \
             each a vector of HEAD_DIM, its sum.",
    );
    format!("{keys}\n{values}\n{partials}{scales}")
}

/// What a step of a format holds.
fn step(format: Format) -> String {
    let codes = match format {
        Format::F32 | Format::F16 | Format::Bf16 => {
            let bytes = Layout { format, columns: 0 }.step_bytes();
            return format!("1 column in {bytes} bytes: an {format} for each of the 32 rows");
        }
        Format::Codes(codes) => codes,
    };
    let layout = Layout { format, columns: 32 };
    let (lines, block) = (layout.tile_lines(), layout.block_bytes());
    let columns = match (codes.group, codes.group.elements(0)) {
        (Group::Row, _) => format!("all columns K: K/32 blocks of {block} bytes"),
        (_, 32) => format!("32 columns: a block of {block} bytes"),
        (_, columns) => format!("{columns} columns: {} blocks of {block} bytes", columns / 32),
    };
    let scale = if codes.scale == Scale::F16 { "f16" } else { "bf16" };
    let (minima, weight) = match codes.bias() {
        0 => (format!(", 32 {scale} minima m"), "fma(c, d, m)".to_owned()),
        bias => (String::new(), format!("d * (c - {bias})")),
    };
    let nibbles =
        "columns 8j .. 8j+3 in the low halves of its bytes, 8j+4 .. 8j+7 in the high halves";
    let dword = match codes.bits {
        Bits::Eight => "the codes c of columns 4j .. 4j+3, a byte each".to_owned(),
        Bits::Four => format!("the codes c of {nibbles}"),
        Bits::Six => format!(
            "for j < 4 the low four bits of the codes c of {nibbles}; in lines 4 and 5 the high two \
             bits, those of columns 16(j-4) + 4f .. 16(j-4) + 4f+3 at bits 2f of its bytes"
        ),
    };
    format!(
        "{columns}, 32 {scale} scales d{minima}. A block has 32 columns: {lines} lines of 64 bytes \
         of tile A, as many of tile B. Line j of a tile has a dword for each of its rows: {dword}. \
         The weight is {weight}."
    )
}

/// Which kernels take a token from its id to the logits.
fn order(header: &Header<'_>) -> String {
    let plan = &header.lowered.plan;
    // Steps of one token: the others compute the same for several.
    let names = |steps: &[Step]| -> Vec<&str> {
        let steps = steps.iter().filter(|step| step.passes.have(1));
        let last = |step: &Step| step.variants.last().map(|variant| variant.kernel);
        let kernels = steps.filter_map(last).filter_map(|kernel| plan.kernels.get(kernel));
        kernels.map(|kernel| kernel.name.as_str()).collect()
    };
    let mut text =
        String::from("ORDER\n\nA token goes through these kernels, from its id to its logits:\n\n");
    let mut list = |names: &[&str], indent: &str| {
        for name in names {
            let _ = writeln!(text, "{indent}{name}");
        }
    };
    // What comes before the first layer is the embedding.
    let is_embedding = |step: &Step| {
        let kernel = step.variants.last().and_then(|variant| plan.kernels.get(variant.kernel));
        kernel.is_some_and(|kernel| matches!(kernel.spec, Spec::Embed(_)))
    };
    let mut begin = plan.body.iter().take_while(|step| is_embedding(step)).count();
    let mut layer = 0;
    list(&names(plan.body.get(..begin).unwrap_or_default()), "    ");
    while let Some(end) = plan.application_ends.get(layer) {
        let own = names(plan.body.get(begin..*end).unwrap_or_default());
        let mut same = layer + 1;
        let mut until = *end;
        while let Some(next) = plan.application_ends.get(same) {
            if names(plan.body.get(until..*next).unwrap_or_default()) != own {
                break;
            }
            (until, same) = (*next, same + 1);
        }
        let layers = if same == layer + 1 {
            format!("layer {layer}:")
        } else {
            format!("each of the layers {layer} to {}:", same - 1)
        };
        list(&[layers.as_str()], "    ");
        list(&own, "        ");
        (begin, layer) = (until, same);
    }
    list(&names(&plan.head), "    ");
    text.push_str(
        "
The number behind `_t` is how many tokens a kernel takes at once: there are kernels for tiles of
several tokens beside those for one. Of several tokens `attention` goes through all chunks, in the
place of `attention_chunks`; the product behind it then takes its vectors, by a kernel without
`merge_` in its name. A layer is an application of a block; layers that share a block share its
weights, never its caches.
",
    );
    text
}
