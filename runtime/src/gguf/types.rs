//! The element types of tensors that GGUF files name: number, name, block size and support.

use std::fmt;

/// Defines [`GgmlType`] from one table, so that number, name and sizes cannot drift apart.
macro_rules! ggml_types {
    ($($variant:ident = $id:literal, $name:literal, $block:literal in $bytes:literal;)*) => {
        /// An element type of ggml. Rows are made of whole blocks of elements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum GgmlType {
            $(#[doc = concat!("`", $name, "`: blocks of ", $block, " elements in ", $bytes, " bytes.")]
            $variant,)*
        }

        impl GgmlType {
            /// Every type, by its number.
            pub const ALL: &[GgmlType] = &[$(GgmlType::$variant),*];

            /// The type's number in a file.
            pub const fn id(self) -> u32 {
                match self { $(GgmlType::$variant => $id),* }
            }

            /// The type's name, such as `Q4_1`.
            pub const fn name(self) -> &'static str {
                match self { $(GgmlType::$variant => $name),* }
            }

            /// Elements of one block, at least 1.
            pub const fn block(self) -> u64 {
                match self { $(GgmlType::$variant => $block),* }
            }

            /// Bytes of one block.
            pub const fn block_bytes(self) -> u64 {
                match self { $(GgmlType::$variant => $bytes),* }
            }
        }
    };
}

ggml_types! {
    F32 = 0, "F32", 1 in 4;
    F16 = 1, "F16", 1 in 2;
    Q4_0 = 2, "Q4_0", 32 in 18;
    Q4_1 = 3, "Q4_1", 32 in 20;
    Q5_0 = 6, "Q5_0", 32 in 22;
    Q5_1 = 7, "Q5_1", 32 in 24;
    Q8_0 = 8, "Q8_0", 32 in 34;
    Q8_1 = 9, "Q8_1", 32 in 36;
    Q2K = 10, "Q2_K", 256 in 84;
    Q3K = 11, "Q3_K", 256 in 110;
    Q4K = 12, "Q4_K", 256 in 144;
    Q5K = 13, "Q5_K", 256 in 176;
    Q6K = 14, "Q6_K", 256 in 210;
    Q8K = 15, "Q8_K", 256 in 292;
    Iq2Xxs = 16, "IQ2_XXS", 256 in 66;
    Iq2Xs = 17, "IQ2_XS", 256 in 74;
    Iq3Xxs = 18, "IQ3_XXS", 256 in 98;
    Iq1S = 19, "IQ1_S", 256 in 50;
    Iq4Nl = 20, "IQ4_NL", 32 in 18;
    Iq3S = 21, "IQ3_S", 256 in 110;
    Iq2S = 22, "IQ2_S", 256 in 82;
    Iq4Xs = 23, "IQ4_XS", 256 in 136;
    I8 = 24, "I8", 1 in 1;
    I16 = 25, "I16", 1 in 2;
    I32 = 26, "I32", 1 in 4;
    I64 = 27, "I64", 1 in 8;
    F64 = 28, "F64", 1 in 8;
    Iq1M = 29, "IQ1_M", 256 in 56;
    Bf16 = 30, "BF16", 1 in 2;
    Tq1_0 = 34, "TQ1_0", 256 in 54;
    Tq2_0 = 35, "TQ2_0", 256 in 66;
    Mxfp4 = 39, "MXFP4", 32 in 17;
    Nvfp4 = 40, "NVFP4", 64 in 36;
}

/// Types that ggml once had: old files may still name them.
const REMOVED: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

impl GgmlType {
    /// The types that there are kernels for, in the order of their bits.
    pub const SUPPORTED: [GgmlType; 6] = [
        GgmlType::F32,
        GgmlType::F16,
        GgmlType::Bf16,
        GgmlType::Q8_0,
        GgmlType::Q4_0,
        GgmlType::Q4_1,
    ];

    /// The type of a number in a file; `None` for numbers that ggml does not (or no longer) use.
    pub fn from_id(id: u32) -> Option<GgmlType> {
        GgmlType::ALL.iter().copied().find(|kind| kind.id() == id)
    }

    /// The name that a removed type had.
    pub fn removed(id: u32) -> Option<&'static str> {
        REMOVED.iter().find(|(old, _)| *old == id).map(|(_, name)| *name)
    }

    /// The highest number that is known.
    pub fn last_id() -> u32 {
        GgmlType::ALL.iter().map(|kind| kind.id()).max().unwrap_or(0)
    }

    /// Whether there are kernels for the type.
    pub fn is_supported(self) -> bool {
        GgmlType::SUPPORTED.contains(&self)
    }

    /// The supported types in words, for messages.
    pub(super) fn supported_list() -> String {
        GgmlType::SUPPORTED.map(GgmlType::name).join(", ")
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
