//! Descriptions: rows 1 to 22.

use std::fs;

use super::case::{Case, check_all, sparse};

/// A sound description; cases replace a part of it.
const WHOLE: &str = "\
model m {
    vocab 300
    context 64
    width 32
    depth 2
    block {
        norm rms(eps: 1e-5)
        attention gqa(heads: 4, kv_heads: 2)
        position rope(theta: 10_000)
        ffn swiglu(hidden: 64)
    }
    embeddings tied
    sharing none
    storage { blocks q4(group: 32) embeddings q8(group: 32) }
}
";

const RUN: &str = "run @m.thin --random 1 -p a -n 1";

/// A description that is refused.
fn text(name: &str, row: u32, text: impl Fn() -> Vec<u8> + 'static, parts: &[&str]) -> Case {
    Case::new(name, &[row]).file("m.thin", text).line(RUN).fails(65, parts.iter().copied())
}

/// The sound description with one part in place of another.
#[track_caller]
fn with(name: &str, row: u32, part: &'static str, other: &'static str, parts: &[&str]) -> Case {
    assert!(WHOLE.contains(part), "{name}: no `{part}`");
    text(name, row, move || WHOLE.replace(part, other).into_bytes(), parts)
}

pub(super) fn cases() -> Vec<Case> {
    [syntax(), files(), sizes(), meaning()].into_iter().flatten().collect()
}

fn syntax() -> Vec<Case> {
    let number = |name, literal, parts| with(name, 9, "depth 2", literal, parts);
    vec![
        text("an empty description", 1, Vec::new, &["m.thin:1:1: ", "D0001", "help: "]),
        text("only comments", 1, || b"// a\n// b\n".to_vec(), &["m.thin:", "D0001", "help: "]),
        with("a missing brace", 2, "sharing none", "block {", &["m.thin:1", "D0002"]),
        with("a stray word", 2, "context 64", "context 64 64", &["m.thin:3:", "D0002"]),
        with("a mistyped key", 3, "width 32", "widht 32", &["m.thin:4:5: ", "D0003", "`width`"]),
        with("a key given twice", 4, "depth 2", "depth 2\n    depth 3", &["m.thin:6:5: ", "D0004"]),
        text("Latin-1", 5, || b"model caf\xe9 {}".to_vec(), &["m.thin:1:10: ", "0xe9", "UTF-8"]),
        text("a NUL byte", 5, || b"model \0 {}".to_vec(), &["m.thin:1:7: NUL byte", "UTF-8"]),
        text("UTF-16", 5, || b"\xff\xfem\0o\0".to_vec(), &["m.thin:1:1: ", "UTF-16", "UTF-8"]),
        with(
            "a bidi override in a comment",
            6,
            "sharing none",
            "sharing none // \u{202e} }",
            &["m.thin:13:21: ", "U+202E"],
        ),
        with("a Cyrillic letter", 6, "vocab 300", "voc\u{430}b 300", &["m.thin:2:", "U+0430"]),
        text("brackets 100000 deep", 8, || b"(".repeat(100_000), &["m.thin:1:65: ", "D0008", "64"])
            .history(&[16]),
        number("a number past all", "depth 1e999", &["m.thin:5:11: ", "1e999"]),
        number("a prefix without digits", "depth 0x", &["m.thin:5:1", "D00"]),
        number("an underscore at the end", "depth 1_000_", &["m.thin:5:11: ", "D0009"]),
        number("a negative zero", "depth -0", &["m.thin:5:11: ", "-0"]),
        number(
            "two to the 64",
            "depth 18446744073709551616",
            &["m.thin:5:11: ", "18446744073709551616", "1 to 4_096"],
        ),
        Case::new("line ends of Windows, tabs, no last line end", &[10])
            .file("m.thin", || {
                let text = WHOLE.replace("    ", "\t").replace('\n', "\r\n");
                text.trim_end().to_owned()
            })
            .line("run @m.thin --random 1 -p a -n 1 --temp 0"),
        with("a comment as in C", 1, "model m", "/* mine */ model m", &["m.thin:1:1: ", "`//`"]),
        with("a comment as in C behind a value", 1, "depth 2", "depth 2 /* few */", &["`//`"]),
        with("an import", 12, "model m", "import \"../n.thin\"\nmodel m", &["m.thin:1:1: ", "D00"]),
    ]
}

fn files() -> Vec<Case> {
    let path = |name: &str| Case::new(name, &[11]).line(RUN);
    vec![
        Case::new("100 MB", &[7])
            .setup(|folder| sparse(folder, "m.thin", b"model m", 100_000_000))
            .line(RUN)
            .fails(65, ["m.thin:1:1: ", "D0007", "1_048_576"]),
        words("calls in calls", "sharing a(", "a(a(a(a(a(a(a(a(0)))))))),"),
        words("sections", "", "a{}"),
        words("lines", "", "k 1\n"),
        text("a line of 10 MB", 7, || b"a".repeat(10_000_000), &["m.thin", "D0007"]),
        path("a directory")
            .setup(|folder| fs::create_dir(folder.path("m.thin")).unwrap())
            .fails(66, ["m.thin: found a directory, expected a description", "fix: "]),
        path("a pipe that nobody writes to")
            .setup(|folder| folder.pipe("m.thin"))
            .fails(66, ["m.thin: found a pipe or a device", "fix: "]),
        path("a missing file").fails(66, ["m.thin: no such file", "fix: "]),
        path("a link to itself")
            .setup(|folder| {
                std::os::unix::fs::symlink(folder.path("m.thin"), folder.path("m.thin")).unwrap();
            })
            .fails(66, ["m.thin: cannot open it: ", "os error 40", "fix: "]),
        Case::new("a missing file whose name steers the terminal", &[11])
            .line("info")
            .word("@\x1b[2J\n\u{202e}.thin")
            .fails(66, ["\\u{1b}[2J\\n\\u{202e}.thin: no such file", "fix: "]),
        Case::new("a wrong description whose name steers the terminal", &[11])
            .file("\x1b[2J.thin", || "model")
            .line("info")
            .word("@\x1b[2J.thin")
            .fails(65, ["\\u{1b}[2J.thin:1:", "help: "]),
        Case::new("a link to itself that could be any file", &[11])
            .setup(|folder| {
                std::os::unix::fs::symlink(folder.path("loop"), folder.path("loop")).unwrap();
            })
            .line("info @loop")
            .fails(66, ["loop: cannot open it: ", "os error 40", "fix: "]),
        Case::new("a file in a file", &[11])
            .file("file", || "text")
            .line("info @file/model")
            .fails(66, ["file/model: no such file", "fix: "]),
        Case::new("a name that means nothing", &[11])
            .line("info \x1b[2J")
            .fails(66, ["\"\\u{1b}[2J\" is no model", "fix: "]),
        unreadable(),
    ]
}

/// A description of a megabyte that is one part again and again: its size is allowed, what it takes
/// to read is not.
fn words(name: &str, before: &'static str, part: &'static str) -> Case {
    let name = format!("a megabyte of {name}");
    let content = move || {
        let (head, tail) = WHOLE.split_once("{\n").unwrap();
        let count = ((1 << 20) - 1000) / part.len();
        format!("{head}{{\n{before}{}\n{tail}", part.repeat(count)).into_bytes()
    };
    text(&name, 7, content, &["m.thin:", "D0007", "131_072 words and marks", "fewer models"])
}

/// A file without permissions, which stop even root where it has given up that privilege.
fn unreadable() -> Case {
    let without_privilege = "\
        if [ \"$(id -u)\" = 0 ]; then \
            exec setpriv --bounding-set -dac_override,-dac_read_search \"$@\"; \
        else exec \"$@\"; fi";
    Case::new("a file without permissions", &[11])
        .file("m.thin", || WHOLE)
        .setup(|folder| {
            let none = std::os::unix::fs::PermissionsExt::from_mode(0o000);
            fs::set_permissions(folder.path("m.thin"), none).unwrap();
        })
        .line(RUN)
        .script(without_privilege)
        .fails(77, ["m.thin: no permission to read it", "fix: make it readable: chmod u+r "])
}

fn sizes() -> Vec<Case> {
    let heads = "heads: 4, kv_heads: 2";
    vec![
        with("heads that do not divide", 13, heads, "heads: 5", &["m.thin:8:30: ", "D0013", "4"]),
        with(
            "KV heads that do not divide",
            14,
            "kv_heads: 2",
            "kv_heads: 3",
            &["m.thin:8:43: ", "D0014", "1, 2 or 4"],
        ),
        with("no heads", 15, heads, "heads: 0", &["m.thin:8:30: ", "`0`", "1 to "]),
        with("no KV heads", 15, "kv_heads: 2", "kv_heads: 0", &["m.thin:8:43: ", "1 to "]),
        with("no blocks", 15, "depth 2", "depth 0", &["m.thin:5:11: ", "1 to "]),
        with("no tokens", 15, "vocab 300", "vocab 0", &["m.thin:2:11: ", "1 to "]),
        with("a negative depth", 15, "depth 2", "depth -2", &["m.thin:5:11: ", "-2", "1 to "]),
        with(
            "an odd head dimension",
            16,
            heads,
            "heads: 4, kv_heads: 2, head_dim: 7",
            &["m.thin:8:", "D0016", "6 or 8"],
        ),
        with("a billion blocks", 17, "depth 2", "depth 1_000_000_000", &["m.thin:5:11: ", "1 to "]),
        with(
            "a vocabulary of 2^63",
            17,
            "vocab 300",
            "vocab 9223372036854775808",
            &["m.thin:2:11: ", "9223372036854775808"],
        ),
        text(
            "more parameters than are computed with",
            17,
            || {
                let deep =
                    WHOLE.replace("depth 2", "depth 4_096").replace("width 32", "width 8_192");
                let wide = deep.replace("hidden: 64", "hidden: 65_536");
                wide.replace("heads: 4", "heads: 64").into_bytes()
            },
            &["D0017", "8_000_000_000"],
        ),
        text(
            "a table that no kernel can address",
            17,
            || {
                let table =
                    WHOLE.replace("vocab 300", "vocab 1M").replace("width 32", "width 4_096");
                let table = table.replace("embeddings q8(group: 32)", "embeddings f32");
                table.replace("heads: 4", "heads: 32").into_bytes()
            },
            &["weights of `token_embedding` take 16384000000 bytes", "2147483647", "fix: store"],
        ),
        with(
            "a context of 2^31",
            18,
            "context 64",
            "context 2147483648",
            &["m.thin:3:13: ", "1 to 16_777_216"],
        ),
        Case::new("a cache larger than all memory", &[18])
            .file("m.thin", || WHOLE.replace("depth 2", "depth 2_000"))
            .line(RUN)
            .line("-c 16777216")
            .fails(71, ["the model needs ", " MiB (weights ", "KV cache ", "fix: ", "-c "]),
        Case::new("a cache that no kernel can address", &[18])
            .file("m.thin", || WHOLE.replace("heads: 4, kv_heads: 2", "heads: 4, head_dim: 256"))
            .line(RUN)
            .line("-c 16777216")
            .fails(
                2,
                ["a context of 16777216 positions", "a kernel can address", "fix: ", "-c 1048512"],
            ),
    ]
}

fn meaning() -> Vec<Case> {
    let q4 = "blocks q4(group: 32)";
    vec![
        with(
            "an order of blocks that are not there",
            19,
            "sharing none",
            "sharing order [0, 7]",
            &["m.thin:13:", "D0019", "7"],
        ),
        with("blocks of two shapes", 20, "    embeddings tied", "    block { }\n", &["D0004"]),
        with("storage that does not exist", 21, q4, "blocks q3(group: 32)", &["m.thin:14:", "q3"]),
        text(
            "rows that groups do not divide",
            21,
            || WHOLE.replace("width 32", "width 48").into_bytes(),
            &["m.thin:14:", "D0021", "groups of 32 do not divide rows of 48 (width)"],
        ),
        with("groups of 16", 21, q4, "blocks q4(group: 16)", &["16", "32", "help: "]),
        with("no epsilon", 22, "eps: 1e-5", "eps: 0", &["m.thin:7:23: ", "D0022"]),
        with("a negative base", 22, "10_000", "-1", &["m.thin:9:30: ", "D0022"]),
        with("a base that is no number", 22, "10_000", "nan", &["m.thin:9:30: ", "nan"]),
    ]
}

#[test]
fn wrong_descriptions() {
    check_all("cli::bad_input::description::wrong_descriptions", &cases());
}
