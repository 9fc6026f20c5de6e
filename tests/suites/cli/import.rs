//! `deepthin import` and `completions`: what they print can be used as it is.

use deepthin_dsl::model::{Group, Sharing, TensorStorage};
use deepthin_tests::gguf_model;

use super::{Folder, assert_fails, ended, stdout};

#[test]
fn an_imported_description_is_the_file_s_model() {
    let folder = Folder::new();
    let model = gguf_model::model();
    let writer = gguf_model::writer(&model, 1)
        .str("general.license", "a\nb")
        .u32("general.quantization_version", 2);
    let file = folder.file("m.gguf", writer.build().bytes);
    let text = stdout(&["import", &file]);
    let described = deepthin_dsl::parse(&text, "imported.thin").unwrap();
    // A file knows nothing of sharing: that is the description's to say.
    let mut expected = deepthin_dsl::Model { sharing: Sharing::None, ..model };
    expected.storage = described[0].storage;
    assert_eq!(described, [expected]);
    assert!(text.contains("// ignored: general.quantization_version = 2\n"), "{text}");
    assert!(text.contains("// ignored: general.license = \"a\\nb\"\n"), "{text}");
    assert!(text.contains("// read by the tokenizer: tokenizer.ggml.model, "), "{text}");
    assert!(!text.contains("ignored: llama."), "{text}");
}

/// Codes of a file are said as the storage of our own that is nearest, and that it is not the same
/// stands beside it; plain storage is the file's to the bit.
#[test]
fn codes_of_a_file_are_said_by_the_nearest_storage() {
    let folder = Folder::new();
    let codes = |bits, minimum| TensorStorage::Codes { bits, group: Group::Of(32), minimum };
    let note = |class: &str, format: &str| {
        format!(
            "// {class} are stored as {format}, which a description cannot say; with --weights the \
             file's storage holds\n"
        )
    };
    let cases = [
        (codes(4, false), "q4_0", codes(8, false), "q8_0"),
        (codes(4, true), "q4_1", TensorStorage::F16, ""),
        (TensorStorage::Bf16, "", codes(4, false), "q4_0"),
        (TensorStorage::F32, "", TensorStorage::F32, ""),
    ];
    for (blocks, blocks_said, embeddings, embeddings_said) in cases {
        let mut model = gguf_model::model();
        (model.storage.blocks, model.storage.embeddings) = (blocks, embeddings);
        let file = folder.file("m.gguf", gguf_model::writer(&model, 1).build().bytes);
        let text = stdout(&["import", &file]);
        let storage = deepthin_dsl::parse(&text, "imported.thin").unwrap()[0].storage;
        assert_eq!((storage.blocks, storage.embeddings), (blocks, embeddings));
        assert_eq!(storage.activations, None, "what the codes ask for");
        for (class, said) in [("blocks", blocks_said), ("embeddings", embeddings_said)] {
            assert_eq!(text.contains(&format!("// {class} are stored as")), !said.is_empty());
            assert!(said.is_empty() || text.contains(&note(class, said)), "{text}");
        }
    }
}

#[test]
fn an_imported_description_runs_on_the_file_as_the_file_does() {
    let folder = Folder::new();
    let file = folder.file("m.gguf", gguf_model::writer(&gguf_model::model(), 1).build().bytes);
    let description = folder.file("m.thin", stdout(&["import", &file]));
    let run = |model: &[&str]| {
        stdout(&[&["run"][..], model, &["-p", "abc", "-n", "8", "--temp", "0"]].concat())
    };
    let alone = run(&[&file]);
    assert!(!alone.is_empty());
    assert_eq!(run(&[&description, "--weights", &file]), alone);
}

#[test]
fn scaled_positions_are_refused_where_they_scale() {
    let folder = Folder::new();
    let scaled = |kind| {
        let writer = gguf_model::writer(&gguf_model::model(), 1);
        let file = writer.str("llama.rope.scaling.type", kind).build().bytes;
        folder.file("m.gguf", file)
    };
    assert!(stdout(&["import", &scaled("none")]).starts_with("model bytes"));
    let refused = ended(&["import", &scaled("linear")]);
    assert_fails(&refused, 65, &["llama.rope.scaling.type = \"linear\"", "unscaled"]);
}

#[test]
fn only_models_are_imported() {
    let folder = Folder::new();
    let other = folder.file("page.gguf", "<!DOCTYPE html>");
    assert_fails(&ended(&["import", &other]), 65, &["page.gguf"]);
    assert_fails(&ended(&["import", &folder.path("none.gguf")]), 66, &["none.gguf"]);
}

#[test]
fn every_shell_has_completions_for_every_verb() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(&["completions", shell]);
        for word in ["run", "import", "perplexity", "hw", "peer-names", "probe"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_fails(&ended(&["completions", "tcsh"]), 2, &["tcsh"]);
}
