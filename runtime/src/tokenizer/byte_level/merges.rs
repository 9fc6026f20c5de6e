//! The table of merges of a vocabulary: which pairs of tokens join, in which order.

use super::alphabet;
use crate::gguf::Strings;
use crate::tokenizer::error::TokenizerError;
use crate::tokenizer::merger::Join;
use crate::tokenizer::vocabulary::{TokenIndex, TokenType};

/// One entry of the table: the pair `left`, `right` becomes `result`.
#[derive(Debug, Clone, Copy)]
struct Merge {
    right: u32,
    /// The entry's place in the file's list: the lower, the earlier it is applied.
    rank: u32,
    result: u32,
}

/// Which pairs of tokens join, in which order, to which token.
#[derive(Debug)]
pub(super) struct Merges {
    /// The merges of the tokens on the left, ascending, each by its token on the right.
    merges: Vec<Merge>,
    /// Where the merges of a token on the left begin; one more at the end.
    starts: Vec<u32>,
}

impl Merges {
    /// Reads the lines `left right`, most urgent first.
    pub(super) fn new(lines: &Strings, tokens: &TokenIndex<'_>) -> Result<Self, TokenizerError> {
        let mut rows = Vec::with_capacity(lines.len());
        let mut joined = String::new();
        for (index, line) in lines.iter().enumerate() {
            let form = || TokenizerError::MergeForm { index, line: line.to_owned() };
            let (left, right) = line.split_once(' ').ok_or_else(form)?;
            if left.is_empty() || right.is_empty() || right.contains(' ') {
                return Err(form());
            }
            joined.clear();
            joined.extend([left, right]);
            let id = |text: &str| {
                tokens
                    .id(text)
                    .ok_or_else(|| TokenizerError::MergeToken { index, token: text.to_owned() })
            };
            let (left, right, result) = (id(left)?, id(right)?, id(&joined)?);
            match tokens.kind(result) {
                Some(TokenType::Control) => {
                    return Err(TokenizerError::MergeControl { index, token: joined });
                }
                // Its bytes are its text, while what is joined are the bytes that the text is
                // written for: where these differ, one token would stand for two texts.
                Some(TokenType::UserDefined) if !alphabet::is_itself(&joined) => {
                    return Err(TokenizerError::MergeUserDefined { index, token: joined });
                }
                _ => {}
            }
            let rank = u32::try_from(index).map_err(|_| form())?;
            rows.push((left, Merge { right, rank, result }));
        }
        rows.sort_unstable_by_key(|(left, merge)| (*left, merge.right, merge.rank));
        check_unique(&rows, lines)?;

        let mut starts = vec![0; tokens.len() + 1];
        let mut position = 0;
        let mut rest = rows.iter().peekable();
        for (left, start) in starts.iter_mut().enumerate() {
            while rest.next_if(|(id, _)| (*id as usize) < left).is_some() {
                position += 1;
            }
            *start = position;
        }
        Ok(Merges { merges: rows.into_iter().map(|(_, merge)| merge).collect(), starts })
    }

    /// What two adjacent tokens become, if there is a merge for them.
    pub(super) fn find(&self, left: u32, right: u32) -> Option<Join> {
        let left = left as usize;
        let (start, end) = (*self.starts.get(left)?, *self.starts.get(left + 1)?);
        let row = self.merges.get(start as usize..end as usize)?;
        let at = row.binary_search_by_key(&right, |merge| merge.right).ok()?;
        row.get(at).map(|merge| Join { rank: merge.rank, id: merge.result })
    }
}

/// Refuses the same pair twice, in rows sorted by pair and rank.
fn check_unique(rows: &[(u32, Merge)], lines: &Strings) -> Result<(), TokenizerError> {
    for pair in rows.windows(2) {
        if let [(left, merge), (next_left, next)] = pair
            && (left, merge.right) == (next_left, next.right)
        {
            let (first, second) = (merge.rank as usize, next.rank as usize);
            let line = lines.get(second).unwrap_or_default().to_owned();
            return Err(TokenizerError::DuplicateMerge { line, first, second });
        }
    }
    Ok(())
}
