//! `deepthin bench --peers`: scripts that measure other engines, good and bad.
//!
//! The scripts are of the shell, which stands for the interpreter.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use deepthin::bench::statistics::median_ratio;
use deepthin_tests::gguf_model;
use deepthin_tests::jit::default_backend;
use deepthin_tests::program::{Ended, deepthin};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Folder, assert_fails, ended};

/// A script that notes how it was called and then prints a line for each of its engines.
const GOOD: &str = r#"
echo "$@" >> "$0.calls"
file=$1; shift
peers=one,two
while [ $# -gt 0 ]; do
  case $1 in
    --peers) peers=$2 ;; -t) t=$2 ;; -p) p=$2 ;; -n) n=$2 ;; -d) d=$2 ;; --reps) r=$2 ;;
  esac
  shift 2
done
[ -f "$file" ] && [ "$r" = 1 ] || exit 9
for peer in $(echo "$peers" | tr , ' '); do
  echo "{\"peer\": \"$peer\", \"version\": \"1.$t\", \"model\": \"m\", \"threads\": $t, \"pp\": $p,
\"pp_tps\": 500.5, \"depth\": $d, \"tg\": $n, \"tg_tps\": 20, \"load_s\": 0.1}" | tr -d '\n'
  echo
done
"#;

/// A small model as a file, and a script beside it.
struct Setting {
    folder: Folder,
    model: String,
    script: String,
}

impl Setting {
    fn new(script: &str) -> Setting {
        let folder = Folder::new();
        let model = gguf_model::writer(&gguf_model::model(), 1).build().bytes;
        let (model, script) = (folder.file("m.gguf", model), folder.file("script", script));
        Setting { folder, model, script }
    }

    /// The words of a run with the script.
    fn words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let bench = ["bench", &self.model, "--probe", "1", "--peers", &self.script];
        [&bench[..], &["--python", "sh"], more].concat()
    }

    fn run(&self, more: &[&str]) -> Ended {
        ended(&self.words(more))
    }

    /// How the script was called, without the file.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.path("script.calls")).unwrap_or_default();
        calls
            .lines()
            .map(|line| line.strip_prefix(&self.model).unwrap().trim().to_owned())
            .collect()
    }
}

fn rows(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn peers_run_once_in_each_round() {
    let setting = Setting::new(GOOD);
    let words = ["--peer-names", "b,a", "-t", "2", "-p", "8", "-n", "4", "-r", "3", "-o", "jsonl"];
    let rows = rows(&setting.run(&words));
    let place = |row: &Value| {
        (row["test"].as_str().unwrap().to_owned(), row["backends"].as_str().unwrap().to_owned())
    };
    let expected = ["pp8", "tg4"]
        .map(|test| [default_backend(), "b", "a"].map(|b| (test.to_owned(), b.to_owned())));
    assert_eq!(rows.iter().map(place).collect::<Vec<_>>(), expected.concat());
    let round = ["b", "a"].map(|name| format!("--peers {name} -t 2 -p 8 -n 4 -d 0 --reps 1"));
    assert_eq!(setting.calls(), [&round[..]; 3].concat());
    for rows in rows.chunks(3) {
        let rates = |row: &Value| -> Vec<f64> {
            row["samples_ts"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let ours = rates(&rows[0]);
        let told = if rows[0]["n_prompt"] == 8 { 500.5 } else { 20.0 };
        for peer in &rows[1..] {
            assert_eq!((&peer["version"], &peer["n_threads"]), (&"1.2".into(), &2.into()));
            assert_eq!(peer["model_filename"], rows[0]["model_filename"]);
            assert_eq!(rates(peer).len(), 3);
            assert!(rates(peer).iter().all(|rate| (rate / told - 1.0).abs() < 1e-9), "{peer}");
            let ratio = median_ratio(&ours, &[told; 3]).unwrap();
            let found = peer["ours_to_peer"].as_f64().unwrap();
            assert!((found / ratio - 1.0).abs() < 1e-9, "{peer}");
            assert_eq!((&peer["ratio"], &peer["ttft_ns"]), (&Value::Null, &Value::Null));
            assert_eq!(peer["barrier_ns"], rows[0]["barrier_ns"], "the same rounds");
        }
        assert_eq!(rows[0]["ours_to_peer"], Value::Null);
    }
}

#[test]
fn each_file_and_number_of_threads_has_its_peers() {
    let setting = Setting::new(GOOD);
    let other = gguf_model::writer(&gguf_model::model(), 2).build().bytes;
    let other = setting.folder.file("other.gguf", other);
    let words = [&other, "-t", "1,2", "-p", "4,6", "-n", "2", "-d", "0,3", "-r", "1"];
    let rows = rows(&setting.run(&[&words[..], &["-o", "jsonl"]].concat()));
    // Without names the script chooses: both of its engines in each call.
    let peers: Vec<_> = rows
        .iter()
        .filter(|row| row["backends"] == "two")
        .map(|row| {
            let file = row["model_filename"] == *other;
            (row["test"].as_str().unwrap(), file, row["n_threads"].as_u64().unwrap())
        })
        .collect();
    let places = [(false, 1), (false, 2), (true, 1), (true, 2)];
    let expected: Vec<_> = ["pp4", "pp6", "tg2", "tg2 @ d3"]
        .into_iter()
        .flat_map(|test| places.map(|(file, threads)| (test, file, threads)))
        .collect();
    assert_eq!(peers, expected, "a prompt behind other tokens has no peer");
    let calls = fs::read_to_string(setting.folder.path("script.calls")).unwrap();
    let calls: Vec<&str> = calls.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let pair = |t: u32| {
        [format!("-t {t} -p 4 -n 2 -d 0 --reps 1"), format!("-t {t} -p 6 -n 2 -d 3 --reps 1")]
    };
    assert_eq!(calls, [pair(1), pair(2), pair(1), pair(2)].concat());
}

#[test]
fn the_table_names_peers_with_their_version() {
    let setting = Setting::new(GOOD);
    let ended = setting.run(&["--peer-names", "a", "-t", "1", "-p", "0", "-n", "4", "-r", "1"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines[0].contains(" ours/peer |") && !lines[0].contains(" ratio |"), "{ended:?}");
    assert!(lines[3].contains("| a 1.1 "), "{ended:?}");
    assert!(lines.iter().all(|line| line.chars().count() <= 120), "{ended:?}");
}

#[test]
fn scripts_that_give_no_figures_end_the_run() {
    let name = "echo loading.. >&2; echo '{\"peer\": \"b\", \"version\": \"1\", \"threads\": 1, \
                \"pp\": 1, \"pp_tps\": 1, \"tg\": 2, \"tg_tps\": 1}'";
    for (script, code, parts) in [
        ("echo one >&2; echo two >&2; exit 3", 74, &["exit status: 3", "\n  one\n  two", "fix: "]),
        (
            "echo garbage",
            65,
            &["printed \"garbage\" (", "expected one line {\"peer\": \"a\"", "fix: "],
        ),
        ("true", 65, &["printed nothing, expected one line", "\"pp\": 1, ", "\"tg\": 2, "]),
        (name, 65, &["printed \"peer\": \"b\", expected", "\n  loading..", "fix: "]),
        ("head -c 3000000 /dev/zero | tr '\\0' x", 65, &["printed \"xxx", "\"..", "fix: "]),
        ("printf '\\033[2J\\n' >&2; kill -9 $$", 74, &["signal: 9", "\\u{1b}[2J", "fix: "]),
    ] {
        let setting = Setting::new(script);
        let words = ["--peer-names", "a", "-t", "1", "-p", "0", "-n", "2", "-r", "1"];
        let ended = setting.run(&words);
        assert_fails(&ended, code, parts);
        assert_eq!(ended.stdout, "", "no row of a run that failed");
    }
}

#[test]
fn a_script_that_hangs_is_ended_with_all_that_it_started() {
    let setting = Setting::new("echo started >&2; sleep 1000 & echo $! > \"$0.pid\"; wait");
    let words = ["--peer-limit", "1", "-t", "1", "-p", "0", "-n", "2", "-r", "1"];
    let ended = setting.run(&words);
    assert_fails(&ended, 74, &["still ran after 1 s", "\n  started", "fix: ", "--peer-limit"]);
    assert_eq!(ended.stdout, "");
    let pid = fs::read_to_string(setting.folder.path("script.pid")).unwrap();
    assert_gone(pid.trim());
}

/// Waits until a process has ended: to be killed and to be gone are two.
fn assert_gone(pid: &str) {
    let start = Instant::now();
    let stat = format!("/proc/{pid}/stat");
    let runs = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    while runs() {
        assert!(start.elapsed() < Duration::from_secs(60), "process {pid} is left");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_cannot_be_compared_is_refused_at_once() {
    let setting = Setting::new(GOOD);
    let small = setting.folder.small();
    let script = ["--peers", &setting.script, "--python", "sh"];
    let drawn = [&["bench", &small, "--random", "1"], &script[..]].concat();
    assert_fails(
        &ended(&drawn),
        2,
        &["--peers: ", "drawn at random", "expected a GGUF file", "fix: "],
    );
    assert_eq!(setting.calls(), [""; 0]);
    let none = setting.folder.path("none.py");
    let words = ["bench", &setting.model, "--peers", &none];
    assert_fails(&ended(&words), 66, &["none.py: no such file", "fix: "]);
    let words = ["bench", &setting.model, "--peers", &setting.folder.path(".")];
    assert_fails(&ended(&words), 66, &["found a directory"]);
    let python = [
        "bench",
        &setting.model,
        "--probe",
        "1",
        "-p",
        "1",
        "-n",
        "0",
        "-r",
        "1",
        "--peers",
        &setting.script,
        "--python",
        &none,
    ];
    assert_fails(&ended(&python), 66, &["cannot start ", "none.py", "fix: ", "--python"]);
    for (flag, value) in [("--peer-names", "a"), ("--python", "sh"), ("--peer-limit", "1")] {
        assert_fails(&ended(&["bench", "m.gguf", flag, value]), 2, &["--peers <SCRIPT>"]);
    }
    for (flag, value) in [("--peer-names", ""), ("--peer-names", "a,"), ("--peer-limit", "0")] {
        assert_fails(&setting.run(&[flag, value]), 2, &[flag]);
    }
    assert_fails(&setting.run(&["--peer-names", "a,a"]), 2, &["--peer-names: found a twice"]);
}

/// Starts a run of endless rounds and interrupts it when its script `is_called` for the second time:
/// the first round is whole then.
fn interrupted(script: &str, is_called: impl Fn(&Setting) -> bool) -> (Ended, Setting) {
    let setting = Setting::new(script);
    let words = ["-t", "1", "-p", "0", "-n", "2", "-r", "10000", "-o", "jsonl"];
    let mut child = deepthin()
        .args(setting.words(&words))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !is_called(&setting) {
        assert!(start.elapsed() < Duration::from_secs(60), "the script is not called");
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    (child.wait_with_output().unwrap().into(), setting)
}

#[test]
fn ctrl_c_ends_between_repetitions_with_what_was_measured() {
    let (ended, _) = interrupted(GOOD, |setting| setting.calls().len() >= 2);
    assert_eq!((ended.code, ended.messages().as_str()), (Some(130), ""), "{ended:?}");
    let rows: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3, "{ended:?}");
    for row in &rows {
        let rounds = row["samples_ts"].as_array().unwrap().len();
        assert!((1..10_000).contains(&rounds), "{row}");
        assert_eq!(row["samples_read_bytes_per_s"].as_array().unwrap().len(), rounds, "{row}");
    }
    assert!(rows[1]["ours_to_peer"].as_f64() > Some(0.0));
}

#[test]
fn ctrl_c_does_not_wait_for_a_script() {
    // The second call never ends by itself.
    let script = format!(
        "{GOOD}\n[ $(wc -l < \"$0.calls\") -lt 2 ] || {{ echo $$ > \"$0.pid\"; exec sleep 1000; }}\n"
    );
    let pid = |setting: &Setting| {
        fs::read_to_string(setting.folder.path("script.pid")).unwrap_or_default()
    };
    let (ended, setting) = interrupted(&script, |setting| pid(setting).ends_with('\n'));
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 3, "{ended:?}");
    assert_gone(pid(&setting).trim());
}
