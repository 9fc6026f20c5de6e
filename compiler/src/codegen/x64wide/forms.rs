//! THE table of instruction forms: every encoding that this back end can emit, by what it means.
//!
//! A form is one encoding for each width: `AddPs` is VEX `vaddps ymm, ymm, ymm/m256` and EVEX
//! `vaddps zmm, zmm, zmm/m512/m32bcst`. Selection names forms and never encodings, so both widths
//! are selected by the same lines, and tests that go through [`Form::ALL`] meet all there is: each
//! form is encoded, decoded again, shown to a second disassembler and executed.

use super::Width;
use iced_x86::Code;

/// What an operand of a form can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// A register of the width's full size.
    Vector,
    /// The same, or as many bytes of memory, or one element of it for every lane (EVEX).
    VectorOrMemory,
    /// A register of half the width.
    Half,
    /// The same, or memory.
    HalfOrMemory,
    /// A 128-bit register.
    Xmm,
    /// The same, or memory.
    XmmOrMemory,
    /// A 64-bit general register.
    General,
    /// The same, or memory.
    GeneralOrMemory,
    /// The low half of a general register.
    Low,
    /// The same, or memory.
    LowOrMemory,
    /// A mask register.
    Mask,
    /// The same, or memory.
    MaskOrMemory,
    /// Memory.
    Memory,
    /// A byte.
    Byte,
    /// A byte, extended by its sign to 64 bits.
    SignedByte,
    /// 32 bits, extended by their sign to 64.
    Signed32,
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
    /// A place in the code.
    Target,
}

impl Operand {
    /// Whether memory can stand here.
    pub const fn takes_memory(self) -> bool {
        matches!(
            self,
            Operand::VectorOrMemory
                | Operand::HalfOrMemory
                | Operand::XmmOrMemory
                | Operand::GeneralOrMemory
                | Operand::LowOrMemory
                | Operand::MaskOrMemory
                | Operand::Memory
        )
    }
}

/// Short names for the table.
mod short {
    use super::Operand;
    pub(super) const V: Operand = Operand::Vector;
    pub(super) const VM: Operand = Operand::VectorOrMemory;
    pub(super) const H: Operand = Operand::Half;
    pub(super) const HM: Operand = Operand::HalfOrMemory;
    pub(super) const X: Operand = Operand::Xmm;
    pub(super) const XM: Operand = Operand::XmmOrMemory;
    pub(super) const G: Operand = Operand::General;
    pub(super) const GM: Operand = Operand::GeneralOrMemory;
    pub(super) const D: Operand = Operand::Low;
    pub(super) const DM: Operand = Operand::LowOrMemory;
    pub(super) const K: Operand = Operand::Mask;
    pub(super) const KM: Operand = Operand::MaskOrMemory;
    pub(super) const M: Operand = Operand::Memory;
    pub(super) const I: Operand = Operand::Byte;
    pub(super) const S8: Operand = Operand::SignedByte;
    pub(super) const S32: Operand = Operand::Signed32;
    pub(super) const B32: Operand = Operand::Bits32;
    pub(super) const B64: Operand = Operand::Bits64;
    pub(super) const T: Operand = Operand::Target;
}

/// The table: a form, its operands in the order of the manuals, its encoding at 256 and at 512
/// bits; `INVALID` where a width has none.
macro_rules! forms {
    ($($name:ident [$($operand:ident)*] $avx2:ident $avx512:ident)+) => {
        /// What an instruction does, whatever its width: a row of the table.
        #[expect(missing_docs, reason = "a form is named for the instruction of the manuals")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Form { $($name),+ }

        impl Form {
            /// Every form, in the order of the table.
            pub const ALL: &'static [Form] = &[$(Form::$name),+];

            /// Its operands; the first is the result unless the instruction only reads.
            pub const fn operands(self) -> &'static [Operand] {
                match self { $(Form::$name => &[$(short::$operand),*]),+ }
            }

            /// Its encoding, `Code::INVALID` where this width has none.
            pub const fn code(self, width: Width) -> Code {
                match (self, width) {
                    $((Form::$name, Width::Ymm) => Code::$avx2,
                      (Form::$name, Width::Zmm) => Code::$avx512,)+
                }
            }
        }
    };
}

forms! {
    // Moves of whole vectors.
    Load [V VM] VEX_Vmovups_ymm_ymmm256 EVEX_Vmovups_zmm_k1z_zmmm512
    Store [VM V] VEX_Vmovups_ymmm256_ymm EVEX_Vmovups_zmmm512_k1z_zmm
    Copy [V V] VEX_Vmovaps_ymm_ymmm256 EVEX_Vmovaps_zmm_k1z_zmmm512
    Zero [V V V] VEX_Vpxor_ymm_ymm_ymmm256 EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32
    MaskedLoad [V V M] VEX_Vmaskmovps_ymm_ymm_m256 INVALID
    MaskedStore [M V V] VEX_Vmaskmovps_m256_ymm_ymm INVALID
    PrefetchL2 [M] Prefetcht1_m8 Prefetcht1_m8
    PrefetchNonTemporal [M] Prefetchnta_m8 Prefetchnta_m8
    // Narrow elements, and one element for all lanes.
    LoadWords [V HM] VEX_Vpmovzxwd_ymm_xmmm128 EVEX_Vpmovzxwd_zmm_k1z_ymmm256
    LoadSignedWords [V HM] VEX_Vpmovsxwd_ymm_xmmm128 EVEX_Vpmovsxwd_zmm_k1z_ymmm256
    LoadBytes [V XM] VEX_Vpmovsxbd_ymm_xmmm64 EVEX_Vpmovsxbd_zmm_k1z_xmmm128
    NarrowWords [HM V] INVALID EVEX_Vpmovdw_ymmm256_k1z_zmm
    NarrowBytes [XM V] INVALID EVEX_Vpmovdb_xmmm128_k1z_zmm
    StoreHalf [HM H] VEX_Vmovups_xmmm128_xmm INVALID
    StoreQuarter [XM X] VEX_Vmovq_xmmm64_xmm INVALID
    BroadcastPs [V M] VEX_Vbroadcastss_ymm_m32 EVEX_Vbroadcastss_zmm_k1z_xmmm32
    BroadcastD [V M] VEX_Vpbroadcastd_ymm_xmmm32 EVEX_Vpbroadcastd_zmm_k1z_xmmm32
    BroadcastFirst [V X] VEX_Vbroadcastss_ymm_xmm EVEX_Vbroadcastss_zmm_k1z_xmmm32
    BroadcastGeneral [V D] INVALID EVEX_Vpbroadcastd_zmm_k1z_r32
    FromGeneral [X D] VEX_Vmovd_xmm_rm32 INVALID
    InsertWord [X X DM I] VEX_Vpinsrw_xmm_xmm_r32m16_imm8 INVALID
    InsertByte [X X DM I] VEX_Vpinsrb_xmm_xmm_r32m8_imm8 INVALID
    ExtractByte [M X I] VEX_Vpextrb_r32m8_xmm_imm8 EVEX_Vpextrb_r32m8_xmm_imm8
    ExtractWord [M X I] VEX_Vpextrw_r32m16_xmm_imm8 EVEX_Vpextrw_r32m16_xmm_imm8
    ExtractDword [M X I] VEX_Vpextrd_rm32_xmm_imm8 EVEX_Vpextrd_rm32_xmm_imm8
    ExtractQuarter [X V I] VEX_Vextractf128_xmmm128_ymm_imm8 EVEX_Vextractf32x4_xmmm128_k1z_zmm_imm8
    // Floating point.
    AddPs [V V VM] VEX_Vaddps_ymm_ymm_ymmm256 EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er
    SubPs [V V VM] VEX_Vsubps_ymm_ymm_ymmm256 EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er
    MulPs [V V VM] VEX_Vmulps_ymm_ymm_ymmm256 EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er
    DivPs [V V VM] VEX_Vdivps_ymm_ymm_ymmm256 EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er
    MaxPs [V V VM] VEX_Vmaxps_ymm_ymm_ymmm256 EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae
    MinPs [V V VM] VEX_Vminps_ymm_ymm_ymmm256 EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae
    SqrtPs [V VM] VEX_Vsqrtps_ymm_ymmm256 EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er
    Fma231 [V V VM] VEX_Vfmadd231ps_ymm_ymm_ymmm256 EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er
    Fma213 [V V VM] VEX_Vfmadd213ps_ymm_ymm_ymmm256 EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er
    Fma132 [V V VM] VEX_Vfmadd132ps_ymm_ymm_ymmm256 EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er
    FromDwords [V VM] VEX_Vcvtdq2ps_ymm_ymmm256 EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er
    FromHalves [V HM] VEX_Vcvtph2ps_ymm_xmmm128 EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae
    ToHalves [H V I] VEX_Vcvtps2ph_xmmm128_ymm_imm8 EVEX_Vcvtps2ph_ymmm256_k1z_zmm_imm8_sae
    // Integers.
    AddD [V V VM] VEX_Vpaddd_ymm_ymm_ymmm256 EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32
    SubD [V V VM] VEX_Vpsubd_ymm_ymm_ymmm256 EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32
    MaxD [V V VM] VEX_Vpmaxsd_ymm_ymm_ymmm256 EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32
    And [V V VM] VEX_Vpand_ymm_ymm_ymmm256 EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32
    Or [V V VM] VEX_Vpor_ymm_ymm_ymmm256 EVEX_Vpord_zmm_k1z_zmm_zmmm512b32
    Xor [V V VM] VEX_Vpxor_ymm_ymm_ymmm256 EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32
    ShiftLeft [V V I] VEX_Vpslld_ymm_ymm_imm8 EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8
    ShiftRight [V V I] VEX_Vpsrld_ymm_ymm_imm8 EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8
    ShiftSigned [V V I] VEX_Vpsrad_ymm_ymm_imm8 EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8
    // Dot products of bytes: one instruction, or what is exact without it.
    DotBytes [V V VM] VEX_Vpdpbusd_ymm_ymm_ymmm256 EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32
    PairBytes [V V VM] VEX_Vpmaddubsw_ymm_ymm_ymmm256 INVALID
    PairWords [V V VM] VEX_Vpmaddwd_ymm_ymm_ymmm256 INVALID
    WordsLeft [V V I] VEX_Vpsllw_ymm_ymm_imm8 INVALID
    WordsRight [V V I] VEX_Vpsrlw_ymm_ymm_imm8 INVALID
    WordsSigned [V V I] VEX_Vpsraw_ymm_ymm_imm8 INVALID
    // Lanes from other lanes.
    ShuffleQuarters [V V VM I] VEX_Vperm2f128_ymm_ymm_ymmm256_imm8 EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8
    ShuffleDwords [V VM I] VEX_Vpshufd_ymm_ymmm256_imm8 EVEX_Vpshufd_zmm_k1z_zmmm512b32_imm8
    ShuffleBytes [V V VM] VEX_Vpshufb_ymm_ymm_ymmm256 INVALID
    PermuteQwords [V VM I] VEX_Vpermq_ymm_ymmm256_imm8 INVALID
    UnpackDwords [X X XM] VEX_Vpunpckldq_xmm_xmm_xmmm128 INVALID
    // Masks: in vectors at 256 bits, in registers of their own at 512.
    ComparePs [V V VM I] VEX_Vcmpps_ymm_ymm_ymmm256_imm8 INVALID
    ComparePsMask [K V VM I] INVALID EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae
    GreaterD [V V VM] VEX_Vpcmpgtd_ymm_ymm_ymmm256 INVALID
    CompareDMask [K V VM I] INVALID EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8
    Ones [V V V] VEX_Vpcmpeqd_ymm_ymm_ymmm256 INVALID
    Blend [V V VM V] VEX_Vblendvps_ymm_ymm_ymmm256_ymm INVALID
    BlendMask [V V VM] INVALID EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32
    MaskFromGeneral [K D] INVALID VEX_Kmovw_kr_r32
    MaskMove [K KM] INVALID VEX_Kmovw_kr_km16
    MaskStore [M K] INVALID VEX_Kmovw_m16_kr
    MaskNone [K K K] INVALID VEX_Kxorw_kr_kr_kr
    MaskAll [K K K] INVALID VEX_Kxnorw_kr_kr_kr
    // Addresses, bounds and counters.
    Move [G GM] Mov_r64_rm64 Mov_r64_rm64
    MoveToMemory [M G] Mov_rm64_r64 Mov_rm64_r64
    MoveBits32 [D B32] Mov_r32_imm32 Mov_r32_imm32
    MoveSigned32 [G S32] Mov_rm64_imm32 Mov_rm64_imm32
    MoveBits64 [G B64] Mov_r64_imm64 Mov_r64_imm64
    MoveWord [D M] Movzx_r32_rm16 Movzx_r32_rm16
    MoveByte [D M] Movsx_r32_rm8 Movsx_r32_rm8
    Add [G GM] Add_r64_rm64 Add_r64_rm64
    AddByte [G S8] Add_rm64_imm8 Add_rm64_imm8
    Add32 [G S32] Add_rm64_imm32 Add_rm64_imm32
    Sub [G GM] Sub_r64_rm64 Sub_r64_rm64
    SubByte [G S8] Sub_rm64_imm8 Sub_rm64_imm8
    Sub32 [G S32] Sub_rm64_imm32 Sub_rm64_imm32
    Multiply [G GM] Imul_r64_rm64 Imul_r64_rm64
    Multiply32 [G GM S32] Imul_r64_rm64_imm32 Imul_r64_rm64_imm32
    Compare [G GM] Cmp_r64_rm64 Cmp_r64_rm64
    CompareByte [G S8] Cmp_rm64_imm8 Cmp_rm64_imm8
    Compare32 [G S32] Cmp_rm64_imm32 Cmp_rm64_imm32
    MoveIfLess [G GM] Cmovl_r64_rm64 Cmovl_r64_rm64
    MoveIfGreater [G GM] Cmovg_r64_rm64 Cmovg_r64_rm64
    Decrement [G] Dec_rm64 Dec_rm64
    Increment [G] Inc_rm64 Inc_rm64
    // Control.
    Push [G] Push_r64 Push_r64
    Pop [G] Pop_r64 Pop_r64
    Jump [T] Jmp_rel32_64 Jmp_rel32_64
    JumpShort [T] Jmp_rel8_64 Jmp_rel8_64
    JumpEqual [T] Je_rel32_64 Je_rel32_64
    JumpNotEqual [T] Jne_rel32_64 Jne_rel32_64
    JumpNotEqualShort [T] Jne_rel8_64 Jne_rel8_64
    JumpLess [T] Jl_rel32_64 Jl_rel32_64
    JumpLessShort [T] Jl_rel8_64 Jl_rel8_64
    JumpNotLess [T] Jge_rel32_64 Jge_rel32_64
    ClearUpper [] VEX_Vzeroupper VEX_Vzeroupper
    Return [] Retnq Retnq
}

impl Form {
    /// Whether lanes can be left out by a mask register.
    pub const fn takes_mask(self) -> bool {
        matches!(
            self,
            Form::Load
                | Form::Store
                | Form::LoadWords
                | Form::LoadBytes
                | Form::NarrowWords
                | Form::NarrowBytes
                | Form::BlendMask
        )
    }
}
