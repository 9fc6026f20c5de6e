//! What a header's comments tell: the layouts of weights and caches, what each kernel computes.

use deepthin_compiler::fir::Formats;
use deepthin_compiler::format::{Format, Group, Scale};
use deepthin_compiler::pipeline::Lowered;
use deepthin_dsl::Model;
use deepthin_dsl::model::Block;
use expect_test::expect;

use super::{described, excerpt, header, lower, models, thin};

/// A model whose rows every group divides: blocks in one format, table and head in another.
fn whole(blocks: Format, rest: Format) -> (Model, Lowered) {
    let small = described("examples/smollm2-135m.thin");
    let block = Block { heads: 4, kv_heads: 2, head_dim: 48, ffn_hidden: 384, ..small.block };
    let model = Model { vocab: 90, width: 192, depth: 1, block, ..small };
    let lowered = lower(&model, &Formats::uniform(1, blocks, rest));
    (model, lowered)
}

/// Every format of codes is told by its sizes, its lines and its weight.
#[test]
fn the_opening_tells_every_format() {
    for format in Format::ALL {
        let Some(codes) = format.codes() else { continue };
        let (model, lowered) = whole(format, format);
        let text = comment(&header(&model, &lowered), "packed matrix:", "\n *     Panel p");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let bits = codes.bits.count();
        assert!(text.contains(&format!(" {format} ")), "{text}");
        // 32 rows of 32 codes.
        let block = 128 * bits;
        let columns = match codes.group {
            Group::Row => format!("all columns K: K/32 blocks of {block} bytes"),
            Group::Of32 => format!("32 columns: a block of {block} bytes"),
            Group::Of64 => format!("64 columns: 2 blocks of {block} bytes"),
            Group::Of96 => format!("96 columns: 3 blocks of {block} bytes"),
            Group::Of192 => format!("192 columns: 6 blocks of {block} bytes"),
        };
        let scale = if codes.scale == Scale::F16 { "f16" } else { "bf16" };
        let minima = if codes.minimum { format!(", 32 {scale} minima m") } else { String::new() };
        let weight = match (codes.minimum, bits) {
            (true, _) => "fma(c, d, m)",
            (false, 4) => "d * (c - 8)",
            (false, 6) => "d * (c - 32)",
            (false, _) => "d * (c - 128)",
        };
        for part in [
            format!("{columns}, 32 {scale} scales d{minima}."),
            format!(": {bits} lines of 64 bytes of tile A, as many of tile B."),
            format!("The weight is {weight}."),
        ] {
            assert!(text.contains(&part), "{format}: no `{part}` in {text}");
        }
    }
    let (model, lowered) = whole("q6g96m".parse().unwrap(), "q6row".parse().unwrap());
    expect![[r#"
        packed matrix: panels of 32 rows, one behind the other; rows past the last are zeros. A panel is
            two tiles, A and B, of 16 rows each, and is stored in steps along the columns:

              q6g96m  96 columns: 3 blocks of 768 bytes, 32 bf16 scales d, 32 bf16 minima m. A block has
                      32 columns: 6 lines of 64 bytes of tile A, as many of tile B. Line j of a tile has
                      a dword for each of its rows: for j < 4 the low four bits of the codes c of
                      columns 8j .. 8j+3 in the low halves of its bytes, 8j+4 .. 8j+7 in the high
                      halves; in lines 4 and 5 the high two bits, those of columns 16(j-4) + 4f ..
                      16(j-4) + 4f+3 at bits 2f of its bytes. The weight is fma(c, d, m).
              q6row   all columns K: K/32 blocks of 768 bytes, 32 bf16 scales d. A block has 32 columns:
                      6 lines of 64 bytes of tile A, as many of tile B. Line j of a tile has a dword for
                      each of its rows: for j < 4 the low four bits of the codes c of columns 8j .. 8j+3
                      in the low halves of its bytes, 8j+4 .. 8j+7 in the high halves; in lines 4 and 5
                      the high two bits, those of columns 16(j-4) + 4f .. 16(j-4) + 4f+3 at bits 2f of
                      its bytes. The weight is d * (c - 32).

    "#]].assert_eq(&comment(
        &header(&model, &lowered),
        "packed matrix:",
        "\n *     Panel p",
    ));
}

/// Where codes are multiplied with codes, the order of sums is another, and is told.
#[test]
fn a_comment_tells_how_codes_are_multiplied() {
    let (model, lowered) = whole("q6g96m".parse().unwrap(), "q4row".parse().unwrap());
    let header = header(&model, &lowered);
    let name = format!("deepthin_{}_norm_linear_glu_q6g96m_by_q8_768x192_t1", model.name);
    expect![[r#"
        deepthin_smollm2_135m_norm_linear_glu_q6g96m_by_q8_768x192_t1

            n = x / sqrt(mean of x[i]^2 + 1e-5) * gain
            out = silu(GATE n) * (UP n)
            silu(a) = a / (1 + exp(-a))

        For one token. GATE and UP have 384 rows and 192 columns, in 24 panels of 32 rows. n is taken as
        codes C in groups of 64 columns: D is the greatest magnitude of a group by 127, C is n * (127 /
        that magnitude) rounded to an integer, ties to even (0 where the magnitude is below 2^-100;
        where one is not finite, D is a NaN and C are 0). From acc = +0, for each 32 columns in
        ascending order: acc = fma(sum of c * C, d * D, acc), then acc = fma(m, D * sum of C, acc).


    "#]].assert_eq(&comment(&header, &name, "buffer  "));
    // Segments of one kernel in formats of their own.
    let mut formats = Formats::uniform(1, "q8g64".parse().unwrap(), Format::F16);
    formats.set(Some(0), deepthin_compiler::fir::Role::Value, Format::F16).unwrap();
    let header = self::header(&model, &lower(&model, &formats));
    let name = format!("deepthin_{}_norm_linear_rope_append_kv16_q8g64_by_q8_f16_", model.name);
    expect![[r#"
        deepthin_smollm2_135m_norm_linear_rope_append_kv16_q8g64_by_q8_f16_512x192_t4

            n = x / sqrt(mean of x[i]^2 + 1e-5) * gain
            q, k, v = Q n, K n, V n
            out = q, each head rotated by its token's position; k, rotated too, and v go to the caches

        For 4 tokens of consecutive positions. Q has 192 rows, K and V have 96, and 192 columns, in 16
        panels of 32 rows. Of q8g64: n is taken as codes C in groups of 64 columns: D is the greatest
        magnitude of a group by 127, C is n * (127 / that magnitude) rounded to an integer, ties to even
        (0 where the magnitude is below 2^-100; where one is not finite, D is a NaN and C are 0). From
        acc = +0, for each 64 columns in ascending order: acc = fma(sum of (c - 128) * C, d * D, acc).
        Of f16: Sums run over ascending columns from +0, a fused multiply-add for each.


    "#]].assert_eq(&comment(&header, &name, "buffer  "));
}

/// A comment's text, of which `from` and `to` are lines.
fn comment(header: &str, from: &str, to: &str) -> String {
    let lines = excerpt(header, &format!("\n * {from}"), to).lines().skip(1);
    lines.map(|line| line.trim_start_matches(" *").replacen(' ', "", 1) + "\n").collect()
}

#[test]
fn a_comment_tells_what_a_kernel_computes_and_takes() {
    let (model, lowered) = thin();
    let header = header(&model, &lowered);
    let name = "deepthin_thin_norm_linear_rope_append_kv16_f32_160x48_t1";
    expect![[r#"
        deepthin_thin_norm_linear_rope_append_kv16_f32_160x48_t1

            n = x / sqrt(mean of x[i]^2 + 1e-5) * gain
            q, k, v = Q n, K n, V n
            out = q, each head rotated by its token's position; k, rotated too, and v go to the caches

        For one token. Q has 48 rows, K and V have 16, and 48 columns, in 5 panels of 32 rows. Sums run
        over ascending columns from +0, a fused multiply-add for each.

        buffer                 bytes  use      contents
             0  x                256  in       vector of 48
             1  w0             30720  in       packed matrix, f32, 48 columns: 5 panels of 6144 bytes,
                                               q in panels 0 to 2, k in panel 3, v in panel 4
             2  gain             256  in       gain: vector of 48
             3  normed           256  scratch  working memory
             4  scales           256  scratch  working memory
             5  out              256  out      rotated q: vector of 48
             6  products         640  scratch  working memory
             7  rope              64  in       1 rotary row from the first token's position on
             8  keys            2048  out      key cache of the layer
             9  values          2048  out      value cache of the layer

        scalar              values  meaning
             0  begin       0 to 5  first of the share of panels
             1  end         0 to 5  one past the last of the share of panels
             2  chunk0      0 to 0  position / 64
             3  place0     0 to 63  position % 64
    "#]].assert_eq(&comment(&header, name, " */"));
    expect![[r#"
        deepthin_thin_attention_kv16_3q1kv_16

            weight[j] = softmax over positions j = 0 .. position of q . key[j] / sqrt(16)
            out = sum over j of weight[j] * value[j]

        For one token and each key and value head of a share, with the query heads that read it:
        3 query heads of 16 elements in all; query head h reads key and value head h / 3.

        buffer                bytes  use      contents
             0  q               256  in       rotated q: vector of 48
             1  keys           2048  in       key cache of the layer
             2  values         2048  in       value cache of the layer
             3  out             256  out      heads side by side: vector of 48
             4  sums            384  scratch  working memory
             5  state            24  scratch  working memory
             6  factors          24  scratch  working memory
             7  weights         768  scratch  working memory
             8  staged         4096  scratch  working memory

        scalar                values  meaning
             0  begin         0 to 1  first of the share of kv_heads
             1  end           0 to 1  one past the last of the share of kv_heads
             2  position     0 to 63  position
             3  chunks        1 to 1  position / 64 + 1
    "#]]
    .assert_eq(&comment(&header, "deepthin_thin_attention_kv16_3q1kv_16", " */"));
}

#[test]
fn caches_are_told_as_they_are_kept() {
    let (model, lowered) = models().swap_remove(2);
    let halves = header(&model, &lowered);
    expect![[r#"
        key cache of a layer: f16 [CHUNKS][KV_HEADS][HEAD_DIM][CHUNK]; element d of a head's key at
            a position lies in chunk position / CHUNK, in row d, at place position % CHUNK.

        value cache of a layer: f16 [CHUNKS][KV_HEADS][CHUNK][HEAD_DIM]; a head's value at a
            position lies in chunk position / CHUNK, in row position % CHUNK.

        what is known of each chunk: a record for each, one behind the other, of f32: of each query
            head its max, then of each its total, in rows with room up to a multiple of 16, then of each
            a vector of HEAD_DIM, its sum.

    "#]]
    .assert_eq(&comment(&halves, "key cache of a layer", " * ORDER"));
    let (model, lowered) = models().swap_remove(3);
    let codes = header(&model, &lowered);
    expect![[r#"
        key cache of a layer: signed bytes [CHUNKS][KV_HEADS][HEAD_DIM][CHUNK]; element d of a
            head's key at a position lies in chunk position / CHUNK, in row d, at place position %
            CHUNK.

        value cache of a layer: signed bytes [CHUNKS][KV_HEADS][CHUNK][HEAD_DIM]; a head's value at
            a position lies in chunk position / CHUNK, in row position % CHUNK.

        what is known of each chunk: a record for each, one behind the other, of f32: of each query
            head its max, then of each its total, in rows with room up to a multiple of 16, then of each
            a vector of HEAD_DIM, its sum.

        scales of a layer's key cache: bf16 [CHUNKS][KV_HEADS][KEY_GROUPS][CHUNK], one for each group of a head
            and position. The elements i and i + HEAD_DIM/2 of a head are in group i / 16. With the greatest
            magnitude m of a group, s is the bf16 nearest to m / 127; where m is at least 2^-100, x has the
            code x * (1 / s), rounded to the nearest, the even of two, else 0. A group with an infinity or a
            NaN has the scale NaN and codes 0. An element is its code times s.

        scales of a layer's value cache: bf16 [CHUNKS][KV_HEADS][VALUE_GROUPS][CHUNK], likewise; element i of a
            head is in group i / 32.

    "#]].assert_eq(&comment(&codes, "key cache of a layer", " * ORDER"));
    let constants = excerpt(&codes, "#define DEEPTHIN_SMOLLM2_135M_KEY_CACHE_BYTES", "\n\n");
    expect![[r#"
        #define DEEPTHIN_SMOLLM2_135M_KEY_CACHE_BYTES   1572864  /* of one layer */
        #define DEEPTHIN_SMOLLM2_135M_VALUE_CACHE_BYTES 1572864  /* of one layer */
        #define DEEPTHIN_SMOLLM2_135M_ROPE_ROW_BYTES    256      /* rotary row of one position */
        #define DEEPTHIN_SMOLLM2_135M_KEY_GROUPS        2        /* groups of a key head, with a scale each */
        #define DEEPTHIN_SMOLLM2_135M_KEY_SCALE_BYTES   98304    /* of one layer */
        #define DEEPTHIN_SMOLLM2_135M_VALUE_GROUPS      2        /* groups of a value head, with a scale each */
        #define DEEPTHIN_SMOLLM2_135M_VALUE_SCALE_BYTES 98304    /* of one layer */"#]].assert_eq(constants);
}

#[test]
fn attention_to_codes_takes_their_scales() {
    let (model, lowered) = models().swap_remove(3);
    let codes = header(&model, &lowered);
    let name = "deepthin_smollm2_135m_attention_kv8_9q3kv_64";
    expect![[r#"
        deepthin_smollm2_135m_attention_kv8_9q3kv_64

            weight[j] = softmax over positions j = 0 .. position of q . key[j] / sqrt(64)
            out = sum over j of weight[j] * value[j]

        For one token and each key and value head of a share, with the query heads that read it:
        9 query heads of 64 elements in all; query head h reads key and value head h / 3.

        buffer                       bytes  use      contents
             0  q                     2304  in       rotated q: vector of 576
             1  keys               1572864  in       key cache of the layer
             2  values             1572864  in       value cache of the layer
             3  key_scales           98304  in       scales of the layer's key cache
             4  value_scales         98304  in       scales of the layer's value cache
             5  out                   2304  out      heads side by side: vector of 576
             6  sums                   768  scratch  working memory
             7  state                   24  scratch  working memory
             8  factors                 24  scratch  working memory
             9  weights                768  scratch  working memory
            10  scaled_weights         512  scratch  working memory
            11  staged               16384  scratch  working memory

        scalar                values  meaning
             0  begin         0 to 3  first of the share of kv_heads
             1  end           0 to 3  one past the last of the share of kv_heads
             2  position   0 to 8191  position
             3  chunks      1 to 128  position / 64 + 1
    "#]]
    .assert_eq(&comment(&codes, name, " */"));
}

#[test]
fn constants_name_what_a_kernel_takes() {
    let (model, lowered) = thin();
    let header = header(&model, &lowered);
    let name = " * deepthin_thin_linear_residual_f32_64x80_t1\n";
    let entry = excerpt(&header, name, "/*\n * deepthin_thin_norm_linear_logits_f32_128x48_t4");
    expect![[r#"
        enum {
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFERS         = 5,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFER_X        = 0,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFER_W0       = 1,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFER_SCALES   = 2,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFER_OUT      = 3,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BUFFER_PRODUCTS = 4,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BYTES_X         = 384,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BYTES_W0        = 20480,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BYTES_SCALES    = 256,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BYTES_OUT       = 256,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_BYTES_PRODUCTS  = 256,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_SCALARS         = 2,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_SCALAR_BEGIN    = 0,
            DEEPTHIN_THIN_LINEAR_RESIDUAL_F32_64X80_T1_SCALAR_END      = 1
        };

        void deepthin_thin_linear_residual_f32_64x80_t1(
            uint8_t *const *buffers, const int64_t *scalars);

    "#]]
    .assert_eq(&entry[entry.find("enum {").unwrap()..]);
}

#[test]
fn the_opening_tells_the_layouts_that_occur() {
    let (model, lowered) = models().swap_remove(1);
    let header = header(&model, &lowered);
    expect![[r#"
        packed matrix: panels of 32 rows, one behind the other; rows past the last are zeros. A panel is
            two tiles, A and B, of 16 rows each, and is stored in steps along the columns:

              q4_1    32 columns: a block of 512 bytes, 32 f16 scales d, 32 f16 minima m. A block has 32
                      columns: 4 lines of 64 bytes of tile A, as many of tile B. Line j of a tile has a
                      dword for each of its rows: the codes c of columns 8j .. 8j+3 in the low halves of
                      its bytes, 8j+4 .. 8j+7 in the high halves. The weight is fma(c, d, m).
              q8_0    32 columns: a block of 1024 bytes, 32 f16 scales d. A block has 32 columns: 8
                      lines of 64 bytes of tile A, as many of tile B. Line j of a tile has a dword for
                      each of its rows: the codes c of columns 4j .. 4j+3, a byte each. The weight is d
                      * (c - 128).

            Panel p of a matrix holds its rows 32p .. 32p+15 in tile A, 32p+16 .. 32p+31 in tile B, but

              of q and k: a head begins a new panel; tile A holds its elements i .. i+15, tile B its
              elements i + HEAD_DIM/2 .. i+15 + HEAD_DIM/2, for i = 0, 16, .. below HEAD_DIM/2; where
              HEAD_DIM/2 ends inside a tile, the rows past it are zeros;
              of v: rows in order, but a head begins a new panel; where HEAD_DIM ends inside a panel,
              the rows past it are zeros (where q, k and v are of one format, they are one matrix: the
              panels of q, of k, of v);
              of gate and up: rows 16p .. 16p+15 of gate in tile A, of up in tile B.

        rotary row of a position: HEAD_DIM/2 cosines, then HEAD_DIM/2 sines, f32, of the angles
            position * ROPE_THETA^(-2i / HEAD_DIM) for i = 0, 1, .. HEAD_DIM/2 - 1. A head h is rotated in
            pairs a = h[i], b = h[i + HEAD_DIM/2]: with the cosine c and the sine s of i they become
            a * c - b * s and b * c + a * s.

        key cache of a layer: f32 [CHUNKS][KV_HEADS][HEAD_DIM][CHUNK]; element d of a head's key at
            a position lies in chunk position / CHUNK, in row d, at place position % CHUNK.

        value cache of a layer: f32 [CHUNKS][KV_HEADS][CHUNK][HEAD_DIM]; a head's value at a
            position lies in chunk position / CHUNK, in row position % CHUNK.

        what is known of each chunk: a record for each, one behind the other, of f32: of each query
            head its max, then of each its total, in rows with room up to a multiple of 16, then of each
            a vector of HEAD_DIM, its sum.

        ORDER

        A token goes through these kernels, from its id to its logits:

            embed_q8_0_90x576
            layer 0:
                norm_linear_rope_append_q4_1_by_q8_q8_0_by_q8_960x576_t1
                attention_chunks_9q3kv_64
                merge_linear_residual_q4_1_by_q8_576x576_t1
                norm_linear_glu_q4_1_by_q8_3072x576_t1
                linear_residual_q4_1_by_q8_576x1536_t1
            each of the layers 1 to 29:
                norm_linear_rope_append_q4_1_by_q8_960x576_t1
                attention_chunks_9q3kv_64
                merge_linear_residual_q4_1_by_q8_576x576_t1
                norm_linear_glu_q4_1_by_q8_3072x576_t1
                linear_residual_q4_1_by_q8_576x1536_t1
            norm_linear_logits_q8_0_by_q8_96x576_t1

    "#]].assert_eq(&comment(&header, "packed matrix:", "\n * The number behind"));
    for line in header.lines().filter(|line| line.starts_with(" *")) {
        assert!(line.len() <= 110, "{line}");
    }
}
