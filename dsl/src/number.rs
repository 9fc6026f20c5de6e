//! Number literals: counts with `_` and K, M, G; reals with a fraction and an exponent.

/// Why a literal is no count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadCount {
    /// Not written as a count.
    Malformed,
    /// A count, but negative or above `u64`.
    OutOfRange,
}

/// The value of a count literal: digits, single `_` between digits, then K, M or G for a
/// thousand, a million or a billion.
pub(crate) fn count(literal: &str) -> Result<u64, BadCount> {
    let (negative, literal) = match literal.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, literal),
    };
    let (digits, scale) = match literal.char_indices().last() {
        Some((at, 'K')) => (&literal[..at], 1_000),
        Some((at, 'M')) => (&literal[..at], 1_000_000),
        Some((at, 'G')) => (&literal[..at], 1_000_000_000),
        _ => (literal, 1),
    };
    let digits = plain_digits(digits).ok_or(BadCount::Malformed)?;
    if negative {
        return Err(BadCount::OutOfRange);
    }
    // The digits are plain, so that parsing fails on overflow alone.
    let value = digits.parse::<u64>().ok().and_then(|value| value.checked_mul(scale));
    value.ok_or(BadCount::OutOfRange)
}

/// The text of a real literal without its `_`, which `str::parse` reads; `None` where it is not
/// written as a real: digits, an optional fraction, an optional exponent.
pub(crate) fn real(literal: &str) -> Option<String> {
    let (sign, rest) = match literal.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", literal),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (rest, None),
    };
    let mut text = sign.to_owned();
    match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            text += &plain_digits(whole)?;
            text.push('.');
            text += &plain_digits(fraction)?;
        }
        None => text += &plain_digits(mantissa)?,
    }
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        text.push('e');
        text += if exponent.starts_with('-') { "-" } else { "" };
        text += &plain_digits(digits)?;
    }
    Some(text)
}

/// A number with `_` between groups of three digits.
pub(crate) fn grouped(n: u64) -> String {
    group_digits(&n.to_string())
}

/// Digits with `_` between groups of three.
pub(crate) fn group_digits(digits: &str) -> String {
    let mut text = String::new();
    for (at, c) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('_');
        }
        text.push(c);
    }
    text
}

/// Digits without the single `_` between them.
fn plain_digits(text: &str) -> Option<String> {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split('_').all(is_part).then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count("32_000"), Ok(32_000));
        assert_eq!(count("32K"), Ok(32_000));
        assert_eq!(count("1_0M"), Ok(10_000_000));
        assert_eq!(count("18446744073709551615"), Ok(u64::MAX));
        for literal in ["-0", "-3", "18446744073709551616", "18446744073709552K"] {
            assert_eq!(count(literal), Err(BadCount::OutOfRange), "{literal}");
        }
        for literal in ["1_000_", "1__0", "_1", "0x", "0x10", "32k", "1.5K", "1e5", "K", "-", ""] {
            assert_eq!(count(literal), Err(BadCount::Malformed), "{literal}");
        }
    }

    #[test]
    fn reals() {
        for (literal, text) in
            [("10_000", "10000"), ("1e-5", "1e-5"), ("1.5E+3", "1.5e3"), ("-0.5", "-0.5")]
        {
            assert_eq!(real(literal).as_deref(), Some(text));
        }
        for literal in ["1.", "1e", "1e-", "1_.0", "10K", "1.2.3", "1e2e3", "0x1"] {
            assert_eq!(real(literal), None, "{literal}");
        }
    }

    #[test]
    fn groups_of_three_digits() {
        assert_eq!(
            [0, 999, 1_000, 32_000, 1_234_567].map(grouped),
            ["0", "999", "1_000", "32_000", "1_234_567"]
        );
    }
}
