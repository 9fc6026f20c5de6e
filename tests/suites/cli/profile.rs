//! `deepthin profile`: its kernels are those of the plan, its bytes those of `bench`, and its parts
//! make up the whole.

use serde_json::Value;

use super::{Folder, assert_fails, ended, example, stdout};

fn json(words: &[&str]) -> Value {
    serde_json::from_str(&stdout(&[words, &["--json"]].concat())).unwrap()
}

fn number(of: &Value) -> f64 {
    of.as_f64().unwrap()
}

#[test]
fn kernels_and_bytes_are_those_of_the_plan() {
    let folder = Folder::new();
    let small = folder.small();
    for threads in ["1", "3"] {
        let words = ["profile", &small, "--random", "1", "-n", "5", "-d", "7", "-t", threads];
        let found = json(&[&words[..], &["--probe", "1"]].concat());
        assert_eq!((&found["tokens"], &found["depth"]), (&5.into(), &7.into()));
        assert_eq!(found["threads"].to_string(), threads);
        assert_eq!(found["barrier_ns"].is_null(), threads == "1", "one thread waits for nobody");
        let kernels = found["kernels"].as_array().unwrap();
        // An embedding, five steps for each application, the head.
        let info = json(&["info", &small]);
        let steps: u64 = kernels.iter().map(|kernel| kernel["steps"].as_u64().unwrap()).sum();
        assert_eq!(steps, 2 + 5 * info["layers"]["applications"].as_u64().unwrap());
        let known = info["kernels"].as_array().unwrap();
        for kernel in kernels {
            assert!(known.iter().any(|of| of["name"] == kernel["kernel"]), "{kernel}");
            let [us, waiting, share] =
                ["us", "waiting_us", "share"].map(|key| number(&kernel[key]));
            assert!(us > 0.0 && waiting >= 0.0 && waiting <= us, "{kernel}");
            assert!((share - us / number(&found["token_us"])).abs() < 1e-9, "{kernel}");
            let rate = number(&kernel["bytes"]) / us * 1e6;
            assert!((number(&kernel["rate"]) - rate).abs() <= 1e-9 * rate, "{kernel}");
        }
        let bytes: f64 = kernels.iter().map(|kernel| number(&kernel["bytes"])).sum();
        assert!((bytes / number(&found["bytes"]) - 1.0).abs() < 1e-9, "{found}");
        let words = ["bench", &small, "--random", "1", "-n", "5", "-p", "0", "-d", "7", "-r", "1"];
        let bench = stdout(&[&words[..], &["--probe", "0", "-o", "jsonl"]].concat());
        let bench: Value = serde_json::from_str(&bench).unwrap();
        assert_eq!(bench["bytes_per_token"], found["bytes"]);
    }
}

#[test]
fn the_page_and_the_table_have_a_line_for_each_kernel() {
    let folder = Folder::new();
    let small = folder.small();
    let words = ["profile", &small, "--random", "1", "-n", "4", "--probe", "0"];
    let page = stdout(&words);
    assert!(
        page.starts_with("token       ") && page.contains("linear reads not measured"),
        "{page}"
    );
    assert!(page.contains("the median of 4 behind 0"), "{page}");
    let table = stdout(&[&words[..], &["-o", "md"]].concat());
    assert_eq!(page.lines().count() - 3, table.lines().count() - 2, "{page}{table}");
    let csv = stdout(&[&words[..], &["-o", "csv"]].concat());
    assert_eq!(csv.lines().next(), Some("kernel,steps,us,waiting us,share,MB,GB/s"));
}

#[test]
fn what_cannot_be_timed_is_refused() {
    let folder = Folder::new();
    let small = folder.small();
    assert_fails(&ended(&["profile", &small]), 2, &["no weights", "--random"]);
    let short = ["profile", &small, "--random", "1", "-n", "9", "-d", "4", "-c", "12"];
    assert_fails(&ended(&short), 65, &["the context of 12", "-c 13"]);
    assert_fails(&ended(&["profile", &small, "-n", "0"]), 2, &["--generate", "1..="]);
    let other = example("mobilellm-125m.thin");
    assert_fails(&ended(&["profile", &other, "-n", "4"]), 2, &["mobilellm_125m"]);
}
