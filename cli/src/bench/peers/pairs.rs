//! Which calls of a script answer a run's tests.

use crate::bench::test::Test;

/// The tests that one call of a script answers: a prompt and a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Tokens of the prompt, at least 1.
    pub prompt: u32,
    /// Tokens to generate, at least 1.
    pub generate: u32,
    /// Tokens in the KV cache before generation.
    pub depth: u32,
    /// Which of the tests the prompt's rate answers.
    pub prompt_test: Option<usize>,
    /// Which of the tests the generation's rate answers.
    pub generate_test: Option<usize>,
}

/// Cuts tests into calls of a script: prompts from an empty cache on, with generations behind any
/// depth. A prompt behind other tokens, and a prompt that is timed with a generation, no script
/// answers.
pub fn pairs(tests: &[Test]) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for (index, test) in tests.iter().enumerate() {
        let Test { prompt, generate, depth } = *test;
        if prompt > 0 && generate == 0 && depth == 0 {
            let (prompt_test, generate_test) = (Some(index), None);
            pairs.push(Pair { prompt, generate: 1, depth, prompt_test, generate_test });
        }
    }
    let prompts = pairs.len();
    let mut next = 0;
    for (index, test) in tests.iter().enumerate() {
        let Test { prompt, generate, depth } = *test;
        if prompt > 0 || generate == 0 {
            continue;
        }
        match pairs.get_mut(next).filter(|_| next < prompts) {
            Some(pair) => {
                *pair = Pair { generate, depth, generate_test: Some(index), ..*pair };
                next += 1;
            }
            None => pairs.push(Pair {
                // Where an engine generates behind its prompt alone, that is as long as the depth.
                prompt: depth.max(1),
                generate,
                depth,
                prompt_test: None,
                generate_test: Some(index),
            }),
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_cut_into_calls() {
        let test = |prompt, generate, depth| Test { prompt, generate, depth };
        let found = |tests: &[Test]| -> Vec<_> {
            let pairs = pairs(tests).into_iter();
            pairs.map(|p| (p.prompt, p.generate, p.depth, p.prompt_test, p.generate_test)).collect()
        };
        assert_eq!(found(&[test(512, 0, 0), test(0, 128, 0)]), [(512, 128, 0, Some(0), Some(1))]);
        assert_eq!(found(&[test(8, 0, 0)]), [(8, 1, 0, Some(0), None)]);
        assert_eq!(found(&[test(0, 4, 0)]), [(1, 4, 0, None, Some(0))]);
        assert_eq!(found(&[test(0, 4, 64)]), [(64, 4, 64, None, Some(0))]);
        // Nobody answers a prompt behind other tokens, or one that is timed with a generation.
        assert_eq!(found(&[test(8, 0, 5), test(8, 4, 0)]), []);
        let tests = [test(8, 0, 0), test(16, 0, 0), test(0, 2, 0), test(8, 0, 9), test(0, 2, 9)];
        assert_eq!(found(&tests), [(8, 2, 0, Some(0), Some(2)), (16, 2, 9, Some(1), Some(4))]);
    }
}
