//! Faults of packing: codes and scales at the wrong place.

use super::Change::{To, With};
use super::Entry;

const PACK: &str = "compiler/src/pack/mod.rs";
const TABLES: &str = "compiler/src/pack/tables.rs";
const PANELS: &str = "compiler/src/pack/panels.rs";
const DEQUANT: &str = "compiler/src/dequant.rs";
const FORM: &str = "compiler/src/codes.rs";

pub(super) const FAULTS: &[Entry] = &[
    ("rotary-pairs-side-by-side", PACK, "tile * half + pair", To("pair * 2 + tile")),
    (
        "gate-and-up-swapped",
        PACK,
        "tile as usize,",
        With("if FAULT { 1 - tile as usize } else { tile as usize },"),
    ),
    (
        "angle-of-the-next-position",
        TABLES,
        "rope_turn(position, *frequency)",
        To("rope_turn(position + 1, *frequency)"),
    ),
    (
        "tensor-size-not-checked",
        PACK,
        "tensor.expected_bytes() != Some(tensor.bytes.len())",
        To("false"),
    ),
    (
        "gain-not-checked",
        PACK,
        "f32::from_le_bytes([value[0], value[1], value[2], value[3]]).is_finite()",
        To("true"),
    ),
    ("q8-not-biased", FORM, "*to = code ^ sign", To("*to = *code")),
    ("nibbles-swapped", FORM, "*low = byte & 15", To("*low = byte >> 4")),
    (
        "high-nibbles-of-low-columns",
        PANELS,
        "columns[i] & 15 | columns[i + 4] << 4",
        To("columns[i] & 15 | columns[i] << 4"),
    ),
    (
        "scale-and-minimum-swapped",
        PANELS,
        "[self.layout.scale(lane), self.layout.minimum(lane)]",
        With(
            "if FAULT && codes.minimum { [self.layout.minimum(lane), self.layout.scale(lane)] } else { [self.layout.scale(lane), self.layout.minimum(lane)] }",
        ),
    ),
    ("scale-not-checked", PANELS, "codes.scale.read([half[0], half[1]]).is_finite()", To("true")),
    (
        "threads-pack-the-same-panels",
        PANELS,
        "job.panels(i * share, out, panel_bytes)",
        To("job.panels(0, out, panel_bytes)"),
    ),
    (
        "symmetric-zero-point",
        DEQUANT,
        "d * (f32::from(q) - f32::from(self.bias()))",
        To("d * (f32::from(q) + 1.0 - f32::from(self.bias()))"),
    ),
];
