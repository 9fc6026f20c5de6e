//! A list of numbers as the source of every decision.

/// Decisions taken from a list; at its end all zeros, or a stream that the list seeds.
#[derive(Debug)]
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
        let seed = list.iter().fold(1, |seed: u64, &x| seed.wrapping_mul(31) ^ u64::from(x));
        Choices { list, taken: 0, stream: Some(seed) }
    }

    /// Whether only zeros are left.
    pub fn is_empty(&self) -> bool {
        self.taken >= self.list.len() && self.stream.is_none()
    }

    /// Any 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.taken += 1;
        match (self.list.get(self.taken - 1), &mut self.stream) {
            (Some(number), _) => *number,
            (None, None) => 0,
            (None, Some(state)) => {
                // A multiplicative generator; the high half of its state is well mixed.
                *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                u32::try_from(*state >> 32).unwrap_or(0)
            }
        }
    }

    /// A number below `count`; 0 where `count` is 0.
    pub fn below(&mut self, count: u32) -> u32 {
        self.bits().checked_rem(count).unwrap_or(0)
    }

    /// A number of `lo..=hi`.
    pub fn within(&mut self, lo: i64, hi: i64) -> i64 {
        lo + i64::from(self.bits()) % (hi - lo + 1)
    }

    /// True once in `count` times.
    pub fn once_in(&mut self, count: u32) -> bool {
        self.below(count) == count - 1
    }

    /// One of `options`, which are not empty.
    pub fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        let position = self.below(u32::try_from(options.len()).unwrap_or(u32::MAX));
        options[position as usize]
    }
}
