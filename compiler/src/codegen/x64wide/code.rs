//! Machine operations over virtual registers: what selection writes and allocation reads.
//!
//! A function is a list of blocks, each a run of operations with a jump, a branch or a return at
//! its end. Values that a loop carries are params of its head; every edge from a branch leads to
//! a block of its own, so that moves of params have a place (no critical edges).

use super::forms::Form;
use regalloc2::{Block, Inst, InstRange, Operand, PReg, RegClass, VReg};

/// Registers for addresses, bounds and counters.
pub(super) const GENERAL: RegClass = RegClass::Int;
/// Registers for lanes.
pub(super) const LANES: RegClass = RegClass::Float;
/// Registers for masks, at 512 bits.
pub(super) const MASKS: RegClass = RegClass::Vector;

/// Where memory begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// In a register: that of an operand.
    Register(u8),
    /// A constant behind the code.
    Pool(usize),
}

/// An argument of an operation, in the order of the form's operands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arg {
    /// The register of an operand.
    Register(u8),
    /// Memory.
    Memory { base: Base, displacement: i32, for_every_lane: bool },
    /// A number.
    Immediate(i64),
}

/// A place in memory, over virtual registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) base: VReg,
    pub(super) displacement: i32,
}

/// What an operand of an operation is, as selection says it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// The result.
    Def(VReg),
    /// The result, which takes the register of a value that is read, too.
    Tied { def: VReg, from: VReg },
    /// A value that is read.
    Use(VReg),
    /// The result's register again, whatever it holds.
    Again,
    /// Memory.
    Memory(Place),
    /// One element of memory for every lane.
    Element(Place),
    /// A constant behind the code.
    Pool { id: usize, for_every_lane: bool },
    /// A number.
    Immediate(i64),
    /// Lanes that take part; the others are zero in a result and stay in memory.
    Only(VReg),
    /// Lanes that take the last operand; the others take the one before it.
    Choose(VReg),
}

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) form: Form,
    pub(super) args: Vec<Arg>,
    /// The operand that is a mask of lanes, and whether the others become zero.
    pub(super) only: Option<(u8, bool)>,
}

/// When a branch is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Equal,
    NotEqual,
    Less,
    NotLess,
}

/// An instruction as the allocator sees it.
#[derive(Debug)]
pub(super) enum Instruction {
    /// The two tables that the caller passes.
    Args,
    Operation(Operation),
    Jump,
    /// To the first successor where the condition holds, else to the second.
    Branch(Condition),
    Return,
}

/// A block: its instructions, its params and where it leads.
#[derive(Debug, Default)]
pub(super) struct BlockInfo {
    pub(super) first: usize,
    pub(super) end: usize,
    pub(super) params: Vec<VReg>,
    pub(super) successors: Vec<Block>,
    pub(super) predecessors: Vec<Block>,
    /// What a jump at its end passes on.
    pub(super) passed: Vec<VReg>,
    /// Loops around it.
    pub(super) depth: u32,
    /// The head of a loop without loops inside.
    pub(super) is_inner_head: bool,
    /// Whether it belongs to such a loop.
    pub(super) is_inner: bool,
}

/// A function under construction, then complete.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) instructions: Vec<Instruction>,
    operands: Vec<Operand>,
    /// For each instruction, where its operands end.
    ends: Vec<usize>,
    pub(super) blocks: Vec<BlockInfo>,
    current: usize,
    registers: usize,
    /// Constants behind the code.
    pub(super) pool: Vec<Vec<u8>>,
}

impl Code {
    /// A new virtual register.
    pub(super) fn register(&mut self, class: RegClass) -> VReg {
        let register = VReg::new(self.registers, class);
        self.registers += 1;
        register
    }

    /// A new block; its instructions come with [`Code::enter`].
    pub(super) fn block(&mut self, depth: u32, is_inner: bool) -> Block {
        self.blocks.push(BlockInfo { depth, is_inner, ..BlockInfo::default() });
        Block::new(self.blocks.len() - 1)
    }

    /// Instructions from here on belong to `block`.
    pub(super) fn enter(&mut self, block: Block) {
        self.current = block.index();
        let at = self.instructions.len();
        self.blocks[self.current].first = at;
        self.blocks[self.current].end = at;
    }

    fn push(&mut self, instruction: Instruction, operands: impl IntoIterator<Item = Operand>) {
        self.instructions.push(instruction);
        self.operands.extend(operands);
        self.ends.push(self.operands.len());
        self.blocks[self.current].end = self.instructions.len();
    }

    /// The tables of buffers and of scalars, from the registers of the calling convention.
    pub(super) fn arguments(&mut self, fixed: [PReg; 2]) -> [VReg; 2] {
        let registers = fixed.map(|_| self.register(GENERAL));
        let defs = registers.iter().zip(fixed).map(|(v, p)| Operand::reg_fixed_def(*v, p));
        let defs: Vec<Operand> = defs.collect();
        self.push(Instruction::Args, defs);
        registers
    }

    /// One operation; `parts` in the order of the form's operands, a mask of lanes anywhere.
    pub(super) fn operation(&mut self, form: Form, parts: &[Part]) {
        let mut operands = Vec::with_capacity(parts.len() + 1);
        let mut args = Vec::with_capacity(parts.len());
        let mut only = None;
        let mut def = 0;
        let push = |operands: &mut Vec<Operand>, operand| {
            operands.push(operand);
            u8::try_from(operands.len() - 1).unwrap_or(u8::MAX)
        };
        let writes = parts.iter().any(|part| matches!(part, Part::Def(_) | Part::Tied { .. }));
        for part in parts {
            match *part {
                Part::Def(v) => {
                    def = push(&mut operands, Operand::reg_def(v));
                    args.push(Arg::Register(def));
                }
                Part::Tied { def: v, from } => {
                    let from = push(&mut operands, Operand::reg_use(from));
                    def = push(&mut operands, Operand::reg_reuse_def(v, from.into()));
                    args.push(Arg::Register(def));
                }
                Part::Use(v) => {
                    args.push(Arg::Register(push(&mut operands, Operand::reg_use(v))));
                }
                Part::Again => args.push(Arg::Register(def)),
                Part::Memory(place) | Part::Element(place) => {
                    let base = Base::Register(push(&mut operands, Operand::reg_use(place.base)));
                    let for_every_lane = matches!(part, Part::Element(_));
                    let displacement = place.displacement;
                    args.push(Arg::Memory { base, displacement, for_every_lane });
                }
                Part::Pool { id, for_every_lane } => {
                    let base = Base::Pool(id);
                    args.push(Arg::Memory { base, displacement: 0, for_every_lane });
                }
                Part::Immediate(number) => args.push(Arg::Immediate(number)),
                Part::Only(v) | Part::Choose(v) => {
                    let zeroes = writes && matches!(part, Part::Only(_));
                    only = Some((push(&mut operands, Operand::reg_use(v)), zeroes));
                }
            }
        }
        self.push(Instruction::Operation(Operation { form, args, only }), operands);
    }

    /// Ends the block: on to `target`, whose params become `passed`.
    pub(super) fn jump(&mut self, target: Block, passed: Vec<VReg>) {
        self.push(Instruction::Jump, []);
        self.blocks[self.current].passed = passed;
        self.lead_to(&[target]);
    }

    /// Ends the block: to `taken` where the condition of the last comparison holds, else `next`.
    pub(super) fn branch(&mut self, condition: Condition, taken: Block, next: Block) {
        self.push(Instruction::Branch(condition), []);
        self.lead_to(&[taken, next]);
    }

    /// Ends the block and the function.
    pub(super) fn ret(&mut self) {
        self.push(Instruction::Return, []);
    }

    fn lead_to(&mut self, targets: &[Block]) {
        let from = Block::new(self.current);
        for target in targets {
            self.blocks[target.index()].predecessors.push(from);
        }
        self.blocks[self.current].successors = targets.to_vec();
    }

    /// Numbers the blocks in the order of their instructions, which is that of the code.
    pub(super) fn finish(&mut self) {
        let mut order: Vec<usize> = (0..self.blocks.len()).collect();
        order.sort_by_key(|block| self.blocks[*block].first);
        let mut number = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, old)| number[*old] = new);
        let renumber = |block: &mut Block| *block = Block::new(number[block.index()]);
        for block in &mut self.blocks {
            block.successors.iter_mut().chain(&mut block.predecessors).for_each(renumber);
        }
        self.blocks.sort_by_key(|block| block.first);
    }

    /// The number of a constant behind the code.
    pub(super) fn constant(&mut self, bytes: Vec<u8>) -> usize {
        if let Some(known) = self.pool.iter().position(|other| *other == bytes) {
            return known;
        }
        self.pool.push(bytes);
        self.pool.len() - 1
    }
}

impl regalloc2::Function for Code {
    fn num_insts(&self) -> usize {
        self.instructions.len()
    }

    fn num_blocks(&self) -> usize {
        self.blocks.len()
    }

    fn entry_block(&self) -> Block {
        Block::new(0)
    }

    fn block_insns(&self, block: Block) -> InstRange {
        let BlockInfo { first, end, .. } = self.blocks[block.index()];
        InstRange::new(Inst::new(first), Inst::new(end))
    }

    fn block_succs(&self, block: Block) -> &[Block] {
        &self.blocks[block.index()].successors
    }

    fn block_preds(&self, block: Block) -> &[Block] {
        &self.blocks[block.index()].predecessors
    }

    fn block_params(&self, block: Block) -> &[VReg] {
        &self.blocks[block.index()].params
    }

    fn is_ret(&self, inst: Inst) -> bool {
        matches!(self.instructions[inst.index()], Instruction::Return)
    }

    fn is_branch(&self, inst: Inst) -> bool {
        matches!(self.instructions[inst.index()], Instruction::Jump | Instruction::Branch(_))
    }

    fn branch_blockparams(&self, block: Block, _: Inst, _: usize) -> &[VReg] {
        &self.blocks[block.index()].passed
    }

    fn inst_operands(&self, inst: Inst) -> &[Operand] {
        let at = inst.index();
        let first = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.operands[first..self.ends[at]]
    }

    fn inst_clobbers(&self, _: Inst) -> regalloc2::PRegSet {
        regalloc2::PRegSet::empty()
    }

    fn num_vregs(&self) -> usize {
        self.registers
    }

    /// In words of 8 bytes; a vector takes room for 512 bits at either width.
    fn spillslot_size(&self, class: RegClass) -> usize {
        match class {
            GENERAL | MASKS => 1,
            LANES => 8,
        }
    }
}
