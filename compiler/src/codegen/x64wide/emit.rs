//! Encoding: allocated operations to bytes, constants behind them.
//!
//! Distances that are not known yet are left open and written when all are.

use super::Width;
use super::allocate::SAVED;
use super::code::{Arg, Base, Code, GENERAL, Instruction, LANES, MASKS, Operation};
use super::encode::{align, set_memory, set_number, set_register};
use super::forms::{Form, Operand};
use super::layout::{following, forwarded, jump_form, opposite};
use super::statistics::{Counts, Statistics};
use iced_x86::{Encoder, Instruction as Encoded, Register};
use regalloc2::{Allocation, Block, Edit, Inst, InstOrEdit, Output, PReg, RegClass};

/// Bytes to which the heads of inner loops are aligned.
const LOOP_ALIGNMENT: usize = 32;
/// Bytes to which constants are aligned.
const POOL_ALIGNMENT: usize = 64;

/// Machine code with what it cost.
pub(super) struct Emitted {
    pub(super) bytes: Vec<u8>,
    /// Bytes of instructions, without the constants behind them.
    pub(super) code_bytes: usize,
    pub(super) statistics: Statistics,
    /// The forms in the order in which they were emitted.
    pub(super) forms: Vec<Form>,
}

/// What is written into the code when all places are known.
enum Open {
    Block { at: usize, block: usize },
    Constant { at: usize, end: usize, id: usize },
}

struct Emitter<'a> {
    code: &'a Code,
    output: &'a Output,
    width: Width,
    encoder: Encoder,
    bytes: Vec<u8>,
    /// Where blocks begin.
    places: Vec<Option<usize>>,
    /// Where a block leads that holds nothing but a jump.
    forward: Vec<usize>,
    open: Vec<Open>,
    frame: i64,
    saved: Vec<usize>,
    statistics: Statistics,
    forms: Vec<Form>,
}

/// Encodes a function.
///
/// # Errors
/// What the encoder says of an operand that a form cannot take, and code of over 2 GiB; always a
/// bug.
pub(super) fn emit(code: &Code, output: &Output, width: Width) -> Result<Emitted, String> {
    let mut emitter = Emitter {
        code,
        output,
        width,
        encoder: Encoder::new(64),
        bytes: Vec::new(),
        places: vec![None; code.blocks.len()],
        forward: forwarded(code, output),
        open: Vec::new(),
        frame: i64::try_from(output.num_spillslots * 8).unwrap_or(i64::MAX),
        saved: saved(output),
        statistics: Statistics::default(),
        forms: Vec::new(),
    };
    emitter.prologue()?;
    for block in 0..code.blocks.len() {
        emitter.block(block)?;
    }
    let code_bytes = emitter.bytes.len();
    emitter.pool()?;
    emitter.statistics.bytes = emitter.bytes.len();
    let Emitter { bytes, statistics, forms, .. } = emitter;
    Ok(Emitted { bytes, code_bytes, statistics, forms })
}

/// The registers of [`SAVED`] that a function changes.
fn saved(output: &Output) -> Vec<usize> {
    let edited = output.edits.iter().map(|(_, Edit::Move { to, .. })| *to);
    let mut used: Vec<usize> = output
        .allocs
        .iter()
        .copied()
        .chain(edited)
        .filter_map(Allocation::as_reg)
        .filter(|register| register.class() == GENERAL)
        .map(PReg::hw_enc)
        .filter(|number| SAVED.contains(number))
        .collect();
    used.sort_unstable();
    used.dedup();
    used
}

/// An operand of an instruction that allocation knows nothing of.
#[derive(Clone, Copy)]
enum Fixed {
    Register(Register),
    Stack(i64),
    Number(i64),
}

impl Emitter<'_> {
    fn prologue(&mut self) -> Result<(), String> {
        for number in self.saved.clone() {
            self.fixed(Form::Push, &[Fixed::Register(general(number))])?;
        }
        if self.frame > 0 {
            self.move_stack(Form::SubByte, Form::Sub32)?;
        }
        Ok(())
    }

    fn epilogue(&mut self) -> Result<(), String> {
        self.fixed(Form::ClearUpper, &[])?;
        if self.frame > 0 {
            self.move_stack(Form::AddByte, Form::Add32)?;
        }
        for number in self.saved.clone().into_iter().rev() {
            self.fixed(Form::Pop, &[Fixed::Register(general(number))])?;
        }
        self.fixed(Form::Return, &[])
    }

    fn move_stack(&mut self, near: Form, far: Form) -> Result<(), String> {
        let form = if i8::try_from(self.frame).is_ok() { near } else { far };
        self.fixed(form, &[Fixed::Register(Register::RSP), Fixed::Number(self.frame)])
    }

    fn block(&mut self, block: usize) -> Result<(), String> {
        if self.forward[block] != block {
            return Ok(());
        }
        let info = &self.code.blocks[block];
        if info.is_inner_head {
            align(&mut self.bytes, LOOP_ALIGNMENT);
        }
        self.places[block] = Some(self.bytes.len());
        let (code, output) = (self.code, self.output);
        for step in output.block_insts_and_edits(code, Block::new(block)) {
            match step {
                InstOrEdit::Edit(Edit::Move { from, to }) => {
                    self.shift_register(block, *from, *to)?
                }
                InstOrEdit::Inst(inst) => self.instruction(block, inst)?,
            }
        }
        Ok(())
    }

    fn instruction(&mut self, block: usize, inst: Inst) -> Result<(), String> {
        let code = self.code;
        match &code.instructions[inst.index()] {
            Instruction::Args => Ok(()),
            Instruction::Operation(operation) => {
                self.count(block, |counts| counts.instructions += 1);
                self.operation(operation, inst)
            }
            Instruction::Jump => {
                let target = code.blocks[block].successors.first().map_or(0, |b| b.index());
                self.jump_on(block, target)
            }
            Instruction::Branch(condition) => {
                self.count(block, |counts| counts.instructions += 1);
                let [taken, next] = code.blocks[block].successors[..] else { return Ok(()) };
                let [taken, next] = [taken, next].map(|b| self.forward[b.index()]);
                if taken == following(&self.forward, block) {
                    return self.jump(opposite(*condition), next);
                }
                self.jump(jump_form(*condition), taken)?;
                self.jump_on(block, next)
            }
            Instruction::Return => self.epilogue(),
        }
    }

    /// A jump, unless the target comes next.
    fn jump_on(&mut self, block: usize, target: usize) -> Result<(), String> {
        let target = self.forward[target];
        if target == following(&self.forward, block) {
            return Ok(());
        }
        self.count(block, |counts| counts.instructions += 1);
        self.jump([Form::Jump, Form::JumpShort], target)
    }

    /// A jump to a block, short where that lies near behind.
    fn jump(&mut self, [far, near]: [Form; 2], target: usize) -> Result<(), String> {
        let at = self.bytes.len();
        if let Some(place) = self.places[target] {
            let is_near = at + 2 - place <= 128;
            let form = if is_near { near } else { far };
            return self.encode_jump(form, place);
        }
        self.encode_jump(far, at)?;
        self.open.push(Open::Block { at: self.bytes.len() - 4, block: target });
        Ok(())
    }

    fn encode_jump(&mut self, form: Form, target: usize) -> Result<(), String> {
        let code = form.code(self.width);
        let jump = Encoded::with_branch(code, target as u64).map_err(|error| error.to_string())?;
        self.forms.push(form);
        self.encode(&jump)
    }

    /// What moves between registers and the stack, by kind.
    fn shift_register(
        &mut self,
        block: usize,
        from: Allocation,
        to: Allocation,
    ) -> Result<(), String> {
        if from == to {
            return Ok(());
        }
        self.count(block, |counts| counts.instructions += 1);
        let slot = |allocation: Allocation| {
            let slot = allocation.as_stack().map_or(0, |slot| slot.index());
            Fixed::Stack(i64::try_from(slot * 8).unwrap_or(i64::MAX))
        };
        match (from.as_reg(), to.as_reg()) {
            (Some(from), Some(to)) => {
                self.count(block, |counts| counts.moves += 1);
                let form = by_class(from.class(), [Form::Move, Form::Copy, Form::MaskMove]);
                let parts = [self.whole(to), self.whole(from)].map(Fixed::Register);
                self.fixed(form, &parts)
            }
            (Some(from), None) => {
                self.count(block, |counts| counts.spills += 1);
                let forms = [Form::MoveToMemory, Form::Store, Form::MaskStore];
                let parts = [slot(to), Fixed::Register(self.whole(from))];
                self.fixed(by_class(from.class(), forms), &parts)
            }
            (None, Some(to)) => {
                self.count(block, |counts| counts.reloads += 1);
                let forms = [Form::Move, Form::Load, Form::MaskMove];
                let parts = [Fixed::Register(self.whole(to)), slot(from)];
                self.fixed(by_class(to.class(), forms), &parts)
            }
            (None, None) => Err("a move from the stack to the stack".to_owned()),
        }
    }

    /// Counts something that a block does.
    fn count(&mut self, block: usize, change: impl Fn(&mut Counts)) {
        let info = &self.code.blocks[block];
        let depth = info.depth as usize;
        if self.statistics.depths.len() <= depth {
            self.statistics.depths.resize(depth + 1, Counts::default());
        }
        change(&mut self.statistics.depths[depth]);
        if info.is_inner {
            change(&mut self.statistics.inner);
        }
    }

    /// An operation that selection did not write.
    fn fixed(&mut self, form: Form, parts: &[Fixed]) -> Result<(), String> {
        let mut encoded = Encoded::default();
        encoded.set_code(form.code(self.width));
        for (n, (part, operand)) in (0..).zip(parts.iter().zip(form.operands())) {
            match *part {
                Fixed::Register(register) => set_register(&mut encoded, n, register),
                Fixed::Stack(offset) => set_memory(&mut encoded, n, Register::RSP, offset, false),
                Fixed::Number(number) => set_number(&mut encoded, n, *operand, number),
            }
        }
        self.forms.push(form);
        self.encode(&encoded)
    }

    fn operation(&mut self, operation: &Operation, inst: Inst) -> Result<(), String> {
        let form = operation.form;
        let output = self.output;
        let allocated = output.inst_allocs(inst);
        let register = |operand: u8| {
            let register = allocated.get(usize::from(operand)).and_then(|a| a.as_reg());
            register.ok_or_else(|| format!("{form:?} has an operand without a register"))
        };
        let mut encoded = Encoded::default();
        encoded.set_code(form.code(self.width));
        let mut constant = None;
        for (n, (arg, operand)) in (0..).zip(operation.args.iter().zip(form.operands())) {
            match *arg {
                Arg::Register(number) => {
                    let register = self.sized(register(number)?, *operand);
                    set_register(&mut encoded, n, register);
                }
                Arg::Memory { base: Base::Register(number), displacement, for_every_lane } => {
                    let base = general(register(number)?.hw_enc());
                    set_memory(&mut encoded, n, base, displacement.into(), for_every_lane);
                }
                Arg::Memory { base: Base::Pool(id), for_every_lane, .. } => {
                    // Its place is not known yet: here is near enough for the encoder.
                    let here = i64::try_from(self.bytes.len()).unwrap_or(0);
                    set_memory(&mut encoded, n, Register::RIP, here, for_every_lane);
                    constant = Some(id);
                }
                Arg::Immediate(number) => set_number(&mut encoded, n, *operand, number),
            }
        }
        if let Some((number, zeroes)) = operation.only {
            encoded.set_op_mask(self.sized(register(number)?, Operand::Mask));
            encoded.set_zeroing_masking(zeroes);
        }
        self.forms.push(form);
        let begin = self.bytes.len();
        self.encode(&encoded)?;
        if let Some(id) = constant {
            let at = begin + self.encoder.get_constant_offsets().displacement_offset();
            self.open.push(Open::Constant { at, end: self.bytes.len(), id });
        }
        Ok(())
    }

    fn encode(&mut self, instruction: &Encoded) -> Result<(), String> {
        let at = self.bytes.len();
        self.encoder.set_buffer(std::mem::take(&mut self.bytes));
        let encoded = self.encoder.encode(instruction, at as u64);
        self.bytes = self.encoder.take_buffer();
        encoded.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Constants, the large ones first, and the distances that were left open.
    fn pool(&mut self) -> Result<(), String> {
        let mut order: Vec<usize> = (0..self.code.pool.len()).collect();
        order.sort_by_key(|id| std::cmp::Reverse(self.code.pool[*id].len()));
        let mut places = vec![0; order.len()];
        if !order.is_empty() {
            self.bytes.resize(self.bytes.len().next_multiple_of(POOL_ALIGNMENT), 0xcc);
        }
        for id in order {
            places[id] = self.bytes.len();
            self.bytes.extend_from_slice(&self.code.pool[id]);
        }
        for open in std::mem::take(&mut self.open) {
            let (at, end, target) = match open {
                Open::Block { at, block } => (at, at + 4, self.places[block]),
                Open::Constant { at, end, id } => (at, end, Some(places[id])),
            };
            let target = target.ok_or("a jump to a block that was not emitted")?;
            let distance = i32::try_from(target.cast_signed() - end.cast_signed());
            let distance = distance.map_err(|_| "code of over 2 GiB")?;
            self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        Ok(())
    }

    /// A register in its full size.
    fn whole(&self, register: PReg) -> Register {
        let operand = match register.class() {
            GENERAL => Operand::General,
            LANES => Operand::Vector,
            MASKS => Operand::Mask,
        };
        self.sized(register, operand)
    }

    /// A register in the size that a form wants.
    fn sized(&self, register: PReg, operand: Operand) -> Register {
        let number = register.hw_enc();
        let first = match (operand, self.width) {
            (Operand::Vector | Operand::VectorOrMemory, Width::Zmm) => Register::ZMM0,
            (Operand::Vector | Operand::VectorOrMemory, Width::Ymm)
            | (Operand::Half | Operand::HalfOrMemory, Width::Zmm) => Register::YMM0,
            (Operand::Half | Operand::HalfOrMemory, Width::Ymm)
            | (Operand::Xmm | Operand::XmmOrMemory, _) => Register::XMM0,
            (Operand::Mask | Operand::MaskOrMemory, _) => Register::K0,
            (Operand::Low | Operand::LowOrMemory, _) => Register::EAX,
            _ => Register::RAX,
        };
        first + u32::try_from(number).unwrap_or(0)
    }
}

fn general(number: usize) -> Register {
    Register::RAX + u32::try_from(number).unwrap_or(0)
}

fn by_class(class: RegClass, [general, lanes, masks]: [Form; 3]) -> Form {
    match class {
        GENERAL => general,
        LANES => lanes,
        MASKS => masks,
    }
}
