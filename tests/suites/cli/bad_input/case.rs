//! A bad input as a value: the files and the command line that make it, and the answer it must get.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use deepthin_tests::alone;
use deepthin_tests::child::{Measured, measure};
use deepthin_tests::program::deepthin;

use crate::cli::Folder;

/// Most CPU time of an answer, user and system, of all threads. Wall-clock time would measure the
/// other programs of the machine as well.
const CPU: Duration = Duration::from_secs(1);

/// Most memory of an answer beyond that of `deepthin --version`.
const MEMORY: u64 = 64 << 20;

/// Traces of a program that broke off in place of answering.
const BREAKDOWNS: [&str; 5] =
    ["panicked", "internal bug", "overflowed its stack", "memory allocation", "core dumped"];

/// Makes something in the folder of a case.
type Setup = Box<dyn Fn(&Folder)>;

/// One bad input.
pub(super) struct Case {
    /// What is bad about it.
    pub(super) name: String,
    /// The rows of the catalog that it stands for.
    pub(super) rows: Vec<u32>,
    /// The faults of other programs' past that it repeats.
    pub(super) history: Vec<u32>,
    setup: Vec<Setup>,
    words: Vec<String>,
    script: Option<String>,
    code: i32,
    parts: Vec<String>,
    stdout: Option<String>,
}

impl Case {
    pub(super) fn new(name: impl Into<String>, rows: &[u32]) -> Case {
        Case {
            name: name.into(),
            rows: rows.to_vec(),
            history: Vec::new(),
            setup: Vec::new(),
            words: Vec::new(),
            script: None,
            code: 0,
            parts: Vec::new(),
            stdout: None,
        }
    }

    /// The numbers of past faults that this input repeats.
    pub(super) fn history(mut self, numbers: &[u32]) -> Case {
        self.history.extend(numbers);
        self
    }

    /// A file of the case's folder, made when the case runs.
    pub(super) fn file<B: AsRef<[u8]>>(
        self,
        name: &'static str,
        content: impl Fn() -> B + 'static,
    ) -> Case {
        self.setup(move |folder| drop(folder.file(name, content())))
    }

    /// What else the case needs in its folder.
    pub(super) fn setup(mut self, setup: impl Fn(&Folder) + 'static) -> Case {
        self.setup.push(Box::new(setup));
        self
    }

    /// Words of the command line; `@NAME` is the path of a file of the folder.
    pub(super) fn line(mut self, words: &str) -> Case {
        self.words.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    /// One more word, spaces and all.
    pub(super) fn word(mut self, word: impl Into<String>) -> Case {
        self.words.push(word.into());
        self
    }

    /// Runs the program by a shell script, in which `"$@"` is the program with its words.
    pub(super) fn script(mut self, script: impl Into<String>) -> Case {
        self.script = Some(script.into());
        self
    }

    /// The input is refused: the exit code, and what the message says of it. Nothing may be
    /// written to stdout.
    pub(super) fn fails<P: Into<String>>(
        self,
        code: i32,
        parts: impl IntoIterator<Item = P>,
    ) -> Case {
        let case = Case { code, stdout: Some(String::new()), ..self };
        case.says(parts)
    }

    /// More that stderr says.
    pub(super) fn says<P: Into<String>>(mut self, parts: impl IntoIterator<Item = P>) -> Case {
        self.parts.extend(parts.into_iter().map(Into::into));
        self
    }

    /// All that is written to stdout.
    pub(super) fn prints(self, stdout: impl Into<String>) -> Case {
        Case { stdout: Some(stdout.into()), ..self }
    }

    fn run(&self) -> Measured {
        let folder = Folder::new();
        self.setup.iter().for_each(|setup| setup(&folder));
        let words = self.words.iter().map(|word| match word.strip_prefix('@') {
            Some(name) => folder.path(name),
            None => word.clone(),
        });
        let program = deepthin();
        let mut command = match &self.script {
            None => program,
            Some(script) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", script, "sh"]).arg(program.get_program());
                shell
            }
        };
        command.args(words).current_dir(folder.path("."));
        command.env("DEEPTHIN_CACHE", folder.path("cache")).env_remove("RUST_BACKTRACE");
        measure(&mut command)
    }

    /// Everything that is wrong with the answer.
    fn faults(&self, empty: u64) -> Vec<String> {
        let Measured { ended, signal, cpu, peak } = self.run();
        let mut faults = Vec::new();
        let mut check = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        check(
            ended.code == Some(self.code),
            format!("exit code {:?}, signal {signal:?}, expected {}", ended.code, self.code),
        );
        for part in &self.parts {
            check(ended.stderr.contains(part), format!("no `{part}`"));
        }
        for breakdown in BREAKDOWNS {
            check(!ended.stderr.contains(breakdown), format!("`{breakdown}`"));
        }
        let steers = |c: char| c.is_control() && !['\n', '\t'].contains(&c);
        check(!ended.stderr.contains(steers), "a control character on stderr".to_owned());
        if self.code != 0 {
            let is_error = |line: &str| line.starts_with("deepthin: error");
            check(ended.stderr.lines().any(is_error), "no line `deepthin: error`".to_owned());
            let is_advice = |line: &str| line.starts_with("fix: ") || line.starts_with("help: ");
            check(ended.stderr.lines().any(is_advice), "no advice".to_owned());
        }
        if let Some(stdout) = &self.stdout {
            let found: String = ended.stdout.chars().take(200).collect();
            check(ended.stdout == *stdout, format!("stdout is {found:?}"));
        }
        check(cpu <= CPU, format!("{cpu:?} of CPU time"));
        let more = peak.saturating_sub(empty);
        check(more <= MEMORY, format!("{} MiB of memory", more >> 20));
        if !faults.is_empty() {
            let stderr: String = ended.stderr.chars().take(1200).collect();
            faults.push(format!("stderr:\n{stderr}"));
        }
        faults
    }
}

/// Runs the cases of a group, in a process of its own: the peak of a child is never less than that
/// of its parent, and other tests use much memory. `test` is the path of the test that calls this.
#[track_caller]
pub(super) fn check_all(test: &str, cases: &[Case]) {
    if alone::role().is_none() {
        let ended = alone::run(test, "bad input");
        let told = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{told}{}", String::from_utf8_lossy(&ended.stderr));
        assert!(told.contains("1 passed"), "no test `{test}`");
        return;
    }
    let empty = measure(deepthin().arg("--version")).peak;
    let mut failed = Vec::new();
    for case in cases {
        let faults = case.faults(empty);
        if !faults.is_empty() {
            failed.push(format!("{} (rows {:?}): {}", case.name, case.rows, faults.join("; ")));
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n\n"));
}

/// Makes a file of that length without any bytes on disk.
pub(super) fn sparse(folder: &Folder, name: &str, start: &[u8], len: u64) {
    let path = folder.file(name, start);
    std::fs::File::options().write(true).open(Path::new(&path)).unwrap().set_len(len).unwrap();
}
