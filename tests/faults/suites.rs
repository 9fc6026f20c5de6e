//! Builds the suites of the copy, and runs them against one fault.

use deepthin_tests::faults::{Fault, VARIABLE};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Suites that say nothing of what kernels compute, that need the network, or that take long.
const LEFT_OUT: [&str; 13] = [
    "chat::",
    "cli::",
    "corpus::",
    "faults::",
    "gguf::",
    "kernels::emulated::",
    "language::",
    "object::",
    "real_model::",
    "sentence_piece::",
    "text::",
    "tidy::",
    "tokenizer::",
];

/// The suites that are near to an area, which run first, one after the other.
const NEAR: &[(&str, &[&str])] = &[
    ("lowering", &["properties::attention::", "kernels::", "engines::"]),
    ("packing", &["pack::", "engines::"]),
    ("caches", &["properties::attention::", "properties::kv::", "kernels::", "engines::"]),
    ("codes", &["codes::", "quantized::", "pack::", "numerics::", "fir::", "properties::codes::"]),
    ("quantizing", &["quantize::", "generation::"]),
    ("codegen", &["vir::", "kernels::", "codegen::"]),
    ("fusion", &["fir::", "fir_interp::"]),
    ("planning", &["plan::", "engines::"]),
    ("scheduling", &["engines::", "threads::"]),
    ("sampling", &["sampling::"]),
];

/// A run in which no test ends for longer hangs, which is noticed too.
const LIMIT: Duration = Duration::from_secs(300);

/// How a run of the suites ended.
pub(super) enum Verdict {
    /// All tests passed.
    Survived,
    /// This test failed, or the run ended otherwise.
    Noticed(String),
}

/// Builds the copy's suites; the path of the binary.
pub(super) fn build(folder: &Path) -> Result<PathBuf, String> {
    let output = Command::new("cargo")
        .args(["test", "--package", "deepthin-tests", "--test", "suites", "--no-run"])
        .args(["--message-format", "json"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("RUSTFLAGS", "--allow warnings")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("the seeded copy in {} does not build", folder.display()));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "suites")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo built no binary `suites`".to_owned())
}

/// Runs the near suites and then all against one fault.
pub(super) fn judge(binary: &Path, fault: &Fault) -> Result<Verdict, String> {
    let near = NEAR.iter().find(|(area, _)| *area == fault.area).map_or(&[][..], |(_, n)| n);
    for suite in near {
        if let noticed @ Verdict::Noticed(_) = run(binary, Some(fault.name), Some(suite))? {
            return Ok(noticed);
        }
    }
    run(binary, Some(fault.name), None)
}

/// Runs the tests whose names contain `filter`, all where there is none, until the first fails.
pub(super) fn run(
    binary: &Path,
    fault: Option<&str>,
    filter: Option<&str>,
) -> Result<Verdict, String> {
    let mut command = Command::new(binary);
    command.args(filter).stdout(Stdio::piped()).stderr(Stdio::null());
    // What fails by a fault is nothing to be kept, and would be kept among the project's own tests.
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
    for suite in LEFT_OUT {
        command.args(["--skip", suite]);
    }
    match fault {
        Some(name) => command.env(VARIABLE, name),
        None => command.env_remove(VARIABLE),
    };
    let mut child =
        command.spawn().map_err(|e| format!("{}: cannot run it: {e}", binary.display()))?;
    let failed = first_failure(&mut child);
    if failed.is_some() {
        let _ = child.kill(); // it may have ended by itself
    }
    let status = child.wait().map_err(|e| format!("cannot wait for the suites: {e}"))?;
    Ok(match failed {
        Some(test) => Verdict::Noticed(test),
        None if status.success() => Verdict::Survived,
        None => Verdict::Noticed(format!("({status})")),
    })
}

/// The first test that fails, or what happened instead; `None` where the output ends first.
fn first_failure(child: &mut Child) -> Option<String> {
    let output = child.stdout.take()?;
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    loop {
        match lines.recv_timeout(LIMIT) {
            Ok(line) => {
                let test = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED"));
                if let Some(test) = test {
                    return Some(test.to_owned());
                }
            }
            Err(RecvTimeoutError::Timeout) => return Some("(hangs)".to_owned()),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}
