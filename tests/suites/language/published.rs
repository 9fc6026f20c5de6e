//! The files of `examples/` against the published sizes of the models that they transcribe.

use deepthin_dsl::model::Sharing;
use deepthin_dsl::{Model, parse, print};
use deepthin_tests::project::sources;

/// File, size as published, and all scalars that the file of weights holds.
///
/// The publications count matrices: the gains of the norms, under a tenth of a percent, are left
/// out of the printed size and are in the last column.
const PUBLISHED: [(&str, &str, u64); 9] = [
    ("mobilellm-125m", "124.6M", 124_635_456),
    ("mobilellm-350m", "345.3M", 345_355_200),
    ("mobilellm-600m", "603.1M", 603_188_352),
    ("mobilellm-1b", "1.01B", 1_005_461_760),
    ("mobilellm-1.5b", "1.51B", 1_511_188_800),
    ("mobilellm-ls-125m", "124.6M", 124_635_456),
    ("mobilellm-ls-350m", "345.3M", 345_355_200),
    ("smollm2-135m", "134.5M", 134_515_008),
    ("smollm2-360m", "361.8M", 361_821_120),
];

fn example(name: &str) -> Model {
    let path = format!("examples/{name}.thin");
    let file = sources("thin").into_iter().find(|file| file.path == path).unwrap();
    let models = parse(&file.text, &path).unwrap();
    assert_eq!(models.len(), 1, "{path}");
    models.into_iter().next().unwrap()
}

/// Scalars of the matrices, in the unit and to the precision of a published size.
fn size(model: &Model, like: &str) -> String {
    let gains = u64::from(model.width) * (2 * u64::from(model.depth) + 1);
    let matrices = (model.parameters().stored - gains) as f64;
    let digits = like.split_once('.').map_or(0, |(_, fraction)| fraction.len() - 1);
    match like.ends_with('B') {
        true => format!("{:.digits$}B", matrices / 1e9),
        false => format!("{:.digits$}M", matrices / 1e6),
    }
}

#[test]
fn parameters_are_those_published() {
    for (name, published, stored) in PUBLISHED {
        let model = example(name);
        assert_eq!(size(&model, published), published, "{name}");
        assert_eq!(model.parameters().stored, stored, "{name}");
    }
}

#[test]
fn every_example_is_in_the_table_and_named_after_its_file() {
    for file in sources("thin") {
        let name = file.path.strip_prefix("examples/").and_then(|name| name.strip_suffix(".thin"));
        // Folders hold models of examples of other things.
        let Some(name) = name.filter(|name| !name.contains('/')) else { continue };
        assert!(PUBLISHED.iter().any(|row| row.0 == name), "{name} is not in the table");
        assert_eq!(example(name).name, name.replace(['-', '.'], "_"));
    }
}

/// What the parameter count does not show.
#[test]
fn examples_have_the_published_heads_and_positions() {
    for (name, ..) in PUBLISHED {
        let model = example(name);
        let block = &model.block;
        let (theta, context) =
            if name.starts_with("smollm2") { (100_000.0, 8_192) } else { (10_000.0, 2_048) };
        assert_eq!((block.rope_theta, model.context), (theta, context), "{name}");
        assert_eq!((block.head_dim, block.norm_eps, model.tied), (64, 1e-5, true), "{name}");
        let kv_heads = match name {
            "mobilellm-600m" => 6,
            "mobilellm-350m" | "mobilellm-ls-350m" | "smollm2-360m" => 5,
            "mobilellm-1b" | "mobilellm-1.5b" => 5,
            _ => 3,
        };
        assert_eq!(block.kv_heads, kv_heads, "{name}");
    }
}

/// A layer-sharing variant is its base with every block applied twice in a row.
#[test]
fn layer_sharing_keeps_the_stored_blocks() {
    for base in ["mobilellm-125m", "mobilellm-350m"] {
        let plain = example(base);
        let shared = example(&base.replace("mobilellm", "mobilellm-ls"));
        let expected =
            Model { name: shared.name.clone(), sharing: Sharing::Immediate(2), ..plain.clone() };
        assert_eq!(shared, expected);
        assert_eq!(shared.schedule().len(), 2 * plain.schedule().len());
        let (once, twice) = (plain.parameters(), shared.parameters());
        assert_eq!(once.stored, twice.stored);
        assert_eq!(twice.applied - once.applied, u64::from(plain.depth) * plain.block_parameters());
    }
}

#[test]
fn examples_survive_printing() {
    for (name, ..) in PUBLISHED {
        let model = example(name);
        assert_eq!(parse(&print(&model), name).unwrap(), [model]);
    }
}
