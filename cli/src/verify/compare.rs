//! What "the same bits" means for a buffer: an f32 NaN is any NaN, all else is compared by bits.

use deepthin_compiler::vir::{BufferId, Elem, Inst, Kernel};

/// The element of each buffer, where all accesses of the kernel agree on one; of one that is
/// written, where all stores do: a kernel may look at the bits of floats that it has stored.
pub fn elements(kernel: &Kernel) -> Vec<Option<Elem>> {
    let only = |elems: &[Elem]| if let [elem] = *elems { Some(elem) } else { None };
    let stored = accessed(kernel, |inst| matches!(inst, Inst::Store { .. }));
    let all = accessed(kernel, |_| true);
    let of = |(stored, all): (&Vec<Elem>, &Vec<Elem>)| {
        only(if stored.is_empty() { all } else { stored })
    };
    stored.iter().zip(&all).map(of).collect()
}

/// The element in which a text shows each buffer: the one that all accesses agree on; else bytes
/// or halves, which show every byte that an access can reach.
pub fn shown_elements(kernel: &Kernel) -> Vec<Elem> {
    let shown = |elems: Vec<Elem>| match elems[..] {
        [elem] => elem,
        _ if elems.contains(&Elem::S8) => Elem::S8,
        _ => Elem::U16,
    };
    accessed(kernel, |_| true).into_iter().map(shown).collect()
}

/// The elements by which each buffer is accessed by the instructions looked for.
fn accessed(kernel: &Kernel, is_wanted: fn(&Inst) -> bool) -> Vec<Vec<Elem>> {
    let mut found: Vec<Vec<Elem>> = vec![Vec::new(); kernel.buffers.len()];
    collect(&kernel.body, is_wanted, &mut |buffer: BufferId, elem| {
        if let Some(elems) = found.get_mut(buffer.0 as usize)
            && !elems.contains(&elem)
        {
            elems.push(elem);
        }
    });
    found
}

fn collect(body: &[Inst], is_wanted: fn(&Inst) -> bool, see: &mut impl FnMut(BufferId, Elem)) {
    for inst in body {
        if let Some((elem, at)) = inst.access().filter(|_| is_wanted(inst)) {
            see(at.buffer, elem);
        }
        collect(inst.body(), is_wanted, see);
    }
}

/// Where two results of a buffer differ first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The word's first byte.
    pub byte: usize,
    /// Both words, or the sizes that differ.
    pub text: String,
}

/// The first difference as text; see [`difference`].
pub fn first_difference(elem: Option<Elem>, left: &[u8], right: &[u8]) -> Option<String> {
    difference(elem, left, right).map(|difference| difference.text)
}

/// The first byte offset at which two results differ, with both elements as text. In an f32
/// buffer any NaN equals any NaN; all else is compared by bits.
pub fn difference(elem: Option<Elem>, left: &[u8], right: &[u8]) -> Option<Difference> {
    if left == right {
        return None;
    }
    if left.len() != right.len() {
        let text = format!("{} bytes and {} bytes", left.len(), right.len());
        return Some(Difference { byte: left.len().min(right.len()), text });
    }
    let words = left.chunks(4).zip(right.chunks(4)).enumerate();
    let mut differing = words.filter(|(_, (a, b))| a != b);
    differing.find_map(|(position, (a, b))| {
        let byte = 4 * position;
        let (Ok(x), Ok(y)) = (a.try_into(), b.try_into()) else {
            return Some(Difference {
                byte,
                text: format!("at byte {byte}: {a:02x?} and {b:02x?}"),
            });
        };
        let (x, y) = (u32::from_le_bytes(x), u32::from_le_bytes(y));
        let (p, q) = (f32::from_bits(x), f32::from_bits(y));
        let same = elem == Some(Elem::F32) && p.is_nan() && q.is_nan();
        let text = format!("at byte {byte}: {x:#010x} ({p:?}) and {y:#010x} ({q:?})");
        (!same).then_some(Difference { byte, text })
    })
}
