//! Attention of one token over a cache in any format.

use deepthin::verify::guard::POISON;
use deepthin_compiler::fir::HeadShape;
use deepthin_compiler::format::KvFormat;
use deepthin_compiler::lower::{
    AttentionKernel, CHUNK, CacheLayout, KEY_BLOCK, Role, lower_attention,
};
use deepthin_compiler::numerics;
use deepthin_compiler::numerics::kv::{KEY_PAIRS, Stored, VALUE_CHANNELS};
use half::{bf16, f16};

use super::{assert_defined, count, everywhere, vectors};

/// Attention of one token over a cache.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Heads.
    pub shape: HeadShape,
    /// Positions that the cache has room for.
    pub context: u32,
    /// What the cache keeps.
    pub kv: KvFormat,
    /// The query heads side by side.
    pub query: Vec<f32>,
    /// Key heads side by side, of each position of the cache.
    pub keys: Vec<Vec<f32>>,
    /// Value heads side by side, as many.
    pub values: Vec<Vec<f32>>,
    /// Positions that the token sees, itself included: it stands at the last of them.
    pub visible: usize,
}

/// A part of a cache in the making: [`POISON`] where nothing was put.
struct Part(Vec<u8>);

impl Part {
    fn new(bytes: u64) -> Self {
        Part(vec![POISON; usize::try_from(bytes).expect("a small cache")])
    }

    fn put(&mut self, element: usize, bytes: &[u8]) {
        self.0[element * bytes.len()..][..bytes.len()].copy_from_slice(bytes);
    }
}

impl Attention {
    /// The output heads side by side.
    pub fn run(&self) -> Vec<f32> {
        let (shape, context, kv) = (self.shape, self.context, self.kv);
        let ([keys, key_scales], [values, value_scales]) = (self.key_cache(), self.value_cache());
        let chunks = (count(self.visible) - 1) / CHUNK + 1;
        let after = everywhere(
            |lanes| lower_attention("attention", &AttentionKernel { lanes, shape, context, kv }),
            |role| match role {
                Role::Input => Some(vectors(&[&self.query])),
                Role::Keys => Some(keys.0.clone()),
                Role::Values => Some(values.0.clone()),
                Role::KeyScales => Some(key_scales.0.clone()),
                Role::ValueScales => Some(value_scales.0.clone()),
                _ => None,
            },
            shape.heads,
            &[i64::from(count(self.visible)) - 1, chunks.into()],
        );
        let mut output = after.output();
        output.truncate(self.query.len());
        assert_defined(&output, &self.defined());
        output
    }

    /// The values that the cache keeps.
    pub fn kept_values(&self) -> Vec<Vec<f32>> {
        let heads = |values: &Vec<f32>| -> Vec<f32> {
            let heads = values.chunks(self.head_dim());
            heads.flat_map(|head| Stored::value(head, self.kv).numbers()).collect()
        };
        self.values.iter().map(heads).collect()
    }

    fn layout(&self) -> CacheLayout {
        let HeadShape { kv_heads, head_dim, .. } = self.shape;
        CacheLayout { kv: self.kv, kv_heads, head_dim, context: self.context }
    }

    fn head_dim(&self) -> usize {
        self.shape.head_dim as usize
    }

    /// Keys and their scales.
    fn key_cache(&self) -> [Part; 2] {
        let (layout, dim, line) = (self.layout(), self.head_dim(), KEY_BLOCK as usize);
        let (groups, positions) = (layout.key_groups() as usize, layout.positions() as usize);
        let mut parts = [Part::new(layout.key_bytes()), Part::new(layout.key_scale_bytes())];
        for (position, keys) in self.keys.iter().enumerate() {
            for (head, key) in keys.chunks(dim).enumerate() {
                let block = head * positions / line + position / line;
                let element = |i: usize| (block * dim + i) * line + position % line;
                let scale =
                    |i: usize| (head * groups + i % (dim / 2) / KEY_PAIRS) * positions + position;
                store(&Stored::key(key, self.kv), self.kv, &mut parts, element, scale);
            }
        }
        parts
    }

    /// Values and their scales.
    fn value_cache(&self) -> [Part; 2] {
        let (layout, dim) = (self.layout(), self.head_dim());
        let (groups, positions) = (layout.value_groups() as usize, layout.positions() as usize);
        let row = (layout.value_row_bytes() / self.kv.element_bytes()) as usize;
        let mut parts = [Part::new(layout.value_bytes()), Part::new(layout.value_scale_bytes())];
        for (position, values) in self.values.iter().enumerate() {
            for (head, value) in values.chunks(dim).enumerate() {
                let element = |i: usize| position * row + head * dim + i;
                let scale = |i: usize| (head * groups + i / VALUE_CHANNELS) * positions + position;
                store(&Stored::value(value, self.kv), self.kv, &mut parts, element, scale);
            }
        }
        parts
    }

    fn defined(&self) -> Vec<f32> {
        let (dim, group) = (self.head_dim(), (self.shape.heads / self.shape.kv_heads) as usize);
        let heads = self.query.chunks(dim).enumerate().flat_map(|(head, query)| {
            let at = head / group * dim;
            let part = |all: &[Vec<f32>], stored: fn(&[f32], KvFormat) -> Stored| -> Vec<Stored> {
                all[..self.visible].iter().map(|x| stored(&x[at..at + dim], self.kv)).collect()
            };
            let (keys, values) = (part(&self.keys, Stored::key), part(&self.values, Stored::value));
            let keys: Vec<&Stored> = keys.iter().collect();
            let values: Vec<&Stored> = values.iter().collect();
            numerics::attention(query, &keys, &values)
        });
        heads.collect()
    }
}

/// Puts a stored head where its elements and their scales belong.
fn store(
    head: &Stored,
    kv: KvFormat,
    [elements, scales]: &mut [Part; 2],
    element: impl Fn(usize) -> usize,
    scale: impl Fn(usize) -> usize,
) {
    match head {
        Stored::Numbers(numbers) => {
            for (i, number) in numbers.iter().enumerate() {
                match kv {
                    KvFormat::F16 => {
                        elements.put(element(i), &f16::from_f32(*number).to_le_bytes());
                    }
                    KvFormat::F32 | KvFormat::Q8 => {
                        elements.put(element(i), &number.to_le_bytes());
                    }
                }
            }
        }
        Stored::Groups(groups) => {
            for group in groups {
                for (i, code) in &group.codes {
                    elements.put(element(*i), &code.to_le_bytes());
                    scales.put(scale(*i), &bf16::from_f32(group.scale).to_le_bytes());
                }
            }
        }
    }
}
