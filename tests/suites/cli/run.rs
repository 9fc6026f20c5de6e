//! `deepthin run`: what is written where, that seeds repeat, and how it ends.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use deepthin::hw::system::System;
use deepthin_tests::gguf_model;
use deepthin_tests::program::{Ended, deepthin};
use expect_test::expect;

use super::{Folder, ended, example, stdout};

/// Bits are the same on every machine, so is the text.
#[test]
fn random_weights_generate_the_same_tokens_everywhere() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["run", &small, "--random", "1", "-p", "abc", "-n", "8", "--temp", "0"];
    let ended = ended(&words);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    expect!["<271><3><3><3><21><11><11><11>"].assert_eq(&ended.stdout);
    let summary = ended.stderr.strip_prefix("deepthin: 3 prompt tokens, 8 generated, ").unwrap();
    assert!(summary.contains(" s after loading") && summary.ends_with(" ms)\n"), "{summary}");
    for threads in ["1", "2", "3"] {
        let again = stdout(&[&words[..], &["-t", threads]].concat());
        assert_eq!(again, ended.stdout, "{threads} threads");
    }
    for threads in 1..=System::read().usable.len().min(3) {
        let again = stdout(&[&words[..], &["--pin", "-t", &threads.to_string()]].concat());
        assert_eq!(again, ended.stdout, "{threads} pinned threads");
    }
    let echoed = stdout(&[&words[..], &["--echo"]].concat());
    assert_eq!(echoed, format!("abc{}", ended.stdout));
    let file = folder.file("prompt.txt", "abc");
    let words = ["run", &small, "--random", "1", "-f", &file, "-n", "8", "--temp", "0"];
    assert_eq!(stdout(&words), ended.stdout, "the text of a file");
}

#[test]
fn a_seed_repeats_its_draws() {
    let folder = Folder::new();
    let small = folder.small();
    let drawn = |seed| {
        let sampling = ["--temp", "1.5", "--top-k", "0", "--top-p", "1", "--seed", seed];
        stdout(&[&["run", &small, "--random", "1", "-p", "a", "-n", "12"][..], &sampling].concat())
    };
    assert_eq!(drawn("5"), drawn("5"));
    assert_ne!(drawn("5"), drawn("6"));
}

#[test]
fn options_of_sampling_reach_the_sampler() {
    let folder = Folder::new();
    let small = folder.small();
    let drawn = |sampling: &[&str]| {
        stdout(&[&["run", &small, "--random", "1", "-p", "abc", "-n", "12"], sampling].concat())
    };
    let greedy = drawn(&["--temp", "0"]);
    let free = ["--temp", "1.5", "--top-k", "0", "--top-p", "1", "--seed", "5"];
    assert_ne!(drawn(&free), greedy);
    for bound in [["--min-p", "1"], ["--top-k", "1"], ["--top-p", "0.0001"]] {
        let mut sampling = free.to_vec();
        match sampling.iter().position(|word| *word == bound[0]) {
            Some(at) => sampling[at + 1] = bound[1],
            None => sampling.extend(bound),
        }
        assert_eq!(drawn(&sampling), greedy, "{bound:?} leaves the likeliest alone");
    }
    let penalized = drawn(&["--temp", "0", "--repeat-penalty", "100"]);
    let tokens: Vec<&str> = penalized.split_inclusive('>').collect();
    let distinct: BTreeSet<&&str> = tokens.iter().collect();
    assert_eq!((tokens.len(), distinct.len()), (12, 12), "nothing is repeated: {penalized}");
    assert!(greedy.split_inclusive('>').collect::<BTreeSet<_>>().len() < 12);
}

#[test]
fn a_full_context_ends_the_text_with_a_note() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["run", &small, "--random", "1", "-p", "abcdefghij", "-n", "99", "-c", "16"];
    let ended = ended(&words);
    assert_eq!((ended.code, ended.stdout.matches('<').count()), (Some(0), 7), "{ended:?}");
    let note = "deepthin: note: stopped because the context of 16 tokens is full";
    assert!(ended.stderr.starts_with(note), "{}", ended.stderr);
    assert!(ended.stderr.contains("10 prompt tokens, 7 generated"), "{}", ended.stderr);
}

#[test]
fn the_text_of_a_gguf_file_is_whole_characters() {
    let folder = Folder::new();
    let file = gguf_model::writer(&gguf_model::model(), 1).build().bytes;
    let file = folder.file("small.gguf", file);
    let ended = ended(&["run", &file, "-p", "é<user>", "-n", "30", "--temp", "0", "--echo"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("é<user>"), "{ended:?}");
    // Nine bytes, each a token: the name is plain text without --special.
    assert!(ended.stderr.contains("8 prompt tokens"), "{ended:?}");
    let words = ["run", &file, "-p", "é<user>", "-n", "1", "--temp", "0", "--special"];
    assert!(super::ended(&words).stderr.contains("3 prompt tokens, "));
}

/// Starts a generation that takes for ever, and waits for its first byte.
fn endless(folder: &Folder) -> std::process::Child {
    let mut model = gguf_model::model();
    model.context = 1 << 20;
    let path = folder.file("endless.thin", deepthin_dsl::print(&model));
    let mut child = deepthin()
        .args(["run", &path, "--random", "1", "-p", "a", "-n", "1000000", "--temp", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

/// The lines on stderr, but for that of a machine which takes long to prepare weights.
fn without_progress(ended: &Ended) -> Vec<&str> {
    let lines = ended.stderr.lines();
    lines.filter(|line| !line.starts_with("deepthin: preparing weights, ")).collect()
}

#[test]
fn ctrl_c_ends_after_a_whole_token_with_130() {
    let folder = Folder::new();
    let child = endless(&folder);
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let ended: Ended = child.wait_with_output().unwrap().into();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(ended.stdout.ends_with('>'));
    let told = without_progress(&ended);
    assert!(told.len() == 1 && told[0].starts_with("deepthin: 1 prompt token, "), "{told:?}");
}

/// Weights take a while to draw: that is said, and Ctrl-C is heard meanwhile.
#[test]
fn ctrl_c_ends_the_drawing_of_weights() {
    let words = ["run", &example("mobilellm-600m.thin"), "--random", "1", "-p", "a", "-c", "64"];
    let mut command = deepthin();
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    if !first.starts_with("deepthin: preparing weights, ") {
        // A machine that draws them all within a second has nothing to say.
        child.kill().unwrap();
        child.wait().unwrap();
        return;
    }
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    assert_eq!(lines.collect::<Vec<_>>(), ["deepthin: error: interrupted"]);
    let ended: Ended = child.wait_with_output().unwrap().into();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(130), ""));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let folder = Folder::new();
    let mut child = endless(&folder);
    drop(child.stdout.take());
    let ended: Ended = child.wait_with_output().unwrap().into();
    assert_eq!((ended.code, without_progress(&ended)), (Some(0), vec![]));
}
