//! Attention of one token over a cache in any format.

use deepthin::verify::guard::POISON;
use deepthin_compiler::fir::HeadShape;
use deepthin_compiler::fir::Role as Tensor;
use deepthin_compiler::format::{Format, KvFormat};
use deepthin_compiler::lower::{
    AttentionKernel, CHUNK, CacheLayout, LinearKernel, Lowered, Merge, Role, lower_attention,
    lower_attention_chunks, lower_linear,
};
use deepthin_compiler::numerics;
use deepthin_compiler::numerics::kv::{KEY_PAIRS, Stored, VALUE_CHANNELS};
use deepthin_compiler::pack::Rows;
use deepthin_compiler::pack::layout::PANEL;
use half::{bf16, f16};

use super::{After, Matrix, assert_defined, count, everywhere, linear, panels, vectors};

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
    /// The output heads side by side: as one thread computes them, and as threads do that share the
    /// chunks.
    pub fn run(&self) -> Vec<f32> {
        let kv_heads = self.shape.kv_heads;
        let output = self.checked(self.kernel(lower_attention, kv_heads).output());
        let by_chunk = self.kernel(lower_attention_chunks, kv_heads * self.layout().chunks());
        self.merge(by_chunk.bytes(|role, _| *role == Role::Partials));
        output
    }

    /// Merges what the chunks gave, which is checked: what a product's kernel multiplies. Its one
    /// panel adds up the elements by their numbers modulo 32, so that all of them decide the results
    /// that engines have to agree on.
    fn merge(&self, partials: &[u8]) {
        let HeadShape { heads, head_dim, .. } = self.shape;
        let columns = self.query.len();
        let row = |row: usize| {
            let is_own = |k: usize| k % PANEL as usize == row;
            (0..columns).map(|k| f32::from(is_own(k))).collect()
        };
        let sums: Vec<Vec<f32>> = (0..PANEL as usize).map(row).collect();
        let sums = Matrix::new(Format::F32, &sums);
        let rows = Rows::Plain { role: Tensor::AttentionOutput, rows: PANEL };
        let packed = panels(columns, &[rows], &[(Tensor::AttentionOutput, &sums)]);
        let sizes = Merge { heads, head_dim, chunks: self.layout().chunks() };
        let kernel = LinearKernel { merge: Some(sizes), ..linear(columns, 1, Format::F32, 1) };
        let after = everywhere(
            |lanes| lower_linear("merge", &LinearKernel { lanes, ..kernel.clone() }),
            |role| match role {
                Role::Partials => Some(partials.to_vec()),
                Role::Weights(_) => Some(packed.clone()),
                _ => None,
            },
            1,
            &[self.chunks().into()],
        );
        self.checked(after.floats(|_, name| name == "merged"));
    }

    /// One of the kernels that read the cache.
    fn kernel(&self, lower: fn(&str, &AttentionKernel) -> Lowered, units: u32) -> After {
        let (shape, context, kv) = (self.shape, self.context, self.kv);
        let ([keys, key_scales], [values, value_scales]) = (self.key_cache(), self.value_cache());
        everywhere(
            |lanes| lower("attention", &AttentionKernel { lanes, shape, context, kv }),
            |role| match role {
                Role::Input => Some(vectors(&[&self.query])),
                Role::Keys => Some(keys.0.clone()),
                Role::Values => Some(values.0.clone()),
                Role::KeyScales => Some(key_scales.0.clone()),
                Role::ValueScales => Some(value_scales.0.clone()),
                _ => None,
            },
            units,
            &[i64::from(count(self.visible)) - 1, self.chunks().into()],
        )
    }

    /// Chunks that the token sees a position of.
    fn chunks(&self) -> u32 {
        count(self.visible).div_ceil(CHUNK)
    }

    /// The output, which is what the definition says.
    fn checked(&self, mut output: Vec<f32>) -> Vec<f32> {
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
        let (layout, dim, row) = (self.layout(), self.head_dim(), CHUNK as usize);
        let groups = layout.key_groups() as usize;
        let mut parts = [Part::new(layout.key_bytes()), Part::new(layout.key_scale_bytes())];
        for (position, keys) in self.keys.iter().enumerate() {
            for (head, key) in keys.chunks(dim).enumerate() {
                let (part, place) = self.place(head, position);
                let element = |i: usize| (part * dim + i) * row + place;
                let scale = |i: usize| (part * groups + i % (dim / 2) / KEY_PAIRS) * row + place;
                store(&Stored::key(key, self.kv), self.kv, &mut parts, element, scale);
            }
        }
        parts
    }

    /// Values and their scales.
    fn value_cache(&self) -> [Part; 2] {
        let (layout, dim, row) = (self.layout(), self.head_dim(), CHUNK as usize);
        let groups = layout.value_groups() as usize;
        let mut parts = [Part::new(layout.value_bytes()), Part::new(layout.value_scale_bytes())];
        for (position, values) in self.values.iter().enumerate() {
            for (head, value) in values.chunks(dim).enumerate() {
                let (part, place) = self.place(head, position);
                let element = |i: usize| (part * row + place) * dim + i;
                let scale = |i: usize| (part * groups + i / VALUE_CHANNELS) * row + place;
                store(&Stored::value(value, self.kv), self.kv, &mut parts, element, scale);
            }
        }
        parts
    }

    /// Which part of the cache, of a chunk and head each, has a position, and its place there.
    fn place(&self, head: usize, position: usize) -> (usize, usize) {
        let chunk = CHUNK as usize;
        (position / chunk * self.shape.kv_heads as usize + head, position % chunk)
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
