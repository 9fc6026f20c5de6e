//! The choice of tokens from logits, and the text that they stream as.

use deepthin_runtime::sampler::{Sampler, SamplerSettings};
use deepthin_runtime::text::Utf8Stream;
use expect_test::expect;
use proptest::prelude::*;

const GREEDY: SamplerSettings = SamplerSettings::GREEDY;

/// Plain sampling: temperature 1, everything kept.
const PLAIN: SamplerSettings = SamplerSettings { temperature: 1.0, seed: 1, ..GREEDY };

/// `count` choices from the same logits.
fn choices(settings: SamplerSettings, logits: &[f32], count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(settings).unwrap();
    (0..count).map(|_| sampler.sample(logits).unwrap()).collect()
}

/// How often each of four tokens is chosen in 10,000 draws, in percent.
fn percentages(settings: SamplerSettings, logits: &[f32; 4]) -> [f64; 4] {
    let mut counts = [0.0; 4];
    for id in choices(settings, logits, 10_000) {
        counts[id as usize] += 0.01;
    }
    counts
}

#[track_caller]
fn assert_close(found: [f64; 4], expected: [f64; 4]) {
    // Four standard deviations of a count of 10,000 draws are below 2 %.
    let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 2.0);
    assert!(close, "found {found:?}, expected {expected:?}");
}

/// Logits of the probabilities 10, 20, 30 and 40 %.
fn tenths() -> [f32; 4] {
    [1.0_f32, 2.0, 3.0, 4.0].map(f32::ln)
}

#[test]
fn temperature_0_takes_the_highest_logit_and_of_equals_the_lowest_id() {
    assert_eq!(choices(GREEDY, &[1.0, 3.0, 2.0, 3.0], 3), [1, 1, 1]);
    assert_eq!(choices(GREEDY, &[-0.0, 0.0, -1.0], 1), [0]);
    assert_eq!(choices(GREEDY, &[f32::MIN, f32::MAX], 1), [1]);
}

#[test]
fn logits_that_are_no_numbers_are_refused() {
    let mut sampler = Sampler::new(GREEDY).unwrap();
    let mut message = |logits: &[f32]| sampler.sample(logits).unwrap_err().to_string();
    let messages = [
        message(&[]),
        message(&[0.0, f32::NAN, f32::INFINITY]),
        message(&[0.0, 1.0, f32::NEG_INFINITY]),
    ];
    expect![[r#"
        no logits, expected one for each token of the vocabulary
        the logit of token 1 is NaN, expected finite logits
        the logit of token 2 is -inf, expected finite logits"#]]
    .assert_eq(&messages.join("\n"));
}

#[test]
fn settings_out_of_range_are_refused_by_the_name_of_their_flag() {
    let bad = [
        SamplerSettings { temperature: -1.0, ..PLAIN },
        SamplerSettings { temperature: f32::NAN, ..PLAIN },
        SamplerSettings { temperature: f32::INFINITY, ..PLAIN },
        SamplerSettings { top_p: 0.0, ..PLAIN },
        SamplerSettings { top_p: 2.0, ..PLAIN },
        SamplerSettings { min_p: -0.5, ..PLAIN },
        SamplerSettings { repeat_penalty: 0.0, ..PLAIN },
        SamplerSettings { repeat_penalty: f32::NAN, ..PLAIN },
    ];
    let messages = bad.map(|settings| Sampler::new(settings).unwrap_err().to_string());
    expect![[r#"
        `--temp` is -1, expected 0 to 100
        `--temp` is NaN, expected 0 to 100
        `--temp` is inf, expected 0 to 100
        `--top-p` is 0, expected above 0, at most 1
        `--top-p` is 2, expected above 0, at most 1
        `--min-p` is -0.5, expected 0 to 1
        `--repeat-penalty` is 0, expected 0.01 to 100
        `--repeat-penalty` is NaN, expected 0.01 to 100"#]]
    .assert_eq(&messages.join("\n"));
}

#[test]
fn tokens_are_drawn_by_their_probabilities() {
    assert_close(percentages(PLAIN, &tenths()), [10.0, 20.0, 30.0, 40.0]);
    // Half the temperature squares the probabilities: 1, 4, 9 and 16 of 30.
    let cold = SamplerSettings { temperature: 0.5, ..PLAIN };
    assert_close(percentages(cold, &tenths()), [3.3, 13.3, 30.0, 53.3]);
}

#[test]
fn each_filter_keeps_what_it_says() {
    let top_k = SamplerSettings { top_k: 2, ..PLAIN };
    assert_close(percentages(top_k, &tenths()), [0.0, 0.0, 42.9, 57.1]);
    // 40 % are not yet 60 %, 70 % are.
    let top_p = SamplerSettings { top_p: 0.6, ..PLAIN };
    assert_close(percentages(top_p, &tenths()), [0.0, 0.0, 42.9, 57.1]);
    // A half of 40 % and more is 20 % and more; the part is just missed, not met by rounding.
    let min_p = SamplerSettings { min_p: 0.49, ..PLAIN };
    assert_close(percentages(min_p, &tenths()), [0.0, 22.2, 33.3, 44.4]);
    for settings in [
        SamplerSettings { top_k: 1, ..PLAIN },
        SamplerSettings { top_p: 0.01, ..PLAIN },
        SamplerSettings { min_p: 1.0, ..PLAIN },
    ] {
        assert_eq!(choices(settings, &tenths(), 50), [3; 50]);
    }
}

#[test]
fn min_p_keeps_what_is_exactly_at_its_bound() {
    let equals = SamplerSettings { min_p: 1.0, ..PLAIN };
    assert_close(percentages(equals, &[2.0, 2.0, 1.0, 2.0]), [33.3, 33.3, 0.0, 33.3]);
}

#[test]
fn every_bit_of_a_seed_counts() {
    let chosen = |seed| choices(SamplerSettings { seed, ..PLAIN }, &[0.0; 64], 16);
    let first = chosen(0);
    for bit in 0..64 {
        assert_ne!(chosen(1 << bit), first, "bit {bit} of the seed changes nothing");
    }
}

#[test]
fn top_p_counts_what_temperature_and_top_k_leave() {
    // Without top-k, 40 % would not reach 50 %; of the two that are left, the first has 57 %.
    let both = SamplerSettings { top_k: 2, top_p: 0.5, ..PLAIN };
    assert_eq!(choices(both, &tenths(), 50), [3; 50]);
    // At half the temperature the highest alone has 53 %.
    let cold = SamplerSettings { temperature: 0.5, top_p: 0.5, ..PLAIN };
    assert_eq!(choices(cold, &tenths(), 50), [3; 50]);
}

#[test]
fn the_repeat_penalty_lowers_what_was_there_once() {
    let settings = SamplerSettings { repeat_penalty: 2.0, ..GREEDY };
    assert_eq!(choices(settings, &[1.0, 3.0, 2.9], 4), [1, 2, 1, 1]);
    // Negative logits are multiplied, and the prompt counts; twice is not twice as bad.
    let mut sampler = Sampler::new(settings).unwrap();
    sampler.observe(&[1, 1, 1]);
    assert_eq!(sampler.sample(&[-2.5, -1.0]).unwrap(), 1);
    // What is further back than the window is forgotten.
    sampler.observe(&[0; SamplerSettings::REPEAT_WINDOW]);
    assert_eq!(sampler.sample(&[-0.9, -1.0]).unwrap(), 1);
}

/// These ids are a promise: the same seed chooses the same tokens on every machine.
#[test]
fn a_seed_always_chooses_the_same_tokens() {
    let logits: Vec<f32> = (0..1000_u16).map(|id| f32::from(id % 37) / 8.0).collect();
    let settings = SamplerSettings { temperature: 0.8, top_k: 40, top_p: 0.95, seed: 42, ..PLAIN };
    expect!["[998, 221, 406, 480, 73, 220, 295, 109, 480, 850, 295, 665, 702, 702, 924, 295]"]
        .assert_eq(&format!("{:?}", choices(settings, &logits, 16)));
    assert_eq!(choices(settings, &logits, 100), choices(settings, &logits, 100));
    let other = SamplerSettings { seed: 43, ..settings };
    assert_ne!(choices(settings, &logits, 100), choices(other, &logits, 100));
}

#[test]
fn text_waits_for_whole_characters() {
    let mut stream = Utf8Stream::new();
    let mut texts: Vec<String> =
        "aü🙂".as_bytes().chunks(2).map(|part| stream.push(part)).collect();
    assert_eq!(texts, ["a", "ü", "", "🙂"]);
    texts = [b"\xf0\x9f".as_slice(), b"b", b"\xff\xc3"].map(|part| stream.push(part)).to_vec();
    assert_eq!(texts, ["", "\u{fffd}b", "\u{fffd}"]);
    assert_eq!([stream.flush(), stream.flush()], ["\u{fffd}", ""]);
}

/// What is chosen at a temperature above 0, written out; `state` is the random generator's.
fn defined(settings: &SamplerSettings, logits: &[f32], state: &mut u64) -> usize {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    if settings.top_k > 0 {
        order.truncate(settings.top_k as usize);
    }
    let highest = f64::from(logits[order[0]]);
    let weight =
        |at: &usize| ((f64::from(logits[*at]) - highest) / f64::from(settings.temperature)).exp();
    let enough = f64::from(settings.top_p) * order.iter().map(weight).sum::<f64>();
    let mut kept = 0;
    let mut sum = 0.0;
    for at in &order {
        let is_enough = settings.top_p < 1.0 && sum >= enough;
        if is_enough || weight(at) < f64::from(settings.min_p) {
            break;
        }
        kept += 1;
        sum += weight(at);
    }
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let unit = ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
    let mut left = unit * sum;
    for at in &order[..kept] {
        if left < weight(at) {
            return *at;
        }
        left -= weight(at);
    }
    order[kept - 1]
}

proptest! {
    /// However many logits there are, a choice depends on the highest alone; equal ones are taken by
    /// their ids.
    #[test]
    fn choices_of_a_large_vocabulary_are_those_of_its_highest(
        levels in prop::collection::vec(-300..300_i16, 1..3000),
        top_k in 1..60_u32,
        seed in any::<u64>(),
    ) {
        let logits: Vec<f32> = levels.iter().map(|level| f32::from(*level) / 100.0).collect();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        prop_assert_eq!(choices(SamplerSettings::GREEDY, &logits, 1), [u32::try_from(order[0]).unwrap()]);
        order.truncate(top_k as usize);
        order.sort_unstable();
        let alone: Vec<f32> = order.iter().map(|at| logits[*at]).collect();
        let settings = SamplerSettings { temperature: 1.0, top_k, seed, ..SamplerSettings::GREEDY };
        let of_all = choices(settings, &logits, 100);
        let of_highest = choices(settings, &alone, 100);
        let named: Vec<usize> = of_highest.iter().map(|choice| order[*choice as usize]).collect();
        prop_assert!(of_all.iter().map(|id| *id as usize).eq(named));
    }

    /// A draw is that of its definition: all candidates in one sorted list, and one random number.
    #[test]
    fn choices_are_those_of_the_definition(
        levels in prop::collection::vec(-300..300_i16, 1..3000),
        top_k in prop_oneof![Just(0_u32), 1..3000_u32],
        top_p in prop_oneof![Just(1.0_f32), 0.01_f32..1.0],
        min_p in prop_oneof![Just(0.0_f32), 0.0001_f32..1.0],
        temperature in 0.1_f32..10.0,
        seed in any::<u64>(),
    ) {
        let logits: Vec<f32> = levels.iter().map(|level| f32::from(*level) / 100.0).collect();
        let settings = SamplerSettings { temperature, top_k, top_p, min_p, seed, ..PLAIN };
        let mut state = seed;
        for found in choices(settings, &logits, 20) {
            prop_assert_eq!(found as usize, defined(&settings, &logits, &mut state));
        }
    }

    /// What min-p drops changes nothing, however much it is.
    #[test]
    fn choices_are_those_among_what_min_p_keeps(
        levels in prop::collection::vec(-300..300_i16, 1..3000),
        temperature in prop_oneof![Just(1e-6_f32), 0.1_f32..100.0],
        min_p in prop_oneof![Just(1.0_f32), Just(f32::MIN_POSITIVE), 0.0001_f32..1.0],
        seed in any::<u64>(),
    ) {
        let logits: Vec<f32> = levels.iter().map(|level| f32::from(*level) / 100.0).collect();
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        let weight = |logit: f32| {
            ((f64::from(logit) - f64::from(highest)) / f64::from(temperature)).exp()
        };
        let is_kept = |at: &usize| weight(logits[*at]) >= f64::from(min_p);
        let kept: Vec<usize> = (0..logits.len()).filter(is_kept).collect();
        let alone: Vec<f32> = kept.iter().map(|at| logits[*at]).collect();
        let settings = SamplerSettings { temperature, seed, ..PLAIN };
        let of_kept = choices(settings, &alone, 50);
        let of_all = choices(SamplerSettings { min_p, ..settings }, &logits, 50);
        let named: Vec<usize> = of_kept.iter().map(|choice| kept[*choice as usize]).collect();
        prop_assert!(of_all.iter().map(|id| *id as usize).eq(named));
    }

    #[test]
    fn choices_are_among_the_top_k(
        logits in prop::collection::vec(-20.0_f32..20.0, 1..200),
        top_k in 1_u32..20,
        top_p in 0.01_f32..=1.0,
        temperature in 0.01_f32..5.0,
        seed: u64,
    ) {
        let settings = SamplerSettings { temperature, top_k, top_p, seed, ..PLAIN };
        for id in choices(settings, &logits, 5) {
            let logit = logits[id as usize];
            let higher = logits.iter().filter(|other| **other > logit).count();
            prop_assert!(higher < top_k as usize);
        }
    }

    /// However bytes are cut, they stream as the text that they are as a whole.
    #[test]
    fn a_stream_is_the_text_of_the_whole(
        parts in prop::collection::vec(prop_oneof![
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..4),
        ], 0..20),
        step in 1_usize..5,
    ) {
        let bytes = parts.concat();
        let mut stream = Utf8Stream::new();
        let mut text: String = bytes.chunks(step).map(|part| stream.push(part)).collect();
        text.push_str(&stream.flush());
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }
}
