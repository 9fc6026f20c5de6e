//! What goes to a KV slot, and what is in it.

use deepthin_compiler::fir::HeadShape;
use deepthin_compiler::format::KvFormat;
use deepthin_compiler::lower::{CacheLayout, Role, vector_bytes};
use deepthin_compiler::pack::layout::{PANEL, TILE};

use super::super::{bounds, formulas};
use super::Call;

/// Contents of a KV slot, as bytes.
pub(super) struct Slot<'c> {
    layout: CacheLayout,
    keys: &'c [u8],
    values: &'c [u8],
    key_scales: &'c [u8],
    value_scales: &'c [u8],
}

/// An element as it is stored: its code or number, and its group's scale or 1.
#[derive(Clone, Copy)]
pub(super) struct Element {
    number: f64,
    scale: f64,
}

impl Element {
    pub(super) fn value(self) -> f64 {
        self.number * self.scale
    }
}

impl Slot<'_> {
    /// Element `d` of a head's key at a position.
    pub(super) fn key(&self, head: usize, position: usize, d: usize) -> Element {
        let head_dim = self.layout.head_dim as usize;
        let (chunk, place) = self.part(head, position);
        let row = chunk * head_dim + d;
        let half = (head_dim / 2).max(1);
        let group = chunk * self.layout.key_groups() as usize + d % half / 16;
        let scale = self.scale(self.key_scales, group, place);
        Element { number: self.number(self.keys, row * 64 + place), scale }
    }

    /// Element `d` of a head's value at a position.
    pub(super) fn value(&self, head: usize, position: usize, d: usize) -> Element {
        let head_dim = self.layout.head_dim as usize;
        let (chunk, place) = self.part(head, position);
        let group = chunk * self.layout.value_groups() as usize + d / 32;
        let scale = self.scale(self.value_scales, group, place);
        Element { number: self.number(self.values, (chunk * 64 + place) * head_dim + d), scale }
    }

    /// Which part of a buffer, of a head and chunk each, has a position, and its place there.
    fn part(&self, head: usize, position: usize) -> (usize, usize) {
        (position / 64 * self.layout.kv_heads as usize + head, position % 64)
    }

    fn number(&self, bytes: &[u8], element: usize) -> f64 {
        match self.layout.kv {
            KvFormat::F32 => bytes
                .as_chunks::<4>()
                .0
                .get(element)
                .map_or(f64::NAN, |word| f64::from(f32::from_le_bytes(*word))),
            KvFormat::F16 => bytes
                .as_chunks::<2>()
                .0
                .get(element)
                .map_or(f64::NAN, |half| formulas::half_to_f64(u16::from_le_bytes(*half))),
            KvFormat::Q8 => bytes.get(element).map_or(f64::NAN, |code| code.cast_signed().into()),
        }
    }

    fn scale(&self, scales: &[u8], group: usize, place: usize) -> f64 {
        if self.layout.kv != KvFormat::Q8 {
            return 1.0;
        }
        let at = group * 64 + place;
        let scale = scales.as_chunks::<2>().0.get(at);
        scale.map_or(f64::NAN, |[low, high]| f32::from_le_bytes([0, 0, *low, *high]).into())
    }
}

impl Call<'_> {
    /// The slot that is read.
    pub(super) fn slot(&self, layout: CacheLayout) -> Slot<'_> {
        Slot {
            layout,
            keys: self.bytes_before(Role::Keys),
            values: self.bytes_before(Role::Values),
            key_scales: self.bytes_before(Role::KeyScales),
            value_scales: self.bytes_before(Role::ValueScales),
        }
    }

    /// The slot after an append.
    fn appended(&self, layout: CacheLayout) -> Slot<'_> {
        Slot {
            layout,
            keys: self.bytes_after(Role::Keys),
            values: self.bytes_after(Role::Values),
            key_scales: self.bytes_after(Role::KeyScales),
            value_scales: self.bytes_after(Role::ValueScales),
        }
    }

    /// Rotated queries and keys, and values, the latter two as the cache keeps them.
    pub(super) fn rope_append(&mut self, y: &[&[f64]], shape: HeadShape, layout: CacheLayout) {
        let HeadShape { heads, kv_heads, head_dim } = shape;
        let stride = vector_bytes(heads * head_dim) as usize / 4;
        let [heads, kv_heads, head_dim] = [heads, kv_heads, head_dim].map(|n| n as usize);
        let units = (head_dim / 2).div_ceil(TILE as usize); // panels of a rotated head
        let out = self.after(Role::Output);
        let table = self.before(Role::RopeTable);
        let turned = self.scratch("rotated");
        let panel = PANEL as usize;
        for (t, y) in y.iter().enumerate() {
            let angles = table.get(t * head_dim..).unwrap_or_default();
            for head in 0..heads {
                let at = |i: usize| out.get(t * stride + head * head_dim + i).copied();
                let query = self.rotated(y, head * units, head_dim, angles);
                self.each("query", head * head_dim, query, at);
            }
            let position = self.place.position as usize + t;
            let turned = turned.get(t * kv_heads * units * panel..).unwrap_or_default();
            for head in 0..kv_heads {
                let key = self.rotated(y, (heads + head) * units, head_dim, angles);
                self.key(layout, (head, position), key, turned);
            }
            let units_of_v = head_dim.div_ceil(panel);
            for head in 0..kv_heads {
                let first = (heads + kv_heads) * units + head * units_of_v;
                self.value(layout, (head, position), (first, y));
            }
        }
    }

    /// The elements of a rotated head whose panels, from `first` on, are in the share: number,
    /// exact value, bound.
    fn rotated(
        &self,
        y: &[f64],
        first: usize,
        head_dim: usize,
        angles: &[f64],
    ) -> Vec<(usize, f64, f64)> {
        let (half, tile) = (head_dim / 2, TILE as usize);
        let mut elements = Vec::with_capacity(head_dim);
        for i in (0..half).filter(|i| self.shares(first + i / tile)) {
            let at = (first + i / tile) * PANEL as usize + i % tile;
            let [Some(a), Some(b)] = [at, at + tile].map(|at| y.get(at).copied()) else { continue };
            let [Some(c), Some(s)] = [i, half + i].map(|i| angles.get(i).copied()) else {
                continue;
            };
            let (r0, r1) = formulas::rotate((a, b), (c, s));
            elements.push((i, r0, bounds::rotation([a * c, b * s])));
            elements.push((half + i, r1, bounds::rotation([b * c, a * s])));
        }
        elements
    }

    fn shares(&self, panel: usize) -> bool {
        (self.share.0..self.share.1).contains(&panel)
    }

    /// Holds elements against the truth; they are numbered from `first` on.
    fn each(
        &mut self,
        step: &str,
        first: usize,
        elements: Vec<(usize, f64, f64)>,
        found: impl Fn(usize) -> Option<f64>,
    ) {
        for (i, exact, bound) in elements {
            self.see(step, first + i, found(i).unwrap_or(f64::NAN), exact, bound);
        }
    }

    /// A key whose rotated elements are known: what the cache keeps of them. Of a quantized cache
    /// the rotated numbers are in `turned`, and the codes are held against these.
    fn key(
        &mut self,
        layout: CacheLayout,
        (head, position): (usize, usize),
        elements: Vec<(usize, f64, f64)>,
        turned: &[f64],
    ) {
        let (head_dim, tile) = (layout.head_dim as usize, TILE as usize);
        let (half, panel) = (head_dim / 2, PANEL as usize);
        let units = half.div_ceil(tile);
        let first = head * head_dim;
        let stored = |call: &Self, i| call.appended(layout).key(head, position, i);
        match layout.kv {
            KvFormat::F32 => {
                for (i, exact, bound) in elements {
                    let found = stored(self, i).value();
                    self.see("key", first + i, found, exact, bound);
                }
            }
            KvFormat::F16 => {
                for (i, exact, bound) in elements {
                    if exact.abs() + bound < bounds::MOST_HALF {
                        let bound = bound + bounds::half(exact.abs() + bound);
                        let found = stored(self, i).value();
                        self.see("key", first + i, found, exact, bound);
                    }
                }
            }
            KvFormat::Q8 => {
                let place = |i: usize| {
                    let pair = i % half.max(1);
                    (head * units + pair / tile) * panel + i / half.max(1) * tile + pair % tile
                };
                let number = |i: usize| turned.get(place(i)).copied();
                let indices: Vec<usize> = elements.iter().map(|(i, ..)| *i).collect();
                self.each("rotated key", first, elements, number);
                for i in indices {
                    let group = (i % half.max(1)) / tile;
                    let pairs = group * tile..((group + 1) * tile).min(half);
                    let members = pairs.clone().chain(pairs.map(|i| half + i));
                    let greatest = members.filter_map(number).map(f64::abs).fold(0.0, f64::max);
                    let exact = number(i).unwrap_or(f64::NAN);
                    let element = stored(self, i);
                    self.code("key", first + i, element, exact, greatest);
                }
            }
        }
    }

    /// A value, whose products lie in the panels from `first` on: what the cache keeps of it.
    fn value(
        &mut self,
        layout: CacheLayout,
        (head, position): (usize, usize),
        (first, y): (usize, &[f64]),
    ) {
        let (head_dim, panel) = (layout.head_dim as usize, PANEL as usize);
        let number = |i: usize| y.get(first * panel + i).copied();
        let own: Vec<usize> = (0..head_dim).filter(|i| self.shares(first + i / panel)).collect();
        for i in own {
            let exact = number(i).unwrap_or(f64::NAN);
            let element = self.appended(layout).value(head, position, i);
            let name = head * head_dim + i;
            match layout.kv {
                KvFormat::F32 => self.see("value", name, element.value(), exact, 0.0),
                KvFormat::F16 if exact.abs() >= bounds::MOST_HALF => {}
                KvFormat::F16 => {
                    self.see("value", name, element.value(), exact, bounds::half(exact));
                }
                KvFormat::Q8 => {
                    let group = i / panel * panel..((i / panel + 1) * panel).min(head_dim);
                    let greatest = group.filter_map(number).map(f64::abs).fold(0.0, f64::max);
                    self.code("value", name, element, exact, greatest);
                }
            }
        }
    }

    /// A code and its scale against the number, and the greatest magnitude of its group.
    fn code(&mut self, what: &str, name: usize, element: Element, exact: f64, greatest: f64) {
        let scale = greatest / 127.0;
        let step = format!("scale of a {what}");
        self.see(&step, name, element.scale, scale, bounds::scale(scale));
        let step = format!("code of a {what}");
        self.see(&step, name, element.value(), exact, bounds::code(element.scale));
    }
}
