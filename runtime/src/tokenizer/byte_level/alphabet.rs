//! The alphabet of byte-level vocabularies: one printable character for each byte.
//!
//! Vocabularies of the GPT-2 family are lists of text, but their tokens are strings of bytes. So
//! each byte is written as one character: the bytes that are printable in Latin-1 as themselves,
//! the others, in ascending order, as the characters from U+0100 on. A space is `Ġ`.

/// Whether a byte is written as the Latin-1 character of its own number.
const fn is_own_character(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The bytes that are not written as themselves, in ascending order.
const SHIFTED: [u8; 68] = {
    let mut shifted = [0; 68];
    let mut count = 0;
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends at 255")]
        let value = byte as u8;
        if !is_own_character(value) {
            shifted[count] = value;
            count += 1;
        }
        byte += 1;
    }
    shifted
};

/// The byte that a character of a token stands for.
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match u8::try_from(code) {
        Ok(byte) => is_own_character(byte).then_some(byte),
        Err(_) => SHIFTED.get(usize::try_from(code - 256).ok()?).copied(),
    }
}

/// The bytes of a token's text.
///
/// A text with a character outside of the alphabet stands for its own UTF-8: some vocabularies
/// hold tokens, added later, that were never written in the alphabet.
pub(super) fn decode(text: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(start);
                bytes.extend_from_slice(text.as_bytes());
                return;
            }
        }
    }
}

/// Whether a token's text, read in the alphabet, stands for itself.
pub(super) fn is_itself(text: &str) -> bool {
    let mut bytes = Vec::with_capacity(text.len());
    decode(text, &mut bytes);
    bytes == text.as_bytes()
}

/// The byte that a token's text stands for, where it is a single character of the alphabet.
pub(super) fn single_byte(text: &str) -> Option<u8> {
    let mut characters = text.chars();
    let first = characters.next()?;
    characters.next().is_none().then(|| byte_of(first)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        let mut seen = [0; 256];
        for code in 0..0x400 {
            if let Some(byte) = char::from_u32(code).and_then(byte_of) {
                seen[usize::from(byte)] += 1;
            }
        }
        assert_eq!(seen, [1; 256]);
        assert_eq!(
            [byte_of('Ġ'), byte_of('Ċ'), byte_of('a')],
            [Some(b' '), Some(b'\n'), Some(b'a')]
        );
    }

    #[test]
    fn text_outside_of_the_alphabet_stands_for_itself() {
        let mut bytes = Vec::new();
        decode("Ġa", &mut bytes);
        decode("Ġ a", &mut bytes);
        assert_eq!(bytes, [b" a", "Ġ a".as_bytes()].concat());
    }
}
