//! What goes to a KV slot: rotation of queries and keys, and what the cache keeps.

use deepthin_compiler::fir::{HeadShape, Role as Tensor};
use deepthin_compiler::format::{Format, KvFormat};
use deepthin_compiler::lower::{
    CHUNK, CacheLayout, EpilogueKernel, LinearKernel, Role, lower_linear,
};
use deepthin_compiler::numerics;
use deepthin_compiler::numerics::kv::{Group, Stored, key_groups, value_groups};
use deepthin_compiler::pack::Rows;
use half::{bf16, f16};

use super::{Matrix, assert_defined, count, everywhere, linear, panels, vectors};

/// Positions of the cache, and that of the token.
const CONTEXT: u32 = 64;
const POSITION: u32 = 37;

/// One head of a query, of a key and of a value of one token. The query is the key.
#[derive(Debug, Clone)]
pub struct Append {
    /// What the cache keeps.
    pub kv: KvFormat,
    /// Key and value heads; of query heads there are as many.
    pub heads: u32,
    /// The keys before they are rotated, side by side.
    pub keys: Vec<f32>,
    /// The values, side by side.
    pub values: Vec<f32>,
    /// Cosines of a head's pairs, then their sines.
    pub angles: Vec<f32>,
}

/// What came out of an [`Append`], head by head.
#[derive(Debug, Clone)]
pub struct Appended {
    /// The rotated queries, side by side.
    pub queries: Vec<f32>,
    /// Keys, as the cache keeps them.
    pub keys: Vec<Stored>,
    /// Values, as the cache keeps them.
    pub values: Vec<Stored>,
}

/// The bytes of a KV slot after an append: elements and scales.
struct Slot<'b> {
    layout: CacheLayout,
    elements: &'b [u8],
    scales: &'b [u8],
}

impl Append {
    /// Appends, and checks that the cache keeps what the definition says.
    pub fn run(&self) -> Appended {
        let width = self.keys.len();
        let head_dim = count(width) / self.heads;
        let rows = |role| Rows::Rope { role, heads: self.heads, head_dim };
        let values = Rows::Heads { role: Tensor::Value, heads: self.heads, head_dim };
        let parts = [rows(Tensor::Query), rows(Tensor::Key), values];
        let x = [self.keys.as_slice(), &self.values].concat();
        let (of_keys, of_values) =
            (Matrix::identity(width, x.len(), 0), Matrix::identity(width, x.len(), width));
        let matrices =
            [(Tensor::Query, &of_keys), (Tensor::Key, &of_keys), (Tensor::Value, &of_values)];
        let packed = panels(x.len(), &parts, &matrices);
        let units = parts.iter().map(|part| part.panels()).sum();
        let (heads, kv_heads, context, kv) = (self.heads, self.heads, CONTEXT, self.kv);
        let epilogue = EpilogueKernel::RopeAppend { heads, kv_heads, head_dim, context, kv };
        let kernel = LinearKernel { epilogue, ..linear(x.len(), 1, Format::F32, units) };
        let after = everywhere(
            |lanes| lower_linear("append", &LinearKernel { lanes, ..kernel.clone() }),
            |role| match role {
                Role::Input => Some(vectors(&[&x])),
                Role::RopeTable => Some(self.angles.iter().flat_map(|x| x.to_le_bytes()).collect()),
                Role::Weights(_) => Some(packed.clone()),
                _ => None,
            },
            units,
            &[POSITION / CHUNK, POSITION % CHUNK].map(i64::from),
        );
        let mut queries = after.output();
        queries.truncate(width);
        let shape = HeadShape { heads, kv_heads, head_dim };
        let layout = CacheLayout { kv, kv_heads, head_dim, context };
        let scales = |of: Role| match kv {
            KvFormat::Q8 => after.bytes(|role, _| *role == of),
            KvFormat::F32 | KvFormat::F16 => &[],
        };
        let keys = after.bytes(|role, _| *role == Role::Keys);
        let keys = Slot { layout, elements: keys, scales: scales(Role::KeyScales) };
        let values = after.bytes(|role, _| *role == Role::Values);
        let values = Slot { layout, elements: values, scales: scales(Role::ValueScales) };
        let all = 0..self.heads as usize;
        let appended = Appended {
            queries,
            keys: all.clone().map(|head| keys.key(head)).collect(),
            values: all.map(|head| values.value(head)).collect(),
        };
        self.assert_defined(shape, &appended);
        appended
    }

    fn assert_defined(&self, shape: HeadShape, appended: &Appended) {
        let head_dim = shape.head_dim as usize;
        let heads = self.keys.chunks(head_dim).zip(self.values.chunks(head_dim)).enumerate();
        for (head, (key, value)) in heads {
            // A product makes -0 of its input the +0 that sums begin with.
            let products = |x: &[f32]| x.iter().map(|x| x + 0.0).collect::<Vec<f32>>();
            let turned = turned(&products(key), &self.angles);
            assert_defined(&appended.queries[head * head_dim..][..head_dim], &turned);
            assert_same(&appended.keys[head], &Stored::key(&turned, self.kv));
            assert_same(&appended.values[head], &Stored::value(&products(value), self.kv));
        }
    }
}

/// A head turned by the definition.
fn turned(x: &[f32], angles: &[f32]) -> Vec<f32> {
    let half = x.len() / 2;
    let pairs =
        (0..half).map(|i| numerics::rotate((x[i], x[i + half]), (angles[i], angles[i + half])));
    let (low, high): (Vec<f32>, Vec<f32>) = pairs.unzip();
    [low, high].concat()
}

/// Any NaN is any NaN.
#[track_caller]
fn assert_same(found: &Stored, defined: &Stored) {
    match (found, defined) {
        (Stored::Numbers(found), Stored::Numbers(defined)) => assert_defined(found, defined),
        (Stored::Groups(found), Stored::Groups(defined)) => {
            assert_eq!(found.len(), defined.len());
            for (found, defined) in found.iter().zip(defined) {
                assert_defined(&[found.scale], &[defined.scale]);
                assert_eq!(found.codes, defined.codes);
            }
        }
        _ => panic!("{found:?} in place of {defined:?}"),
    }
}

impl Slot<'_> {
    fn key(&self, head: usize) -> Stored {
        let (dim, part, row) = (self.layout.head_dim as usize, self.part(head), CHUNK as usize);
        let place = POSITION as usize % row;
        self.head(part, &key_groups(dim), |i| (part * dim + i) * row + place)
    }

    fn value(&self, head: usize) -> Stored {
        let (dim, part) = (self.layout.head_dim as usize, self.part(head));
        let row = part * CHUNK as usize + (POSITION % CHUNK) as usize;
        self.head(part, &value_groups(dim), |i| row * dim + i)
    }

    /// Which part of the slot, of a chunk and head each, has the position of a head.
    fn part(&self, head: usize) -> usize {
        (POSITION / CHUNK * self.layout.kv_heads) as usize + head
    }

    fn head(&self, part: usize, groups: &[Vec<usize>], element: impl Fn(usize) -> usize) -> Stored {
        let dim = 0..self.layout.head_dim as usize;
        match self.layout.kv {
            KvFormat::F32 => {
                let words = self.elements.as_chunks::<4>().0;
                Stored::Numbers(dim.map(|i| f32::from_le_bytes(words[element(i)])).collect())
            }
            KvFormat::F16 => {
                let halves = self.elements.as_chunks::<2>().0;
                let number = |i| f16::from_le_bytes(halves[element(i)]).to_f32();
                Stored::Numbers(dim.map(number).collect())
            }
            KvFormat::Q8 => {
                let scales = self.scales.as_chunks::<2>().0;
                let group = |(number, group): (usize, &Vec<usize>)| {
                    let row = part * groups.len() + number;
                    let at = row * CHUNK as usize + (POSITION % CHUNK) as usize;
                    let code = |i: &usize| (*i, self.elements[element(*i)].cast_signed());
                    Group {
                        scale: bf16::from_le_bytes(scales[at]).to_f32(),
                        codes: group.iter().map(code).collect(),
                    }
                };
                Stored::Groups(groups.iter().enumerate().map(group).collect())
            }
        }
    }
}

/// One head turned by angles that are given as their cosines and then their sines. The key that
/// is appended is the same.
pub fn rope(x: &[f32], angles: &[f32]) -> Vec<f32> {
    let append = Append {
        kv: KvFormat::F32,
        heads: 1,
        keys: x.to_vec(),
        values: x.to_vec(),
        angles: angles.to_vec(),
    };
    append.run().queries
}
