//! Loads and stores: whole vectors, the first lanes alone, lanes apart.

use super::{Selector, Slot, Waiting};
use crate::codegen::x64wide::Width;
use crate::codegen::x64wide::code::{GENERAL, LANES, MASKS, Part, Place};
use crate::codegen::x64wide::forms::Form;
use crate::id::Id;
use crate::vir::{Address, Affine, Elem, Locality, ValueId};
use regalloc2::VReg;

/// Which byte of each lane `vpshufb` takes to the front of its 128 bits; 0x80 is none.
const LOW_WORDS: [u32; 4] = [0x0504_0100, 0x0d0c_0908, 0x8080_8080, 0x8080_8080];
const LOW_BYTES: [u32; 4] = [0x0c08_0400, 0x8080_8080, 0x8080_8080, 0x8080_8080];
/// Quarters 0 and 2 to the front, for `vpermq`.
const EVEN_QUARTERS: i64 = 0x08;

impl Selector<'_> {
    pub(super) fn iota(&mut self, dst: ValueId) {
        let lanes: Vec<u32> = (0..self.width.lanes()).collect();
        let source = self.vector_source(&lanes, false);
        let made = self.made(Form::Load, &[source]);
        self.set(dst, made);
    }

    pub(super) fn index(&mut self, dst: ValueId, index: &Affine) {
        match self.affine(index) {
            Ok(number) => {
                // Rule V-20: the low half is the whole value.
                let [a, b, c, d, ..] = number.to_le_bytes();
                self.slots[dst.index()] = Slot::Const(u32::from_le_bytes([a, b, c, d]));
            }
            Err(register) => {
                let made = self.broadcast(register);
                self.set(dst, made);
            }
        }
    }

    /// The low half of a general register in every lane.
    fn broadcast(&mut self, register: VReg) -> VReg {
        match self.width {
            Width::Zmm => self.made(Form::BroadcastGeneral, &[Part::Use(register)]),
            Width::Ymm => {
                let first = self.made(Form::FromGeneral, &[Part::Use(register)]);
                self.made(Form::BroadcastFirst, &[Part::Use(first)])
            }
        }
    }

    pub(super) fn load(&mut self, dst: ValueId, elem: Elem, at: &Address, count: u32) {
        let place = self.place(at);
        if count == self.width.lanes() {
            return self.wait(dst, Waiting { elem, buffer: at.buffer, place, is_splat: false });
        }
        let made = match (self.width, elem) {
            (Width::Zmm, _) => {
                let only = self.first_lanes(count);
                let made = self.lanes();
                let parts = [Part::Def(made), Part::Memory(place), Part::Only(only)];
                self.code.operation(load_form(elem), &parts);
                made
            }
            (Width::Ymm, Elem::F32 | Elem::I32) => {
                let only = self.first_lanes(count);
                self.made(Form::MaskedLoad, &[Part::Use(only), Part::Memory(place)])
            }
            (Width::Ymm, Elem::U16) => {
                let words = self.inserted(Form::InsertWord, place, count, 2);
                self.made(Form::LoadWords, &[Part::Use(words)])
            }
            (Width::Ymm, Elem::S8) => {
                let bytes = self.inserted(Form::InsertByte, place, count, 1);
                self.made(Form::LoadBytes, &[Part::Use(bytes)])
            }
        };
        self.set(dst, made);
    }

    /// Asks for a line. It may lie outside of the buffer, for nothing is read by asking.
    pub(super) fn prefetch(&mut self, locality: Locality, at: &Address) {
        let place = self.place(at);
        let form = match locality {
            Locality::L2 => Form::PrefetchL2,
            Locality::NonTemporal => Form::PrefetchNonTemporal,
        };
        self.code.operation(form, &[Part::Memory(place)]);
    }

    /// Elements side by side in a register, each loaded by itself.
    fn inserted(&mut self, form: Form, place: Place, count: u32, bytes: u32) -> VReg {
        let zero = self.made(Form::Zero, &[Part::Again, Part::Again]);
        (0..count).fold(zero, |sum, lane| {
            let element = Part::Memory(further(place, lane * bytes));
            self.made(form, &[Part::Use(sum), element, Part::Immediate(lane.into())])
        })
    }

    /// A mask of the first lanes: a mask register, or a vector with their signs.
    fn first_lanes(&mut self, count: u32) -> VReg {
        match self.width {
            Width::Zmm => {
                let bits = self.number((1 << count) - 1);
                let mask = self.code.register(MASKS);
                self.emit(Form::MaskFromGeneral, mask, &[Part::Use(bits)]);
                mask
            }
            Width::Ymm => {
                let lane = |lane| if lane < count { u32::MAX } else { 0 };
                let lanes: Vec<u32> = (0..self.width.lanes()).map(lane).collect();
                let source = self.vector_source(&lanes, false);
                self.made(Form::Load, &[source])
            }
        }
    }

    pub(super) fn splat(&mut self, dst: ValueId, elem: Elem, at: &Address) {
        let place = self.place(at);
        self.wait(dst, Waiting { elem, buffer: at.buffer, place, is_splat: true });
    }

    /// A load that can be put off until its use, where that is one in this body.
    fn wait(&mut self, dst: ValueId, load: Waiting) {
        match self.uses[dst.index()] {
            0 => {}
            1 => {
                self.slots[dst.index()] = Slot::Waiting(load);
                self.waiting.push(dst);
            }
            _ => {
                let made = self.loaded(load);
                self.set(dst, made);
            }
        }
    }

    /// A whole vector, or an element in every lane.
    pub(super) fn loaded(&mut self, Waiting { elem, place, is_splat, .. }: Waiting) -> VReg {
        let memory = Part::Memory(place);
        if !is_splat {
            return self.made(load_form(elem), &[memory]);
        }
        // Integers come by the integer form: what broadcasts floats costs an integer instruction
        // behind it a tenth of a product kernel's time on Zen 4.
        let form = match elem {
            Elem::F32 => return self.made(Form::BroadcastPs, &[memory]),
            Elem::I32 => return self.made(Form::BroadcastD, &[memory]),
            Elem::U16 => Form::MoveWord,
            Elem::S8 => Form::MoveByte,
        };
        let number = self.code.register(GENERAL);
        self.code.operation(form, &[Part::Def(number), memory]);
        self.broadcast(number)
    }

    pub(super) fn store(
        &mut self,
        src: ValueId,
        elem: Elem,
        at: &Address,
        stride: u32,
        count: u32,
    ) {
        let src = self.get(src);
        self.flush(Some(at.buffer));
        let place = self.place(at);
        let is_whole = count == self.width.lanes();
        if count > 1 && stride != elem.bytes() {
            return self.store_lanes(src, elem, place, stride, count);
        }
        match (self.width, elem) {
            (Width::Zmm, _) if count > 1 => {
                let form = match elem {
                    Elem::F32 | Elem::I32 => Form::Store,
                    Elem::U16 => Form::NarrowWords,
                    Elem::S8 => Form::NarrowBytes,
                };
                let mut parts = vec![Part::Memory(place), Part::Use(src)];
                if !is_whole {
                    parts.push(Part::Only(self.first_lanes(count)));
                }
                self.code.operation(form, &parts);
            }
            (Width::Ymm, Elem::F32 | Elem::I32) if is_whole => {
                self.code.operation(Form::Store, &[Part::Memory(place), Part::Use(src)]);
            }
            (Width::Ymm, Elem::F32 | Elem::I32) if count > 1 => {
                let only = self.first_lanes(count);
                let parts = [Part::Memory(place), Part::Use(only), Part::Use(src)];
                self.code.operation(Form::MaskedStore, &parts);
            }
            (Width::Ymm, Elem::U16) if is_whole => {
                let words = self.narrow_words(src);
                self.code.operation(Form::StoreHalf, &[Part::Memory(place), Part::Use(words)]);
            }
            (Width::Ymm, Elem::S8) if is_whole => {
                let bytes = self.narrow_bytes(src);
                self.code.operation(Form::StoreQuarter, &[Part::Memory(place), Part::Use(bytes)]);
            }
            _ => self.store_lanes(src, elem, place, stride, count),
        }
    }

    /// The low words of the lanes side by side in half a register.
    pub(super) fn narrow_words(&mut self, lanes: VReg) -> VReg {
        match self.width {
            Width::Zmm => self.made(Form::NarrowWords, &[Part::Use(lanes)]),
            Width::Ymm => {
                let order = self.vector_source(&LOW_WORDS.repeat(2), false);
                let words = self.made(Form::ShuffleBytes, &[Part::Use(lanes), order]);
                let quarters = [Part::Use(words), Part::Immediate(EVEN_QUARTERS)];
                self.made(Form::PermuteQwords, &quarters)
            }
        }
    }

    /// The low bytes of eight lanes side by side.
    fn narrow_bytes(&mut self, lanes: VReg) -> VReg {
        let order = self.vector_source(&LOW_BYTES.repeat(2), false);
        let low = self.made(Form::ShuffleBytes, &[Part::Use(lanes), order]);
        let high = self.made(Form::ExtractQuarter, &[Part::Use(low), Part::Immediate(1)]);
        self.made(Form::UnpackDwords, &[Part::Use(low), Part::Use(high)])
    }

    /// Each lane by itself.
    fn store_lanes(&mut self, src: VReg, elem: Elem, place: Place, stride: u32, count: u32) {
        let (form, step) = match elem {
            Elem::F32 | Elem::I32 => (Form::ExtractDword, 1),
            Elem::U16 => (Form::ExtractWord, 2),
            Elem::S8 => (Form::ExtractByte, 4),
        };
        let mut quarter = src;
        for lane in 0..count {
            if lane > 0 && lane % 4 == 0 {
                let number = Part::Immediate(i64::from(lane / 4));
                quarter = self.code.register(LANES);
                self.emit(Form::ExtractQuarter, quarter, &[Part::Use(src), number]);
            }
            let memory = Part::Memory(further(place, lane.saturating_mul(stride)));
            let number = Part::Immediate(i64::from(lane % 4 * step));
            self.code.operation(form, &[memory, Part::Use(quarter), number]);
        }
    }
}

/// Loads a whole vector of elements.
fn load_form(elem: Elem) -> Form {
    match elem {
        Elem::F32 | Elem::I32 => Form::Load,
        Elem::U16 => Form::LoadWords,
        Elem::S8 => Form::LoadBytes,
    }
}

/// So many bytes behind a place.
fn further(place: Place, bytes: u32) -> Place {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    Place { displacement: place.displacement.saturating_add(bytes), ..place }
}
