//! Prompts and generation: rows 81 to 89.

use deepthin_tests::gguf_model;
use deepthin_tests::gguf_writer::Image;

use super::case::{Case, check_all, sparse};

fn sound() -> Image {
    gguf_model::writer(&gguf_model::model(), 1).build()
}

/// A run on the file of the small model.
fn run(name: &str, row: u32) -> Case {
    Case::new(name, &[row]).file("model.gguf", || sound().bytes).line("run @model.gguf --temp 0")
}

/// A run on random weights, which have no tokenizer.
fn run_bytes(name: &str, row: u32) -> Case {
    Case::new(name, &[row])
        .file("m.thin", || deepthin_dsl::print(&gguf_model::model()))
        .line("run @m.thin --random 1 --temp 0")
}

pub(super) fn cases() -> Vec<Case> {
    [texts(), generation()].into_iter().flatten().collect()
}

fn texts() -> Vec<Case> {
    let long = "a".repeat(65);
    vec![
        run("an empty prompt of a model that begins texts", 81).line("-n 1 -p").word(""),
        run_bytes("an empty prompt without a token to begin with", 81)
            .line("-n 1 -p")
            .word("")
            .fails(65, ["the prompt is empty", "fix: give it at least one character"]),
        run("a prompt longer than the context", 82).line("-p").word(&long).fails(
            65,
            ["found 65 tokens to run, expected at most the context of 64", "fix: ", "-c 65"],
        ),
        run("a prompt of 16 MiB", 82)
            .file("text", || vec![b'a'; 16 << 20])
            .line("-f @text")
            .fails(65, ["16777216 bytes, at least ", " tokens, expected at most the 64", "fix: "])
            .history(&[9]),
        run_bytes("a prompt of 16 MiB without a tokenizer", 82)
            .file("text", || vec![b'a'; 16 << 20])
            .line("-f @text")
            .fails(65, ["16777216 bytes, at least 16777216 tokens", "fix: "]),
        run("a prompt of 1 GiB", 82)
            .setup(|folder| sparse(folder, "text", b"a", 1 << 30))
            .line("-f @text")
            .fails(65, ["text: longer than ", " bytes, expected a text", "fix: "])
            .history(&[9]),
        Case::new("a word of 4 MiB in little memory", &[82, 93])
            .file("model.gguf", || sound().bytes)
            .file("text", || vec![b'a'; 4 << 20])
            .line("tokenize @model.gguf -f @text")
            .script("ulimit -v 600000; exec \"$@\"")
            .fails(71, ["a text of 4194304 bytes into tokens can take ", "(ulimit -v)", "fix: "]),
        run("a prompt in Latin-1", 84)
            .file("text", || b"caf\xe9 au lait")
            .line("-f @text")
            .fails(65, ["text@0x3: ", "UTF-8", "0xe9", "fix: convert the text to UTF-8"]),
        run("a prompt that ends in half a character", 84)
            .file("text", || b"caf\xc3")
            .line("-f @text")
            .fails(65, ["text@0x3: ", "UTF-8", "0xc3"]),
        run("a prompt in Latin-1 on the command line", 84)
            .script("exec \"$@\" -p \"$(printf 'caf\\351')\"")
            .fails(2, ["UTF-8", "fix: give every argument in UTF-8"]),
        run("a prompt without -p", 81).line("abc").fails(2, ["'abc'", "fix: give a text with -p"]),
        run("a NUL in a prompt", 84).file("text", || b"a\0b").line("-n 1 -f @text"),
    ]
}

fn generation() -> Vec<Case> {
    let huge = f32::MAX.to_le_bytes();
    let overflowing = move || {
        let mut model = gguf_model::model();
        model.storage.blocks = deepthin_dsl::model::TensorStorage::F32;
        let matrix = huge.repeat(64 * 32);
        gguf_model::writer(&model, 1)
            .with_tensor("blk.1.ffn_up.weight", 0, &[32, 64], matrix.clone())
            .with_tensor("blk.1.ffn_down.weight", 0, &[64, 32], matrix)
            .build()
            .bytes
    };
    vec![
        run("a context that fills up", 85)
            .line("-p abcdefgh -n 99 -c 16")
            .says(["deepthin: note: stopped because the context of 16 tokens is full"])
            .says(["ended by full context"]),
        Case::new("weights that overflow", &[87])
            .file("model.gguf", overflowing)
            .line("run @model.gguf -p abc")
            .fails(65, ["not finite at position 2", "first in the output of layer 1", "fix: "]),
        run("a full disk", 89)
            .line("-p a -n 4")
            .script("exec \"$@\" > /dev/full")
            .fails(74, ["stdout: cannot write: ", "os error 28", "fix: make room"]),
        Case::new("a full disk under a table", &[89])
            .file("model.gguf", || sound().bytes)
            .line("info @model.gguf")
            .script("exec \"$@\" > /dev/full")
            .fails(74, ["stdout: cannot write: "]),
    ]
}

#[test]
fn wrong_prompts() {
    check_all("cli::bad_input::prompt::wrong_prompts", &cases());
}
