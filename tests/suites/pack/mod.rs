//! Packing: every weight is found where the layout says, nothing is between, nothing is lost.

mod panels;

use std::borrow::Cow;
use std::ops::ControlFlow;

use deepthin_compiler::fir::Role;
use deepthin_compiler::format::{Bits, Codes, Format, Group};
use deepthin_compiler::numerics::rope_angle;
use deepthin_compiler::pack::layout::{Layout, PANEL, TILE, panels};
use deepthin_compiler::pack::tables::{self, RopeTable};
use deepthin_compiler::pack::{Content, PackError, PackedTensor, Rows, pack, pack_watched};
use deepthin_compiler::weights::{TensorBytes, WeightSource};
use deepthin_tests::kernels::Choices;
use deepthin_tests::sources::Damaged;
use expect_test::expect;

/// Matrices of one shape and format, gains as wide. All bytes are random but for one bit of each
/// number, which keeps it finite.
#[derive(Clone, Copy)]
struct Matrices {
    format: Format,
    rows: u32,
    columns: u32,
}

impl WeightSource for Matrices {
    fn tensor(&self, block: Option<u32>, role: Role) -> Option<TensorBytes<'_>> {
        let Matrices { format, rows, columns } = *self;
        let (format, rows) = if role.is_gain() { (Format::F32, 1) } else { (format, rows) };
        let mut tensor = TensorBytes { format, rows, columns, bytes: Cow::default() };
        let mut choices = Choices::endless(vec![role as u32, block.unwrap_or(99)]);
        let count = tensor.expected_bytes()?;
        let mut bytes: Vec<u8> =
            (0..count).map(|_| u8::try_from(choices.below(256)).unwrap_or(0)).collect();
        for group in bytes.chunks_mut(format.group_bytes(columns as usize)) {
            // The last byte of an element, of a scale, of a minimum: without the highest bit of
            // the exponent.
            let last: &[usize] = match format {
                Format::F32 => &[3],
                Format::Codes(codes) if codes.minimum => &[1, 3],
                Format::F16 | Format::Bf16 | Format::Codes(_) => &[1],
            };
            last.iter().for_each(|byte| group[*byte] &= 0xbf);
        }
        tensor.bytes = bytes.into();
        Some(tensor)
    }
}

/// Formats with a number of columns each that fill whole steps: of codes one step or several.
fn formats() -> Vec<(Format, u32)> {
    let columns = |format: Format| match format.codes().map(|codes| codes.group) {
        None => [7, 1],
        Some(Group::Of32) => [32, 160],
        Some(Group::Of64) => [64, 192],
        Some(Group::Of96) => [96, 192],
        Some(Group::Of192) => [192, 384],
        Some(Group::Row) => [32, 160],
    };
    Format::ALL.into_iter().flat_map(|format| columns(format).map(|k| (format, k))).collect()
}

/// Kinds of rows with their sizes: whole and broken panels; halves of heads that fill no tile,
/// one, and more than one; pairs.
fn kinds() -> Vec<Rows> {
    let mut kinds = Vec::new();
    kinds.extend([1, 31, 32, 33, 64, 100].map(|rows| Rows::Plain { role: Role::Output, rows }));
    let heads = [(1, 2), (3, 6), (2, 24), (5, 32), (2, 48), (3, 64), (1, 66)];
    kinds.extend(heads.map(|(heads, head_dim)| Rows::Rope { role: Role::Query, heads, head_dim }));
    kinds.extend(heads.map(|(heads, head_dim)| Rows::Heads { role: Role::Value, heads, head_dim }));
    let (first, second) = (Role::FfnGate, Role::FfnUp);
    kinds.extend([1, 15, 16, 17, 50].map(|rows| Rows::Pair { first, second, rows }));
    kinds
}

/// Rows of each of the matrices.
fn matrix_rows(rows: Rows) -> u32 {
    match rows {
        Rows::Plain { rows, .. } | Rows::Pair { rows, .. } => rows,
        Rows::Rope { heads, head_dim, .. } | Rows::Heads { heads, head_dim, .. } => {
            heads * head_dim
        }
    }
}

/// Matrix and row of each lane, panel by panel, as the kinds of rows are described.
fn lanes(rows: Rows) -> Vec<Option<(Role, u32)>> {
    let tile = |role: Role, first: u32, end: u32| {
        (first..first + TILE).map(move |row| (row < end).then_some((role, row)))
    };
    match rows {
        Rows::Plain { role, rows } => {
            (0..panels(rows) * PANEL).map(|row| (row < rows).then_some((role, row))).collect()
        }
        Rows::Rope { role, heads, head_dim } => {
            let mut lanes = Vec::new();
            for head in 0..heads {
                let (start, half) = (head * head_dim, head_dim / 2);
                for first in (0..half).step_by(TILE as usize) {
                    lanes.extend(tile(role, start + first, start + half));
                    lanes.extend(tile(role, start + half + first, start + head_dim));
                }
            }
            lanes
        }
        Rows::Heads { role, heads, head_dim } => {
            let head = |head: u32| {
                let panels = panels(head_dim) * PANEL;
                (0..panels).map(move |i| (i < head_dim).then_some((role, head * head_dim + i)))
            };
            (0..heads).flat_map(head).collect()
        }
        Rows::Pair { first, second, rows } => {
            let starts = (0..rows).step_by(TILE as usize);
            starts.flat_map(|at| tile(first, at, rows).chain(tile(second, at, rows))).collect()
        }
    }
}

/// The bytes of a lane of a packed panel: for each step scale, minimum, codes, as they lie there.
fn lane_bytes(layout: Layout, panel: &[u8], lane: u32) -> Vec<Vec<u8>> {
    let steps = panel.chunks(layout.step_bytes() as usize);
    let of_step = |step: &[u8]| {
        let at = |offset: u32, bytes: usize| step[offset as usize..][..bytes].to_vec();
        let codes = match layout.format {
            Format::F32 => return at(lane * 4, 4),
            Format::F16 | Format::Bf16 => return at(lane * 2, 2),
            Format::Codes(codes) => codes,
        };
        let mut bytes = at(layout.scale(lane), 2);
        if codes.minimum {
            bytes.extend(at(layout.minimum(lane), 2));
        }
        for block in 0..layout.blocks() {
            let line = |line| at(block * layout.block_bytes() + layout.code(lane, line), 4);
            bytes.extend((0..layout.tile_lines()).flat_map(line));
        }
        bytes
    };
    steps.map(of_step).collect()
}

/// The bytes of a lane's step as a file has them.
fn as_in_a_file(format: Format, step: &[u8]) -> Vec<u8> {
    let Some(codes) = format.codes() else { return step.to_vec() };
    let (heads, blocks) = step.split_at(if codes.minimum { 4 } else { 2 });
    let mut bytes = heads.to_vec();
    for block in blocks.chunks(codes.bits.count() as usize * 4) {
        let columns = columns(codes.bits, block);
        if codes.bits == Bits::Eight {
            let sign = if codes.minimum { 0 } else { 0x80 };
            bytes.extend(columns.iter().map(|code| code ^ sign));
            continue;
        }
        bytes.extend((0..16).map(|j| columns[j] & 15 | columns[j + 16] << 4));
        if codes.bits == Bits::Six {
            let pairs = |j: usize| (0..4).map(move |f| (j + 8 * f, 2 * f));
            let byte = |j| pairs(j).fold(0, |byte, (k, at)| byte | columns[k] >> 4 << at);
            bytes.extend((0..8).map(byte));
        }
    }
    bytes
}

/// The 32 codes in a block of a packed lane, which is its dwords one behind the other.
fn columns(bits: Bits, block: &[u8]) -> Vec<u8> {
    let nibble = |k: usize| block[k / 8 * 4 + k % 4] >> (k % 8 / 4 * 4) & 15;
    let code = |k: usize| match bits {
        Bits::Eight => block[k],
        Bits::Four => nibble(k),
        Bits::Six => {
            let pairs = block[16 + k / 16 * 4 + k % 4];
            nibble(k) | (pairs >> (k % 16 / 4 * 2) & 3) << 4
        }
    };
    (0..32).map(code).collect()
}

/// An image of one matrix or pair.
fn packed_rows(
    source: &dyn WeightSource,
    layout: Layout,
    rows: Rows,
    threads: usize,
) -> Result<Vec<u8>, PackError> {
    let content = Content::Panels { layout, parts: vec![rows] };
    let mut image = vec![0; usize::try_from(content.bytes()).unwrap()];
    let tensor = PackedTensor { block: Some(3), content, offset: 0 };
    pack(&[tensor], source, &mut image, threads).map(|()| image)
}

#[test]
fn every_row_is_in_its_lane_and_padding_is_zero() {
    for (format, columns) in formats() {
        for rows in kinds() {
            let layout = Layout { format, columns };
            let source = Matrices { format, rows: matrix_rows(rows), columns };
            let image = packed_rows(&source, layout, rows, 1).unwrap();
            let (lanes, panel_bytes) = (lanes(rows), layout.panel_bytes());
            assert_eq!(lanes.len(), rows.panels() as usize * PANEL as usize);
            let panels = image.chunks(usize::try_from(panel_bytes).unwrap());
            for (panel, lanes) in panels.zip(lanes.chunks(PANEL as usize)) {
                let mut seen = 0;
                for (lane, held) in (0..).zip(lanes) {
                    let steps = lane_bytes(layout, panel, lane);
                    seen += steps.concat().len();
                    let place = || format!("{rows:?}, {format}, lane {lane}: {held:?}");
                    let Some((role, row)) = *held else {
                        assert!(steps.concat().iter().all(|byte| *byte == 0), "{}", place());
                        continue;
                    };
                    let tensor = source.tensor(Some(3), role).unwrap();
                    let row_bytes = format.row_bytes(columns as usize).unwrap();
                    let expected = &tensor.bytes[row as usize * row_bytes..][..row_bytes];
                    let found: Vec<u8> =
                        steps.iter().flat_map(|step| as_in_a_file(format, step)).collect();
                    assert_eq!(found, expected, "{}", place());
                }
                assert_eq!(seen, panel.len(), "lanes are all that a panel holds");
            }
        }
    }
}

#[test]
fn threads_do_not_matter() {
    for (format, columns) in formats() {
        for rows in kinds() {
            let layout = Layout { format, columns };
            let source = Matrices { format, rows: matrix_rows(rows), columns };
            let one = packed_rows(&source, layout, rows, 1).unwrap();
            for threads in [0, 2, 3, 100] {
                let many = packed_rows(&source, layout, rows, threads).unwrap();
                assert!(one == many, "{rows:?}, {format}, {threads} threads");
            }
        }
    }
}

/// A source of `rows` by 64 matrices of q4_0.
const PLAIN: Matrices = Matrices { format: Format::Q4_0, rows: 40, columns: 64 };

/// Parts of an image, one behind the other.
fn image_of(contents: &[(Option<u32>, Content)], source: &dyn WeightSource) -> Vec<u8> {
    let mut tensors = Vec::new();
    let mut end = 0;
    for (block, content) in contents {
        tensors.push(PackedTensor { block: *block, content: content.clone(), offset: end });
        end += content.bytes().next_multiple_of(64);
    }
    let mut image = vec![0; usize::try_from(end).unwrap()];
    pack(&tensors, source, &mut image, 2).unwrap();
    image
}

#[test]
fn parts_follow_one_another() {
    let layout = Layout { format: Format::Q4_0, columns: 64 };
    let parts = [Role::Query, Role::Key, Role::Value].map(|role| Rows::Plain { role, rows: 40 });
    let whole = Content::Panels { layout, parts: parts.to_vec() };
    let alone = parts.map(|part| (Some(1), Content::Panels { layout, parts: vec![part] }));
    assert_eq!(image_of(&[(Some(1), whole)], &PLAIN), image_of(&alone, &PLAIN));
}

/// Packing tells how far it is before each part, and stops where that is answered so.
#[test]
fn packing_is_watched_and_may_be_stopped() {
    let layout = Layout { format: Format::Q4_0, columns: 64 };
    let parts = [Role::Query, Role::Key].map(|role| Rows::Plain { role, rows: 40 });
    let panels = Content::Panels { layout, parts: parts.to_vec() };
    let contents = [panels, Content::Gain { role: Role::FfnNorm, width: 64 }];
    let mut tensors = Vec::new();
    let mut end = 0;
    for content in contents {
        tensors.push(PackedTensor { block: Some(0), content: content.clone(), offset: end });
        end += content.bytes().next_multiple_of(64);
    }
    let total: u64 = tensors.iter().map(|tensor| tensor.content.bytes()).sum();
    let pack_until = |limit: usize| {
        let mut image = vec![0; usize::try_from(end).unwrap()];
        let mut told = Vec::new();
        let packed = pack_watched(&tensors, &PLAIN, &mut image, 2, &mut |done, of| {
            assert_eq!(of, total);
            told.push(done);
            if told.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (packed, told, image)
    };
    let (packed, told, image) = pack_until(usize::MAX);
    assert_eq!(packed, Ok(()));
    // Two matrices and a gain.
    assert!(told.len() == 3 && told[0] == 0, "{told:?}");
    assert!(told.is_sorted_by(|a, b| a < b) && told.iter().all(|done| *done < total), "{told:?}");
    let mut alone = vec![0; image.len()];
    pack(&tensors, &PLAIN, &mut alone, 1).unwrap();
    assert!(image == alone);
    let (packed, told, image) = pack_until(3);
    assert_eq!((packed, told.len()), (Err(PackError::Stopped), 3));
    assert!(image[usize::try_from(tensors[1].offset).unwrap()..].iter().all(|byte| *byte == 0));
}

#[test]
fn blocks_keep_their_own_tensors() {
    let layout = Layout { format: Format::Q4_0, columns: 64 };
    let parts = vec![Rows::Plain { role: Role::FfnDown, rows: 40 }];
    let content = Content::Panels { layout, parts };
    let [one, two] = [1, 2].map(|block| image_of(&[(Some(block), content.clone())], &PLAIN));
    assert_ne!(one, two);
    let both = image_of(&[(Some(1), content.clone()), (Some(2), content)], &PLAIN);
    assert_eq!(both, [one, two].concat());
}

/// The f32 of an image.
fn floats(image: &[u8]) -> Vec<f32> {
    image.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn gains_lie_as_they_are() {
    let source = Matrices { columns: 37, ..PLAIN };
    let image = image_of(&[(Some(2), Content::Gain { role: Role::FfnNorm, width: 37 })], &source);
    let gain = source.tensor(Some(2), Role::FfnNorm).unwrap();
    assert_eq!(image.len(), 64 * 4, "whole groups of 32");
    assert_eq!(image[..37 * 4], *gain.bytes);
    assert!(image[37 * 4..].iter().all(|byte| *byte == 0));
}

#[test]
fn the_rotary_table_has_cosines_then_sines_of_each_position() {
    let (head_dim, theta, context) = (6, 10_000.0, 20);
    let table = RopeTable { head_dim, theta, context, offset: 64 };
    let mut region = vec![0xa5; 64 + usize::try_from(table.bytes()).unwrap()];
    let watch = &mut |_| ControlFlow::Continue(());
    assert!(tables::fill(&[table], &mut region, 2, watch).is_continue());
    assert!(region[..64].iter().all(|byte| *byte == 0xa5), "before its offset");
    let table = floats(&region[64..]);
    for position in 0..context {
        let row = &table[(position * head_dim) as usize..][..head_dim as usize];
        for pair in 0..head_dim / 2 {
            let (cosine, sine) = rope_angle(position, pair, head_dim, theta);
            assert_eq!((row[pair as usize], row[(pair + head_dim / 2) as usize]), (cosine, sine));
        }
    }
}

/// Long tables are filled in parts, which tell how far it is, and may be stopped between them.
#[test]
fn tables_are_watched_and_may_be_stopped() {
    let long = RopeTable { head_dim: 4, theta: 1e4, context: 40_000, offset: 0 };
    let short = RopeTable { context: 3, offset: long.bytes(), ..long };
    let total = long.bytes() + short.bytes();
    let fill_until = |limit: usize, threads| {
        let mut region = vec![0; usize::try_from(total).unwrap()];
        let mut told = Vec::new();
        let filled = tables::fill(&[long, short], &mut region, threads, &mut |done| {
            told.push(done);
            if told.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (filled.is_continue(), told, region)
    };
    let (whole, told, region) = fill_until(usize::MAX, 3);
    assert!(whole && told.len() > 3 && told[0] == 0, "{told:?}");
    assert!(told.is_sorted_by(|a, b| a < b) && told.iter().all(|done| *done < total), "{told:?}");
    assert!(region == fill_until(usize::MAX, 1).2, "threads make no difference");
    let (whole, told, region) = fill_until(2, 2);
    assert!(!whole && told.len() == 2);
    assert!(region[usize::try_from(told[1]).unwrap()..].iter().all(|byte| *byte == 0));
}

/// What packing a query of 40 rows says of a source.
fn said(source: &dyn WeightSource) -> String {
    let layout = Layout { format: Format::Q4_0, columns: 64 };
    let rows = Rows::Plain { role: Role::Query, rows: 40 };
    packed_rows(source, layout, rows, 2).unwrap_err().to_string()
}

/// A source whose tensors are changed.
fn damaged(damage: fn(&mut TensorBytes<'_>)) -> Damaged<Matrices, fn(&mut TensorBytes<'_>)> {
    Damaged { weights: PLAIN, damage }
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    struct Nothing;
    impl WeightSource for Nothing {
        fn tensor(&self, _: Option<u32>, _: Role) -> Option<TensorBytes<'_>> {
            None
        }
    }
    expect!["tensor `block 3 query` is missing"].assert_eq(&said(&Nothing));
    expect!["tensor `block 3 query`: expected q4_0 [40, 64], found q4_0 [39, 64] in 1404 bytes"]
        .assert_eq(&said(&Matrices { rows: 39, ..PLAIN }));
    expect!["tensor `block 3 query`: expected q4_0 [40, 64], found q4_0 [40, 96] in 2160 bytes"]
        .assert_eq(&said(&Matrices { columns: 96, ..PLAIN }));
    expect!["tensor `block 3 query`: expected q4_0 [40, 64], found q4_1 [40, 64] in 1600 bytes"]
        .assert_eq(&said(&Matrices { format: Format::Q4_1, ..PLAIN }));
    expect!["tensor `block 3 query`: expected q4_0 [40, 64], found q4_0 [40, 64] in 1439 bytes"]
        .assert_eq(&said(&damaged(|tensor| tensor.bytes.to_mut().truncate(1439))));
}

const fn own(bits: Bits, group: Group, minimum: bool) -> Format {
    Format::Codes(Codes::own(bits, group, minimum))
}

#[test]
fn numbers_that_are_not_finite_are_refused_with_their_place() {
    let infinite_scale = damaged(|tensor| {
        // Row 33, its second group.
        let at = (33 * 2 + 1) * 18;
        tensor.bytes.to_mut()[at..at + 2].copy_from_slice(&[0x00, 0x7c]);
    });
    expect!["tensor `block 3 query`, row 33, group 1: found a weight or scale that is not finite, expected finite ones"]
        .assert_eq(&said(&infinite_scale));

    /// Format, offset of a number in its group, bits that are no finite number.
    const BAD: [(Format, usize, &[u8]); 12] = [
        (Format::F32, 0, &[0, 0, 0xc0, 0x7f]),
        (Format::F16, 0, &[1, 0xfc]),
        (Format::Bf16, 0, &[0x80, 0xff]),
        (Format::Q8_0, 0, &[0, 0x7e]),
        (Format::Q4_0, 0, &[0, 0xfc]),
        (Format::Q4_1, 0, &[0, 0x7c]),
        (Format::Q4_1, 2, &[0, 0x7c]),
        (own(Bits::Four, Group::Of64, false), 0, &[0x80, 0x7f]),
        (own(Bits::Six, Group::Of32, false), 0, &[0xff, 0xff]),
        (own(Bits::Six, Group::Row, true), 0, &[0xc0, 0x7f]),
        (own(Bits::Six, Group::Row, true), 2, &[0x80, 0xff]),
        (own(Bits::Eight, Group::Of32, true), 2, &[0x81, 0x7f]),
    ];
    for (format, at, bits) in BAD {
        for row in [0, 31, 39] {
            let source = Damaged {
                weights: Matrices { format, ..PLAIN },
                damage: move |tensor: &mut TensorBytes<'_>| {
                    let row_bytes = format.row_bytes(64).unwrap();
                    let last = (row + 1) * row_bytes - format.group_bytes(64) + at;
                    tensor.bytes.to_mut()[last..last + bits.len()].copy_from_slice(bits);
                },
            };
            let layout = Layout { format, columns: 64 };
            let rows = Rows::Plain { role: Role::Query, rows: 40 };
            let group = u32::try_from(64 / format.group(64) - 1).unwrap();
            let row = u32::try_from(row).unwrap();
            let expected = PackError::NonFinite { block: Some(3), role: Role::Query, row, group };
            for threads in [1, 2, 5] {
                assert_eq!(packed_rows(&source, layout, rows, threads), Err(expected.clone()));
            }
        }
    }
}

#[test]
fn gains_that_are_not_finite_are_refused() {
    let source = damaged(|tensor| tensor.bytes.to_mut()[4..8].copy_from_slice(&[0, 0, 0x80, 0x7f]));
    let content = Content::Gain { role: Role::OutputNorm, width: 64 };
    let tensor = PackedTensor { block: None, content, offset: 0 };
    let error = pack(&[tensor], &source, &mut [0; 256], 1).unwrap_err();
    let expected = PackError::NonFinite { block: None, role: Role::OutputNorm, row: 0, group: 1 };
    assert_eq!(error, expected);
}

#[test]
fn an_image_without_room_is_refused() {
    let content = Content::Gain { role: Role::OutputNorm, width: 64 };
    for (offset, bytes) in [(0, 255), (64, 256), (u64::MAX, 256)] {
        let tensor = PackedTensor { block: None, content: content.clone(), offset };
        let error = pack(&[tensor], &PLAIN, &mut vec![0; bytes], 1).unwrap_err();
        let message = format!("the image has no room for tensor `output_norm` at byte {offset}");
        assert_eq!(error.to_string(), message);
    }
}
