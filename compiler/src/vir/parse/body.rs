//! The grammar of instructions.

use super::{MAX_TEXT_DEPTH, Parser};
use crate::text::{Parsed, Token, fit};
use crate::vir::{
    Address, Affine, BinaryOp, Bound, BufferId, Carried, CompareOp, Elem, Index, Inst, Locality,
    ReduceOp, ShiftOp, Ty, UnaryOp, ValueId,
};

impl Parser<'_> {
    pub(super) fn body(&mut self, depth: usize) -> Parsed<Vec<Inst>> {
        let mut body = Vec::new();
        loop {
            if self.text.peek_id("v").is_some() {
                body.push(self.definition()?);
            } else if self.text.take("store")? {
                body.push(self.store()?);
            } else if self.text.take("prefetch")? {
                let locality = self.text.word(Locality::from_name, "`l2` or `nt`")?;
                body.push(Inst::Prefetch { locality, at: self.address()? });
            } else if self.text.take("loop")? {
                if depth == MAX_TEXT_DEPTH {
                    return self
                        .text
                        .fail(format!("more than {MAX_TEXT_DEPTH} loops in each other"));
                }
                body.push(self.repeat(depth)?);
            } else if matches!(self.text.token(), Token::Sign("}") | Token::Word("yield")) {
                return Ok(body);
            } else {
                return self.text.expected("an instruction or `}`");
            }
        }
    }

    /// `v3: f32`, where a value is defined.
    fn typed(&mut self) -> Parsed<(ValueId, Ty)> {
        let id = self.value_id()?;
        self.text.expect(":")?;
        let ty = self.text.word(Ty::from_name, "`f32`, `i32` or `mask`")?;
        // A second definition is the verifier's to refuse, but it has no type of its own.
        let first = *self.values.entry(id.0).or_insert(ty);
        if first != ty {
            return self.text.fail(format!("{id} is {ty} here and {first} before"));
        }
        Ok((id, ty))
    }

    fn definition(&mut self) -> Parsed<Inst> {
        let (dst, ty) = self.typed()?;
        self.text.expect("=")?;
        let Token::Word(word) = self.text.token() else {
            return self.text.expected("an instruction");
        };
        self.text.advance()?;
        Ok(match word {
            "const" => Inst::Const { dst, bits: self.constant(ty)? },
            "iota" => Inst::Iota { dst },
            "index" => Inst::Index { dst, index: self.affine()? },
            "load" => {
                let (elem, at) = (self.elem()?, self.address()?);
                Inst::Load { dst, elem, at, count: self.count()? }
            }
            "splat" => Inst::Splat { dst, elem: self.elem()?, at: self.address()? },
            "fma" => {
                let [a, b, c] = self.operands()?;
                Inst::Fma { dst, a, b, c }
            }
            "dot4" => {
                let [u8s, s8s, acc] = self.operands()?;
                Inst::Dot4 { dst, u8s, s8s, acc }
            }
            "select" => {
                let [mask, on, off] = self.operands()?;
                Inst::Select { dst, mask, on, off }
            }
            operator => self.operation(dst, operator)?,
        })
    }

    fn operation(&mut self, dst: ValueId, word: &str) -> Parsed<Inst> {
        if let Some(op) = UnaryOp::from_name(word) {
            return Ok(Inst::Unary { dst, op, src: self.value_id()? });
        }
        if let Some(op) = ReduceOp::from_name(word) {
            return Ok(Inst::Reduce { dst, op, src: self.value_id()? });
        }
        if let Some(op) = BinaryOp::from_name(word) {
            let [lhs, rhs] = self.operands()?;
            return Ok(Inst::Binary { dst, op, lhs, rhs });
        }
        if let Some(op) = CompareOp::from_name(word) {
            let [lhs, rhs] = self.operands()?;
            return Ok(Inst::Compare { dst, op, lhs, rhs });
        }
        if let Some(op) = ShiftOp::from_name(word) {
            let src = self.value_id()?;
            self.text.expect(",")?;
            return Ok(Inst::Shift { dst, op, src, amount: self.text.integer()? });
        }
        self.text.fail(format!("there is no instruction {}", Token::Word(word).describe()))
    }

    fn store(&mut self) -> Parsed<Inst> {
        let elem = self.elem()?;
        let src = self.value_id()?;
        self.text.expect(",")?;
        let at = self.address()?;
        let stride = if self.text.take("stride")? { self.text.integer()? } else { elem.bytes() };
        Ok(Inst::Store { src, elem, at, stride, count: self.count()? })
    }

    fn repeat(&mut self, depth: usize) -> Parsed<Inst> {
        let var = self.index_id()?;
        self.indices.entry(var.0).or_insert(Index::Loop);
        self.text.expect("in")?;
        let begin = self.bound()?;
        self.text.expect("..")?;
        let end = self.bound()?;
        self.text.expect("{")?;
        let mut heads = Vec::new();
        while self.text.take("carry")? {
            let (param, _) = self.typed()?;
            self.text.expect("=")?;
            let init = self.value_id()?;
            self.text.expect("->")?;
            let (result, _) = self.typed()?;
            heads.push((param, init, result));
        }
        let body = self.body(depth + 1)?;
        let mut carried = Vec::with_capacity(heads.len());
        for (param, init, result) in heads {
            self.text.expect(if carried.is_empty() { "yield" } else { "," })?;
            carried.push(Carried { param, init, next: self.value_id()?, result });
        }
        self.text.expect("}")?;
        Ok(Inst::Loop { var, begin, end, carried, body })
    }

    fn bound(&mut self) -> Parsed<Bound> {
        if self.text.peek_id("i").is_some() {
            return Ok(Bound::Scalar(self.index_id()?));
        }
        if !self.text.take("clamp")? {
            return Ok(Bound::Const(self.text.integer()?));
        }
        self.text.expect("(")?;
        let scalar = self.index_id()?;
        let mut minus = Affine::default();
        if self.text.take("-")? {
            self.text.expect("(")?;
            minus = self.affine()?;
            self.text.expect(")")?;
        }
        self.text.expect(",")?;
        let lo = self.text.integer()?;
        self.text.expect(",")?;
        let hi = self.text.integer()?;
        self.text.expect(")")?;
        Ok(Bound::Clamp { scalar, minus, lo, hi })
    }

    fn operands<const N: usize>(&mut self) -> Parsed<[ValueId; N]> {
        let mut operands = [ValueId(0); N];
        for (position, operand) in operands.iter_mut().enumerate() {
            if position > 0 {
                self.text.expect(",")?;
            }
            *operand = self.value_id()?;
        }
        Ok(operands)
    }

    fn elem(&mut self) -> Parsed<Elem> {
        self.text.word(Elem::from_name, "`f32`, `i32`, `u16` or `s8`")
    }

    fn count(&mut self) -> Parsed<u32> {
        if self.text.take("count")? { self.text.integer() } else { Ok(self.lanes) }
    }

    fn address(&mut self) -> Parsed<Address> {
        let buffer = BufferId(self.text.id("b", "a buffer such as `b0`")?);
        self.text.expect("[")?;
        let offset = self.affine()?;
        self.text.expect("]")?;
        Ok(Address { buffer, offset })
    }

    /// Terms such as `i2*640`, then a constant; kept as they stand, for the verifier to judge.
    fn affine(&mut self) -> Parsed<Affine> {
        let mut affine = Affine::default();
        if self.text.peek_id("i").is_none() {
            affine.base = self.text.integer()?;
            return Ok(affine);
        }
        loop {
            let index = self.index_id()?;
            let factor = if self.text.take("*")? { self.text.integer()? } else { 1 };
            affine.terms.push((index, factor));
            let place = self.text.place();
            let minus = self.text.take("-")?;
            if !minus && !self.text.take("+")? {
                return Ok(affine);
            }
            if minus || self.text.peek_id("i").is_none() {
                affine.base = fit(self.text.magnitude(minus)?, place)?;
                return Ok(affine);
            }
        }
    }

    /// The bits of a constant of type `ty`: a number of that type, or any bits as `0x..`.
    fn constant(&mut self, ty: Ty) -> Parsed<u32> {
        let place = self.text.place();
        if let Token::Number(text) = self.text.token()
            && text.starts_with("0x")
        {
            return fit(self.text.magnitude(false)?, place);
        }
        match ty {
            Ty::F32 => Ok(self.float()?.to_bits()),
            Ty::I32 => {
                let value: i128 = self.text.integer()?;
                i32::try_from(value).map(i32::cast_unsigned).or_else(|_| fit(value, place))
            }
            Ty::Mask if self.text.take("true")? => Ok(1),
            Ty::Mask if self.text.take("false")? => Ok(0),
            Ty::Mask => self.text.expected("`true`, `false` or bits as `0x..`"),
        }
    }

    fn float(&mut self) -> Parsed<f32> {
        let negative = self.text.take("-")?;
        let value = match self.text.token() {
            Token::Word("nan") => Some(f32::NAN),
            Token::Word("inf") => Some(f32::INFINITY),
            Token::Number(text) => text.parse().ok().filter(|x: &f32| x.is_finite()),
            Token::Word(_) | Token::Quoted(_) | Token::Sign(_) | Token::End => None,
        };
        let Some(value) = value else { return self.text.expected("an f32") };
        self.text.advance()?;
        Ok(if negative { -value } else { value })
    }
}
