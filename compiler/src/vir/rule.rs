//! The rules of well-formed VIR, and the errors that name them.

use std::fmt;

use thiserror::Error;

/// Declares the rules: variant, code and statement in one place.
macro_rules! rules {
    ($($variant:ident = $code:literal $statement:literal,)+) => {
        /// A rule of the verifier.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = concat!($code, ": ", $statement, ".")] $variant,)+
        }

        impl Rule {
            /// Every rule in order.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant),+];

            /// The rule's number in texts, such as `V-12`.
            pub const fn code(self) -> &'static str {
                match self { $(Rule::$variant => $code),+ }
            }

            /// What must hold.
            pub const fn statement(self) -> &'static str {
                match self { $(Rule::$variant => $statement),+ }
            }
        }
    };
}

rules! {
    Names = "V-01" "names are identifiers of at most 128 bytes, each parameter's its own",
    Lanes = "V-02" "a kernel has 4, 8 or 16 lanes",
    BufferSize = "V-03" "a buffer has 1 to 2147483647 bytes",
    ScalarBounds = "V-04" "a scalar's bounds are lo <= hi, both within i32",
    RangePair = "V-05" "a range is two neighboring indices of one count, at most 2147483647",
    LoopIndex = "V-06" "loop indices follow the parameters, and each is the variable of one loop",
    DefinedOnce = "V-07" "each value of the table is defined exactly once",
    DefinedBefore = "V-08" "a value is used after its definition, inside the loop that holds it",
    IndexVisible = "V-09" "an index is a parameter or the variable of a loop around the use",
    Types = "V-10" "operands and results have the types of the instruction",
    AffineForm = "V-11" "terms ascend by index, no factor is 0, magnitudes sum to at most 2^62",
    InBounds = "V-12" "an address lies in its buffer, first byte to last, for all index values",
    Aligned = "V-13" "the constant and every factor of an address are multiples of the element",
    Writable = "V-14" "a store goes to a buffer that may be written",
    LaneCount = "V-15" "a load or store moves 1 lane to all lanes",
    Stride = "V-16" "a stride is a multiple of the element, at least one element",
    ShiftAmount = "V-17" "a shift's amount is 0 to 31",
    LoopBound = "V-18" "a bound is a constant or parameter that is never negative, or a clamp of a parameter to lo <= hi, all within i32",
    CarriedTypes = "V-19" "the param, init, next and result of a carried value have one type",
    IndexFits = "V-20" "the value of an index instruction fits i32",
    Depth = "V-21" "loops nest at most 16 deep",
    MaskConst = "V-22" "a mask constant is 0 or 1",
    BufferDeclared = "V-23" "an address names a buffer of the kernel",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyError {
    /// The rule.
    pub rule: Rule,
    /// Position of the instruction in the kernel's body, then in the loop's body, and so on,
    /// from 0; empty for what is wrong with the kernel itself.
    pub path: Vec<usize>,
    /// The instruction as text; of a loop the first line. Empty where `path` is.
    pub line: String,
    /// What was found, in numbers.
    pub found: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        if !self.path.is_empty() {
            let path: Vec<String> = self.path.iter().map(usize::to_string).collect();
            write!(f, " at {} `{}`", path.join("."), self.line)?;
        }
        write!(f, ": {}", self.found)
    }
}

/// Everything that the verifier found wrong with one kernel; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct VerifyErrors {
    /// The kernel's name.
    pub kernel: String,
    /// The errors in the order of the text.
    pub errors: Vec<VerifyError>,
}

impl fmt::Display for VerifyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel `{}` breaks the rules of VIR", self.kernel)?;
        self.errors.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}
