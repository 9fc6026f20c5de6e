//! Formats of codes: names, sizes, where each code lies in a row's bytes, and the way back.

use deepthin::verify::choices::Choices;
use deepthin::verify::values::Class;
use deepthin_compiler::codes::{Block, pack, unpack};
use deepthin_compiler::dequant::{dequantize_row, quantize_row, stored_groups};
use deepthin_compiler::format::{Bits, Codes, Format, Group, Scale};
use expect_test::expect;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The formats of codes.
fn coded() -> impl Iterator<Item = (Format, Codes)> {
    Format::ALL.into_iter().filter_map(|format| Some((format, format.codes()?)))
}

#[test]
fn names_are_distinct_and_parse_back() {
    let names: BTreeSet<String> = Format::ALL.iter().map(Format::to_string).collect();
    assert_eq!(names.len(), 36);
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let named = |name: &str| name.parse::<Format>().unwrap().codes().unwrap();
    assert_eq!(named("q4g64"), Codes::own(Bits::Four, Group::Of64, false));
    assert_eq!(named("q6g192m"), Codes::own(Bits::Six, Group::Of192, true));
    assert_eq!(named("q8row"), Codes::own(Bits::Eight, Group::Row, false));
    assert_eq!(named("q4rowm"), Codes::own(Bits::Four, Group::Row, true));
    assert_eq!(Format::Codes(named("q4_1")), Format::Q4_1);
    assert_eq!(named("q8_0").scale, Scale::F16);
    for wrong in ["", "q4", "q8_1", "q6_0", "q4g48", "q4g32 ", "Q4_0", "q4mg32", "q2g32", "q4_0m"] {
        let expected = format!("unknown format `{wrong}`");
        assert_eq!(wrong.parse::<Format>(), Err(expected));
    }
}

/// Bytes of a row by the tables of specs/numerics.md.
fn row_bytes(format: Format, columns: usize) -> Option<usize> {
    let codes = match format {
        Format::F32 => return Some(4 * columns),
        Format::F16 | Format::Bf16 => return Some(2 * columns),
        Format::Codes(codes) => codes,
    };
    let group = match codes.group {
        Group::Of32 => 32,
        Group::Of64 => 64,
        Group::Of96 => 96,
        Group::Of192 => 192,
        Group::Row => columns,
    };
    let is_whole = group > 0 && columns.is_multiple_of(group) && group.is_multiple_of(32);
    let heads = if codes.minimum { 4 } else { 2 };
    let bits = codes.bits.count() as usize;
    is_whole.then(|| columns / group * (heads + group * bits / 8))
}

#[test]
fn rows_have_the_bytes_of_their_groups_and_no_others() {
    for format in Format::ALL {
        let mut lengths = BTreeSet::new();
        for columns in 0..=400 {
            let bytes = row_bytes(format, columns);
            assert_eq!(format.row_bytes(columns), bytes, "{format}, {columns} columns");
            assert_eq!(format.divides(columns), bytes.is_some(), "{format}, {columns} columns");
            if let Some(bytes) = bytes {
                assert_eq!(format.columns(bytes), Some(columns), "{format}, {bytes} bytes");
                lengths.insert(bytes);
            }
        }
        let most = lengths.last().copied().unwrap();
        for bytes in (0..most).filter(|bytes| !lengths.contains(bytes)) {
            assert_eq!(format.columns(bytes), None, "{format}, {bytes} bytes");
            assert!(dequantize_row(format, &vec![0; bytes]).is_err());
        }
        // What no memory holds is no number of bytes.
        let huge = usize::MAX / 192 * 192;
        assert!(format.row_bytes(huge).is_none_or(|bytes| bytes < usize::MAX), "{format}");
    }
    assert_eq!(Format::F32.row_bytes(usize::MAX), None);
}

/// Code j of a block, by the table of `compiler/src/codes.rs`.
fn code(codes: Codes, bytes: &[u8], j: usize) -> u8 {
    let low = |byte: u8| if j < 16 { byte & 0x0f } else { byte >> 4 };
    match (codes.bits, codes.minimum) {
        (Bits::Eight, true) => bytes[j],
        (Bits::Eight, false) => bytes[j].wrapping_add(128),
        (Bits::Four, _) => low(bytes[j % 16]),
        (Bits::Six, _) => {
            let pair = match j / 8 {
                0 => bytes[16 + j] & 3,
                1 => bytes[16 + j - 8] >> 2 & 3,
                2 => bytes[16 + j - 16] >> 4 & 3,
                _ => bytes[16 + j - 24] >> 6,
            };
            low(bytes[j % 16]) + 16 * pair
        }
    }
}

#[test]
fn every_code_of_every_place_is_packed_where_the_table_says() {
    for (format, codes) in coded() {
        for other in [0, codes.bits.most()] {
            for (place, code_there) in
                (0..32).flat_map(|j| (0..=codes.bits.most()).map(move |q| (j, q)))
            {
                let mut block: Block = [other; 32];
                block[place] = code_there;
                let mut bytes = vec![0xa5];
                pack(codes, &block, &mut bytes);
                let bytes = bytes.split_off(1);
                assert_eq!(bytes.len(), codes.bits.block_bytes(), "{format}");
                assert_eq!(unpack(codes, &bytes), block, "{format}");
                for (j, q) in block.iter().enumerate() {
                    assert_eq!(code(codes, &bytes, j), *q, "{format}, code {j}");
                }
            }
        }
    }
}

proptest! {
    /// Any bytes are a block of codes, and no two are the same one.
    #[test]
    fn any_bytes_are_the_codes_that_pack_to_them(bytes in prop::collection::vec(any::<u8>(), 32)) {
        for (format, codes) in coded() {
            let bytes = &bytes[..codes.bits.block_bytes()];
            let block = unpack(codes, bytes);
            for (j, q) in block.iter().enumerate() {
                prop_assert_eq!(code(codes, bytes, j), *q, "{}, code {}", format, j);
            }
            let mut back = Vec::new();
            pack(codes, &block, &mut back);
            prop_assert_eq!(&back, bytes, "{}", format);
        }
    }

    /// A group that reaches the ends of its codes is found again from its weights: the scale, the
    /// minimum, every code.
    #[test]
    fn what_is_dequantized_quantizes_back(
        bytes in prop::collection::vec(any::<u8>(), 192 * 5),
        ends in prop::collection::vec((0..32_usize, 1..32_usize), 6),
        scale in (1.0_f32..2.0, -10..8_i32).prop_map(|(m, e)| m * 2_f32.powi(e)),
        offset in -20.0_f32..4.0,
    ) {
        for (format, codes) in coded() {
            let mut row = bytes[..format.row_bytes(192).unwrap()].to_vec();
            let group = codes.group.elements(192);
            for (group, end) in row.chunks_mut(format.group_bytes(192)).zip(&ends) {
                prepare(codes, group, *end, scale, offset);
            }
            let weights = dequantize_row(format, &row).unwrap();
            let again = quantize_row(format, &weights).unwrap();
            prop_assert_eq!(stored_groups(codes, &again), stored_groups(codes, &row), "{} in groups of {}", format, group);
            prop_assert_eq!(again, row);
        }
    }

    /// What has been quantized once is not changed by doing it again. A minimum beside codes of 8
    /// bits is too coarse in bf16 for that: the codes of the ends may move by one.
    #[test]
    fn quantizing_twice_is_quantizing_once(seed in any::<u64>()) {
        let row = Class::Normal.floats(192, &mut Choices::seeded(seed));
        for (format, codes) in coded() {
            if codes.minimum && codes.bits == Bits::Eight {
                continue;
            }
            let once = quantize_row(format, &row).unwrap();
            let twice = quantize_row(format, &dequantize_row(format, &once).unwrap()).unwrap();
            prop_assert_eq!(once, twice, "{}", format);
        }
    }

    /// Whatever is finite has codes, and weights that are numbers.
    #[test]
    fn finite_weights_are_never_made_no_numbers(
        class in prop::sample::select(Class::FINITE.to_vec()),
        seed in any::<u64>(),
    ) {
        let row = class.floats(192, &mut Choices::seeded(seed));
        for format in Format::ALL {
            let bytes = quantize_row(format, &row).unwrap();
            prop_assert_eq!(Some(bytes.len()), format.row_bytes(192));
            let back = dequantize_row(format, &bytes).unwrap();
            prop_assert_eq!(back.len(), 192);
            prop_assert!(back.iter().all(|w| !w.is_nan()), "{} of {}", format, class.name());
        }
    }
}

/// Gives a stored group a scale and a minimum, and codes that reach both ends: the lowest at one
/// place of its first block, the highest at another. -128 is no code that a quantizer gives.
fn prepare(codes: Codes, group: &mut [u8], (low, apart): (usize, usize), scale: f32, offset: f32) {
    // The weight of greatest magnitude of 4 and 6 bits is that of the lowest code, of any sign.
    let scale =
        if !codes.minimum && codes.bits != Bits::Eight && apart % 2 == 1 { -scale } else { scale };
    group[..2].copy_from_slice(&codes.scale.write(scale));
    if codes.minimum {
        let minimum = codes.scale.write(offset * scale);
        group[2..4].copy_from_slice(&minimum);
    }
    let (heads, bytes) = (codes.head_bytes(), codes.bits.block_bytes());
    let is_signed = codes.bits == Bits::Eight && !codes.minimum;
    for (number, block) in group[heads..].chunks_mut(bytes).enumerate() {
        let mut unpacked = unpack(codes, block);
        if is_signed {
            unpacked.iter_mut().for_each(|q| *q = (*q).max(1));
        }
        if number == 0 {
            unpacked[low] = u8::from(is_signed);
            unpacked[(low + apart) % 32] = codes.bits.most();
        }
        let mut packed = Vec::new();
        pack(codes, &unpacked, &mut packed);
        block.copy_from_slice(&packed);
    }
}

#[test]
fn rows_of_our_own_that_cut_a_group_are_refused() {
    let said = |format: &str, bytes| {
        let error = dequantize_row(format.parse().unwrap(), &vec![0; bytes]).unwrap_err();
        error.to_string()
    };
    expect!["a row of 51 bytes does not divide into q6g64m groups of 52"]
        .assert_eq(&said("q6g64m", 51));
    expect!["a row of 17 bytes does not divide into q4row groups of 18"]
        .assert_eq(&said("q4row", 17));
    let error = quantize_row("q8row".parse().unwrap(), &[0.0; 33]).unwrap_err();
    expect!["a row of 33 elements does not divide into q8row groups of 32"]
        .assert_eq(&error.to_string());
    let error = quantize_row("q4g96".parse().unwrap(), &[0.0; 64]).unwrap_err();
    expect!["a row of 64 elements does not divide into q4g96 groups of 96"]
        .assert_eq(&error.to_string());
    assert!(quantize_row("q8row".parse().unwrap(), &[]).is_err(), "a row has a scale");
    assert!(stored_groups(Codes::own(Bits::Four, Group::Row, true), &[0; 2]).is_err());
}
