//! `deepthin info`: counts and bytes of models with and without weights.

use deepthin_tests::gguf_model;
use deepthin_tests::jit::default_backend;
use serde_json::Value;

use super::{Folder, assert_fails, ended, example, stdout};

fn info(name: &str) -> Value {
    serde_json::from_str(&stdout(&["info", &example(name), "--json"])).unwrap()
}

#[test]
fn shared_blocks_are_held_once_and_computed_each_time() {
    let (plain, shared) = (info("mobilellm-125m.thin"), info("mobilellm-ls-125m.thin"));
    assert_eq!(shared["parameters"]["stored"], 124_635_456);
    assert_eq!(shared["parameters"]["applied"], 230_838_336);
    assert_eq!(shared["layers"]["stored"], 30);
    assert_eq!(shared["layers"]["applications"], 60);
    assert_eq!(shared["layers"]["sharing"], "immediate(2)");
    let bytes = &shared["bytes"];
    assert_eq!(bytes["weights"], plain["bytes"]["weights"], "held once");
    assert_eq!(plain["bytes"]["weights_unshared"], plain["bytes"]["weights"]);
    let twice = |info: &Value| info["bytes"]["weights_unshared"].as_u64().unwrap();
    // The blocks a second time: each 3,540,096 weights of 4.5 bits and two gains.
    assert_eq!(twice(&shared) - twice(&plain), 30 * (3_538_944 * 18 / 32 + 2 * 576 * 4));
    // 60 applications of two vectors of 192 keys or values.
    assert_eq!(bytes["kv_per_token"], 60 * 2 * 192 * 2);
    assert_eq!(bytes["kv"], 2048 * 60 * 2 * 192 * 2);
    // In q8 a bf16 for each of the two groups of three heads.
    let formats = serde_json::json!({
        "f32": 60 * 2 * 192 * 4,
        "f16": 60 * 2 * 192 * 2,
        "q8": 60 * 2 * (192 + 3 * 2 * 2),
    });
    assert_eq!(bytes["kv_per_token_by_format"], formats);
    // Two operations for each weight of 60 blocks and of the head.
    assert_eq!(shared["flops"]["per_token"], 2 * (60 * 3_538_944_u64 + 32_000 * 576));
    assert_eq!(shared["flops"]["per_position"], 60 * 4 * 576);
}

#[test]
fn the_page_says_that_tensors_are_held_once() {
    let page = stdout(&["info", &example("mobilellm-ls-125m.thin"), "-c", "512", "-t", "3"]);
    let lines: Vec<&str> = page.lines().collect();
    let line = |topic: &str| *lines.iter().find(|line| line.starts_with(topic)).unwrap();
    assert!(line("weights").contains("each tensor once ("), "{page}");
    assert!(line("layers").ends_with("30 stored blocks, 60 applications (sharing immediate(2))"));
    assert!(line("parameters").contains("124,635,456 stored, 230,838,336 applied"), "{page}");
    assert!(line("shape").ends_with("context 512"), "{page}");
    let backend = format!("{} on ", default_backend());
    assert!(line("host").contains(&backend) && line("host").ends_with("3 threads"), "{page}");
    assert!(line("kernels").contains("compiled in "), "{page}");
    assert!(page.contains("  attention_kv16_9q3kv_64"), "{page}");
}

#[test]
fn the_page_tells_what_each_format_of_the_cache_takes() {
    let page = stdout(&["info", &example("mobilellm-125m.thin"), "--kv", "q8"]);
    assert!(page.contains("; KV cache q8; "), "{page}");
    let sizes = "KV cache 12,240 bytes a token (f16 23,040, f32 46,080), ";
    assert!(page.contains(sizes) && page.contains("  attention_kv8_9q3kv_64"), "{page}");
}

/// The page and its numbers say what is stored, and what it is multiplied with.
#[test]
fn storage_and_activations_are_told() {
    let folder = Folder::new();
    let told = |storage: &str, words: &[&str]| -> (Value, String) {
        let mut model = gguf_model::model();
        model.storage.activations = None;
        let text = deepthin_dsl::print(&model);
        let from = text.find("storage {").unwrap();
        let path = folder.file("m.thin", format!("{}storage {{ {storage} }}\n}}\n", &text[..from]));
        let page = stdout(&[&["info", &path][..], words].concat());
        let json = stdout(&[&["info", &path, "--json"][..], words].concat());
        let json: Value = serde_json::from_str(&json).unwrap();
        (json["storage"].clone(), page)
    };
    let (json, page) = told("blocks q6m(row)  embeddings q4(32)", &[]);
    assert_eq!(json["blocks"], serde_json::json!({ "q6rowm": 14 }));
    assert_eq!((&json["embeddings"], &json["head"]), (&"q4g32".into(), &"q4g32".into()));
    assert_eq!(json["activations"], "q8(32) and q8(64)", "down has 64 columns");
    let line = "block matrices 14 q6rowm; embeddings q4g32; head q4g32; KV cache f16; activations \
                q8(32) and q8(64)";
    assert!(page.contains(line), "{page}");
    let (json, _) = told("blocks q8(32)  embeddings f16  activations q8(row)", &[]);
    assert_eq!(json["activations"], "f32 and q8(row)");
    let (json, _) =
        told("blocks q8(32)  embeddings q8  activations q8(row)", &["--activations", "f32"]);
    assert_eq!(json["activations"], "f32");
    let (json, _) = told("blocks bf16  embeddings f16", &[]);
    assert_eq!(json["activations"], "f32");
}

/// What no kernel can address is told with the number that one can.
#[test]
fn contexts_end_where_kernels_cannot_address_more() {
    let path = example("mobilellm-125m.thin");
    let of = |context: &str| ended(&["info", &path, "-c", context, "--json"]);
    let parts =
        ["6000000 positions", "2304000000 bytes of keys or values in each layer", "2147483647"];
    assert_fails(&of("6000000"), 2, &parts);
    assert_fails(&of("5592385"), 2, &["fix: ask for at most -c 5592384"]);
    assert_eq!(of("5592384").code, Some(0));
    assert_fails(&of("16777217"), 2, &["--context", "1..=16777216"]);
    let folder = Folder::new();
    let text = std::fs::read_to_string(&path).unwrap().replace("2_048", "16_777_216");
    let long = folder.file("long.thin", text);
    assert_fails(&ended(&["info", &long]), 65, &["16777216 positions", "-c 5592384"]);
    assert_eq!(ended(&["info", &long, "-c", "4096"]).code, Some(0));
}

#[test]
fn every_example_has_a_page() {
    let folder = std::fs::read_dir(example("")).unwrap();
    let names: Vec<String> = folder
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".thin"))
        .collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        let info = info(&name);
        let parameters = info["parameters"]["stored"].as_u64().unwrap();
        let bits = info["bytes"]["weights"].as_u64().unwrap() * 8;
        assert!((4..=33).contains(&(bits / parameters)), "{name}: {info}");
        assert!(info["host"]["compile_ms"].as_f64().unwrap() > 0.0, "{name}");
        assert!(!info["kernels"].as_array().unwrap().is_empty(), "{name}");
    }
}
