//! Decisions from numbers: one list or one seed decides everything that is generated.

/// Decisions taken from a list; at its end all zeros, or a stream that the list seeds.
///
/// What grows from a list shrinks with it: zeros end what is being built.
#[derive(Debug, Clone)]
pub struct Choices {
    list: Vec<u32>,
    taken: usize,
    /// State of the stream after the list, where there is one.
    stream: Option<u64>,
}

impl Choices {
    /// Zeros after the list: what is built ends soon.
    pub fn new(list: Vec<u32>) -> Self {
        Choices { list, taken: 0, stream: None }
    }

    /// Pseudorandom numbers after the list.
    pub fn endless(list: Vec<u32>) -> Self {
        let seed = list.iter().fold(1, |seed, x| mix(seed, u64::from(*x)));
        Choices { list, taken: 0, stream: Some(seed) }
    }

    /// Pseudorandom numbers, the same for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Choices { list: Vec::new(), taken: 0, stream: Some(seed) }
    }

    /// Whether only zeros are left.
    pub fn is_empty(&self) -> bool {
        self.taken >= self.list.len() && self.stream.is_none()
    }

    /// Any 32 bits.
    pub fn bits(&mut self) -> u32 {
        if let Some(number) = self.list.get(self.taken) {
            self.taken += 1;
            return *number;
        }
        let Some(state) = &mut self.stream else { return 0 };
        *state = state.wrapping_add(GOLDEN);
        high_half(scrambled(*state))
    }

    /// A number below `count`; 0 where `count` is 0.
    pub fn below(&mut self, count: u32) -> u32 {
        self.bits().checked_rem(count).unwrap_or(0)
    }

    /// A number of `lo..=hi`, both within i32; `lo` where `hi` is less.
    pub fn within(&mut self, lo: i64, hi: i64) -> i64 {
        lo + i64::from(self.bits()) % (hi - lo + 1).max(1)
    }

    /// True once in `count` times.
    pub fn once_in(&mut self, count: u32) -> bool {
        self.below(count) == count - 1
    }

    /// One of `options`.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        let position = self.below(u32::try_from(options.len()).unwrap_or(u32::MAX));
        options[position as usize]
    }
}

/// The step of the counter of SplitMix64 (Steele, Lea and Flood, 2014): 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The mixing function of SplitMix64.
const fn scrambled(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A seed of its own for part `number` of what `seed` decides.
pub const fn mix(seed: u64, number: u64) -> u64 {
    scrambled(scrambled(seed.wrapping_add(GOLDEN)) ^ number.wrapping_mul(GOLDEN))
}

fn high_half(x: u64) -> u32 {
    let [.., a, b, c, d] = x.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
