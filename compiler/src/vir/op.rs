//! The element types and operators of VIR: what each computes on one lane.

use std::fmt;

use super::Access;

/// The type of a value: one element for each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ty {
    /// IEEE single.
    F32,
    /// 32-bit integer, two's complement, wrapping.
    I32,
    /// True or false.
    Mask,
}

/// What a load or store moves for each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 4 bytes, an f32 value.
    F32,
    /// 4 bytes, an i32 value.
    I32,
    /// 2 bytes, zero-extended to an i32 value when loaded, cut to its low half when stored.
    U16,
    /// 1 byte, sign-extended to an i32 value when loaded, cut to its low byte when stored.
    S8,
}

impl Elem {
    /// Bytes in memory.
    pub const fn bytes(self) -> u32 {
        match self {
            Elem::F32 | Elem::I32 => 4,
            Elem::U16 => 2,
            Elem::S8 => 1,
        }
    }

    /// The type of the value loaded or stored.
    pub const fn ty(self) -> Ty {
        match self {
            Elem::F32 => Ty::F32,
            Elem::I32 | Elem::U16 | Elem::S8 => Ty::I32,
        }
    }
}

/// What the caches are to do with a line that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Locality {
    /// It is read in some microseconds: the level 2 cache takes it.
    L2,
    /// It is read at once and not again soon: it is not to take the place of others when it
    /// leaves the nearest caches.
    NonTemporal,
}

/// Operators on one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// f32 → f32, IEEE square root.
    Sqrt,
    /// i32 → f32, to nearest even.
    I32ToF32,
    /// i32 → f32, same bits.
    AsF32,
    /// f32 → i32, same bits.
    AsI32,
    /// i32 (f16 bits in the low half, the high half is ignored) → f32: the exact value, with
    /// subnormals, infinities and NaN.
    F16ToF32,
    /// i32 (f16 bits in the low half, the high half is ignored) → f32 by
    /// `asf32((x << 16 >>s 3) & 0x8fffe000) * 2^112`: exact for finite halves (checked at load).
    FiniteF16ToF32,
    /// f32 → i32 holding f16 bits in the low half and zero in the high half: to nearest even,
    /// overflow to infinity, NaN to a NaN.
    F32ToF16,
}

/// Operators on two operands of one type. `F` operators are on f32, `I` operators on i32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// IEEE sum.
    FAdd,
    /// IEEE difference.
    FSub,
    /// IEEE product.
    FMul,
    /// IEEE quotient.
    FDiv,
    /// `a > b ? a : b`: the second operand where either is NaN or both are zero.
    FMax,
    /// `a < b ? a : b`: the second operand where either is NaN or both are zero.
    FMin,
    /// Wrapping sum.
    IAdd,
    /// Wrapping difference.
    ISub,
    /// Signed maximum.
    IMax,
    /// Bitwise and.
    IAnd,
    /// Bitwise or.
    IOr,
    /// Bitwise exclusive or.
    IXor,
}

/// Shifts of i32 lanes by a constant of 0 to 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShiftOp {
    /// Left, zeros in.
    Shl,
    /// Right, zeros in.
    Shr,
    /// Right, sign in.
    Sar,
}

/// Comparisons; all are false where an operand is NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// f32 `a < b`.
    FLt,
    /// f32 `a > b`.
    FGt,
    /// Signed i32 `a < b`.
    ILt,
    /// Signed i32 `a <= b`.
    ILe,
}

/// Reductions over the lanes of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    /// f32 sum.
    FAdd,
    /// f32 maximum by [`BinaryOp::FMax`], lower lane as first operand.
    FMax,
    /// i32 sum, wrapping.
    IAdd,
    /// i32 signed maximum.
    IMax,
}

impl ReduceOp {
    /// What combines two lanes.
    pub const fn of_lanes(self) -> BinaryOp {
        match self {
            ReduceOp::FAdd => BinaryOp::FAdd,
            ReduceOp::FMax => BinaryOp::FMax,
            ReduceOp::IAdd => BinaryOp::IAdd,
            ReduceOp::IMax => BinaryOp::IMax,
        }
    }

    /// The type of operand and result.
    pub const fn ty(self) -> Ty {
        self.of_lanes().ty()
    }
}

impl UnaryOp {
    /// The type of the operand.
    pub const fn operand_ty(self) -> Ty {
        match self {
            UnaryOp::Sqrt | UnaryOp::AsI32 | UnaryOp::F32ToF16 => Ty::F32,
            UnaryOp::I32ToF32 | UnaryOp::AsF32 | UnaryOp::F16ToF32 | UnaryOp::FiniteF16ToF32 => {
                Ty::I32
            }
        }
    }

    /// The type of the result.
    pub const fn result_ty(self) -> Ty {
        match self {
            UnaryOp::Sqrt
            | UnaryOp::I32ToF32
            | UnaryOp::AsF32
            | UnaryOp::F16ToF32
            | UnaryOp::FiniteF16ToF32 => Ty::F32,
            UnaryOp::AsI32 | UnaryOp::F32ToF16 => Ty::I32,
        }
    }
}

impl CompareOp {
    /// The type of both operands.
    pub const fn operand_ty(self) -> Ty {
        match self {
            CompareOp::FLt | CompareOp::FGt => Ty::F32,
            CompareOp::ILt | CompareOp::ILe => Ty::I32,
        }
    }
}

impl BinaryOp {
    /// The type of both operands and the result.
    pub const fn ty(self) -> Ty {
        match self {
            BinaryOp::FAdd
            | BinaryOp::FSub
            | BinaryOp::FMul
            | BinaryOp::FDiv
            | BinaryOp::FMax
            | BinaryOp::FMin => Ty::F32,
            BinaryOp::IAdd
            | BinaryOp::ISub
            | BinaryOp::IMax
            | BinaryOp::IAnd
            | BinaryOp::IOr
            | BinaryOp::IXor => Ty::I32,
        }
    }
}

/// Gives an enum of plain variants its list, its words in texts, and the way back from a word.
macro_rules! words {
    ($ty:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $ty {
            /// Every variant, in order of declaration.
            pub const ALL: &'static [$ty] = &[$($ty::$variant),+];

            /// The word in texts.
            pub const fn name(self) -> &'static str {
                match self {
                    $($ty::$variant => $word),+
                }
            }

            /// The variant whose word is `name`.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|variant| variant.name() == name)
            }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words!(Ty { F32 = "f32", I32 = "i32", Mask = "mask" });
words!(Elem { F32 = "f32", I32 = "i32", U16 = "u16", S8 = "s8" });
words!(Locality { L2 = "l2", NonTemporal = "nt" });
words!(Access { Read = "read", Write = "write", ReadWrite = "readwrite" });
words!(UnaryOp {
    Sqrt = "sqrt",
    I32ToF32 = "i32_to_f32",
    AsF32 = "as_f32",
    AsI32 = "as_i32",
    F16ToF32 = "f16_to_f32",
    FiniteF16ToF32 = "finite_f16_to_f32",
    F32ToF16 = "f32_to_f16",
});
words!(BinaryOp {
    FAdd = "fadd",
    FSub = "fsub",
    FMul = "fmul",
    FDiv = "fdiv",
    FMax = "fmax",
    FMin = "fmin",
    IAdd = "iadd",
    ISub = "isub",
    IMax = "imax",
    IAnd = "iand",
    IOr = "ior",
    IXor = "ixor",
});
words!(ShiftOp { Shl = "shl", Shr = "shr", Sar = "sar" });
words!(CompareOp { FLt = "flt", FGt = "fgt", ILt = "ilt", ILe = "ile" });
words!(ReduceOp {
    FAdd = "reduce_fadd",
    FMax = "reduce_fmax",
    IAdd = "reduce_iadd",
    IMax = "reduce_imax",
});
