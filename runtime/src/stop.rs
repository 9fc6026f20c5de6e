//! Ends a stream of text before the first of some strings.
//!
//! Text comes in pieces of any length, and a stop string may begin in one and end in another. So
//! what could be the beginning of one is held back until it is decided, and no more than that.

/// Why stop strings cannot be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// A string that every text contains.
    #[error("stop string {0} is empty, expected at least one character")]
    Empty(usize),
}

/// Looks for stop strings. The one that is complete first ends the text, the longest where several
/// are at once: the text before it is the same in whatever pieces it comes.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    patterns: Vec<Pattern>,
    /// The end of the text so far that begins a stop string.
    held: String,
    met: Option<usize>,
}

/// A string, and how much of it the text so far ends with (Knuth, Morris and Pratt, 1977).
#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    /// For each number of matched bytes, how many still match where the next one does not.
    fallback: Vec<usize>,
    matched: usize,
}

impl Pattern {
    fn new(text: String) -> Pattern {
        let bytes = text.as_bytes();
        let mut fallback = vec![0];
        let mut matched = 0;
        for byte in bytes.iter().skip(1) {
            while matched > 0 && bytes.get(matched) != Some(byte) {
                matched = fallback.get(matched - 1).copied().unwrap_or(0);
            }
            matched += usize::from(bytes.get(matched) == Some(byte));
            fallback.push(matched);
        }
        Pattern { text, fallback, matched: 0 }
    }

    /// Takes the next byte of the text; whether it completes the string.
    fn advance(&mut self, byte: u8) -> bool {
        let bytes = self.text.as_bytes();
        while self.matched > 0 && bytes.get(self.matched) != Some(&byte) {
            self.matched = self.fallback.get(self.matched - 1).copied().unwrap_or(0);
        }
        self.matched += usize::from(bytes.get(self.matched) == Some(&byte));
        self.matched == bytes.len()
    }
}

impl StopStrings {
    /// Looks for these strings; for none of them the text passes as it is.
    ///
    /// # Errors
    /// An empty string.
    pub fn new(strings: &[String]) -> Result<StopStrings, StopError> {
        if let Some(empty) = strings.iter().position(String::is_empty) {
            return Err(StopError::Empty(empty + 1));
        }
        let patterns = strings.iter().cloned().map(Pattern::new).collect();
        Ok(StopStrings { patterns, ..StopStrings::default() })
    }

    /// Takes text, and returns what lies before every stop string for certain. After one was met
    /// there is no more.
    pub fn push(&mut self, text: &str) -> String {
        if self.met.is_some() {
            return String::new();
        }
        for (index, byte) in text.bytes().enumerate() {
            let mut complete = None;
            for (number, pattern) in self.patterns.iter_mut().enumerate() {
                if pattern.advance(byte) {
                    complete = complete.max(Some((pattern.text.len(), number)));
                }
            }
            if let Some((len, number)) = complete {
                self.met = Some(number);
                self.held.push_str(text.get(..=index).unwrap_or_default());
                self.held.truncate(self.held.len().saturating_sub(len));
                return std::mem::take(&mut self.held);
            }
        }
        self.held.push_str(text);
        let undecided = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len().saturating_sub(undecided));
        std::mem::replace(&mut self.held, rest)
    }

    /// Ends the stream: what was held back, for no stop string came of it.
    pub fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The stop string that ended the text.
    pub fn met(&self) -> Option<&str> {
        self.met.and_then(|number| self.patterns.get(number)).map(|pattern| pattern.text.as_str())
    }
}
