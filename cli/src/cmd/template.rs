//! The prompt of a chat, by the model's own template, which is rendered in a process of its own.
//!
//! A template is a program from the same stranger as the weights. Its steps and its output are
//! limited where it is rendered, but a single step may still double a text, and thirty of them ask
//! for more memory than there is, which ends a process. So it is another one: this program again,
//! by a verb that is not for people, with limits on memory and processor time.

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use deepthin::chat::{self, ChatError, Render, TemplateError, Turn};
use deepthin::codec::{Codec, CodecError};
use deepthin::source::Source;
use deepthin_runtime::tokenizer::Tokenizer;
use rustix::process::{Resource, Rlimit, setrlimit};
use signal_hook::consts::SIGINT;

use crate::args::text::ChatArgs;
use crate::exit::{Exit, Failure};
use crate::output::Stdout;

/// The name of the verb.
pub(crate) const VERB: &str = "render-template";

/// Address space that rendering may take; common templates take some MiB beyond the program's own.
const MEMORY_BYTES: u64 = 256 << 20;

/// Processor time that rendering may take: the steps that it may take end much earlier.
const SECONDS: u64 = 10;

/// The longest request: a template as JSON escapes it, at worst six bytes for one.
const MAX_REQUEST_BYTES: u64 = 8 * chat::MAX_TEMPLATE_BYTES as u64;

/// The chat template of a model, where the command line asks for it.
pub(crate) fn wanted(args: &ChatArgs, source: &Source) -> Result<Option<String>, Failure> {
    if !args.chat {
        return Ok(None);
    }
    let none = || ChatError::NoTemplate { model: source.model.name.clone() };
    Ok(Some(source.chat_template()?.ok_or_else(none)?.to_owned()))
}

/// The ids of a prompt: the text, or under `--chat` a turn of a chat that says it.
pub(crate) fn prompt(
    template: Option<&str>,
    args: &ChatArgs,
    codec: &Codec<'_>,
    tokenizer: Option<&Tokenizer>,
    text: &[u8],
) -> Result<Vec<u32>, Failure> {
    let Some((template, tokenizer)) = template.zip(tokenizer) else {
        return Ok(codec.encode(text)?);
    };
    let user = str::from_utf8(text)
        .map_err(|error| CodecError::NotUtf8 { offset: error.valid_up_to() })?;
    let turn = Turn { system: args.system.as_deref(), user };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let rendered = render_apart(&turn.render(template, tokenizer, now))?;
    Ok(codec.encode_spans(&turn.spans(&rendered)?)?)
}

/// Renders in a process of its own.
fn render_apart(render: &Render) -> Result<String, Failure> {
    let failed = |error: io::Error| {
        Failure::new(Exit::Resource, format!("cannot render the chat template: {error}"))
    };
    if render.template.len() > chat::MAX_TEMPLATE_BYTES {
        return Ok(chat::render(render).map_err(ChatError::from)?); // which says so
    }
    let request = serde_json::to_vec(render)
        .map_err(|error| Failure::new(Exit::Bug, format!("cannot write JSON: {error}")))?;
    let mut child = Command::new(env::current_exe().map_err(failed)?)
        .arg(VERB)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Where this fails the other process has ended, and its status tells why.
        let _ = stdin.write_all(&request);
    }
    let output = child.wait_with_output().map_err(failed)?;
    let answer = serde_json::from_slice::<Result<String, TemplateError>>(&output.stdout);
    match answer {
        Ok(rendered) => Ok(rendered.map_err(ChatError::from)?),
        Err(_) if output.status.signal() == Some(SIGINT) => {
            Err(Failure::new(Exit::Interrupted, "stopped while the chat template was rendered"))
        }
        Err(_) => Err(ChatError::from(limit(output.status)).into()),
    }
}

/// What a process that gave no answer ran into.
fn limit(status: ExitStatus) -> TemplateError {
    TemplateError::Limit(match status.signal() {
        Some(signal_hook::consts::SIGABRT) => {
            format!("takes more than {} MiB of memory", MEMORY_BYTES >> 20)
        }
        Some(signal_hook::consts::SIGXCPU | signal_hook::consts::SIGKILL) => {
            format!("takes more than {SECONDS} seconds of processor time")
        }
        _ => format!("cannot be rendered: the renderer ended with {status}"),
    })
}

/// The verb: a [`Render`] comes in on stdin, what it gives or why it does not goes out on stdout.
pub(crate) fn run() -> Result<Exit, Failure> {
    let limits = [(Resource::As, MEMORY_BYTES), (Resource::Cpu, SECONDS), (Resource::Core, 0)];
    for (resource, limit) in limits {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit).map_err(|error| {
            Failure::new(Exit::Resource, format!("cannot set a limit: {error}"))
        })?;
    }
    let mut request = Vec::new();
    io::stdin()
        .take(MAX_REQUEST_BYTES)
        .read_to_end(&mut request)
        .map_err(|error| Failure::new(Exit::Io, format!("stdin: cannot read: {error}")))?;
    let render: Render = serde_json::from_slice(&request)
        .map_err(|error| Failure::new(Exit::BadData, format!("stdin: no request: {error}")))?;
    Stdout::new().json(&chat::render(&render))?;
    Ok(Exit::Success)
}
