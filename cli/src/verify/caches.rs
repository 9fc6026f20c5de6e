//! What KV caches hold in drawn calls: numbers or codes of a class, and at positions that the call
//! does not see what no sum survives.

use deepthin_compiler::format::KvFormat;
use deepthin_compiler::lower::{CHUNK, CacheLayout, Role};
use half::{bf16, f16};

use super::choices::Choices;
use super::values::{Class, float_bytes};

/// Contents of a part of a KV slot: `bytes` bytes of `role`.
pub fn contents(
    layout: CacheLayout,
    role: Role,
    bytes: usize,
    class: Class,
    choices: &mut Choices,
) -> Vec<u8> {
    match (layout.kv, role) {
        (KvFormat::Q8, Role::KeyScales | Role::ValueScales) => {
            let floats = class.floats(bytes / 2, choices);
            // Codes go up to 128: scales of numbers near 1 are small.
            floats.iter().flat_map(|x| bf16::from_f32(x / 64.0).to_le_bytes()).collect()
        }
        (KvFormat::Q8, _) => codes(bytes, class, choices),
        (KvFormat::F16, _) => {
            let floats = class.floats(bytes / 2, choices);
            floats.iter().flat_map(|x| half(*x, class).to_le_bytes()).collect()
        }
        (KvFormat::F32, _) => float_bytes(&class.floats(bytes / 4, choices)),
    }
}

/// The f16 of a number; of any bits any bits, and of a subnormal number a subnormal one.
fn half(x: f32, class: Class) -> f16 {
    let [low, high, ..] = x.to_bits().to_le_bytes();
    match class {
        Class::Any => f16::from_bits(u16::from_le_bytes([low, high])),
        Class::Subnormal => f16::from_bits(u16::from_le_bytes([low, high & 0x83])),
        _ => f16::from_f32(x),
    }
}

/// Signed bytes, -128 included, which no cache of a session holds.
fn codes(bytes: usize, class: Class, choices: &mut Choices) -> Vec<u8> {
    match class {
        Class::Zeros => vec![0; bytes],
        _ => {
            let words = (0..bytes.div_ceil(4)).map(|_| choices.bits());
            let mut codes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
            codes.truncate(bytes);
            codes
        }
    }
}

/// Makes all elements behind `position` NaN, or the code -1 with a scale of NaN.
pub fn hide(layout: CacheLayout, role: Role, position: u32, bytes: &mut [u8]) {
    let element = match role {
        Role::KeyScales | Role::ValueScales => 2,
        _ => layout.kv.element_bytes() as usize,
    };
    let [kv_heads, dim] = [layout.kv_heads, layout.head_dim].map(|n| n.max(1) as usize);
    let chunk = CHUNK as usize;
    // Elements of a head in a chunk, and the place there of the position of one of them.
    let (elements, place): (usize, &dyn Fn(usize) -> usize) = match role {
        Role::Keys => (chunk * dim, &|number| number % chunk),
        Role::Values => (chunk * dim, &|number| number / dim),
        Role::KeyScales => (chunk * layout.key_groups() as usize, &|number| number % chunk),
        _ => (chunk * layout.value_groups() as usize, &|number| number % chunk),
    };
    for (number, element) in bytes.chunks_exact_mut(element).enumerate() {
        let first = number / (kv_heads * elements).max(1) * chunk;
        if first + place(number % elements.max(1)) > position as usize {
            element.fill(0xff);
        }
    }
}
