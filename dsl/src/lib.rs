//! The description language: `.thin` text to a checked [`Model`].
//!
//! ```
//! let text = "
//! // Thirty thin blocks, each applied twice in a row.
//! model small {
//!     vocab    32_000
//!     context  2_048
//!     width    576
//!     depth    30
//!
//!     block {
//!         norm       rms(eps: 1e-5)
//!         attention  gqa(heads: 9, kv_heads: 3)
//!         position   rope(theta: 10_000)
//!         ffn        swiglu(hidden: 1_536)
//!     }
//!
//!     embeddings  tied
//!     sharing     immediate(2)
//!
//!     storage {
//!         blocks       q4(group: 32)
//!         embeddings   q8(group: 32)
//!         kv_cache     f16
//!         activations  q8
//!     }
//! }
//!
//! model small_once = small { sharing none }
//! ";
//! let models = deepthin_dsl::parse(text, "small.thin").expect("a valid description");
//! assert_eq!(models[0].block.head_dim, 64);
//! assert_eq!(models[0].schedule().len(), 60);
//! assert_eq!(models[1].parameters().stored, 124_635_456);
//!
//! let canonical = deepthin_dsl::print(&models[0]);
//! assert_eq!(deepthin_dsl::parse(&canonical, "small.thin").as_deref(), Ok(&models[..1]));
//! ```
//!
//! Text goes through four stages, each of which sees only sound output of the one before: bytes
//! are scanned (`scan`: size, encoding, characters, nesting), parsed by a pest grammar to an
//! [`ast`] (`parser`: all syntax errors), checked (`check`: all errors of meaning) and held as a
//! [`Model`], the only type that the compiler sees. [`print()`] is the way back; [`format()`] lays
//! a text out anew, comments and all. Both leave the layout to `layout`.
//! The language itself is defined in `specs/language.md`.

pub mod ast;
mod check;
mod diagnostic;
mod format;
mod layout;
pub mod model;
mod number;
mod parser;
mod print;
mod scan;
mod source;
mod suggest;

pub use ast::Ast;
pub use check::{MAX_PARAMETERS, SMALLEST};
pub use diagnostic::{Code, Diagnostic, Span};
pub use model::Model;
pub use print::print;
pub use scan::{MAX_NESTING, MAX_SOURCE_BYTES, MAX_WORDS};
pub use suggest::nearest_name;

use source::Source;

/// The models of a description, in the order of the file. `file` is the name that diagnostics
/// show.
///
/// # Errors
/// All diagnostics of the file, in the order of the text: wrong characters; else syntax errors (at
/// most 10), with what is not there yet; else errors of meaning (at most 100). Never empty.
pub fn parse(source: &str, file: &str) -> Result<Vec<Model>, Vec<Diagnostic>> {
    let (ast, mut problems) = read(source, file)?;
    if !problems.iter().any(|problem| problem.code == Code::Syntax) {
        // A file of nothing but later features is not told that it has no model.
        if problems.is_empty() || !ast.models.is_empty() {
            let (models, wrong) = check::check(&ast);
            problems.extend(wrong);
            if problems.is_empty() {
                return Ok(models);
            }
        }
    }
    Err(ast.source.diagnose(problems))
}

/// [`parse`] of a file's bytes, which need not be text. A caller that reads a file need not read
/// more than [`MAX_SOURCE_BYTES`] and one byte of it.
///
/// # Errors
/// As [`parse`]; one diagnostic where the bytes are too many or not UTF-8.
pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Vec<Model>, Vec<Diagnostic>> {
    let text = scan::decode(bytes, file)?;
    parse(text, file)
}

/// A description in canonical form: the same models, the same comments in the same order, laid
/// out as `specs/language.md` says. What a description means is not looked at, and a canonical
/// description comes back as it is. Lines end with a line feed.
///
/// # Errors
/// Wrong characters, syntax errors, parts of the language that are not there yet, and a canonical
/// form of more than [`MAX_SOURCE_BYTES`].
pub fn format(source: &str, file: &str) -> Result<String, Vec<Diagnostic>> {
    let ast = parse_ast(source, file)?;
    let text = format::format(&ast).map_err(|problems| ast.source.diagnose(problems))?;
    scan::check_size(text.len(), file)?;
    Ok(text)
}

/// [`format()`] of a file's bytes, as [`parse_bytes`] takes them.
///
/// # Errors
/// As [`format()`]; one diagnostic where the bytes are too many or not UTF-8.
pub fn format_bytes(bytes: &[u8], file: &str) -> Result<String, Vec<Diagnostic>> {
    format(scan::decode(bytes, file)?, file)
}

/// The description as written, for `dump --stage ast`: print it by its `Display`.
///
/// # Errors
/// Wrong characters, syntax errors, and parts of the language that are not there yet.
pub fn parse_ast<'s>(source: &'s str, file: &'s str) -> Result<Ast<'s>, Vec<Diagnostic>> {
    let (ast, problems) = read(source, file)?;
    if problems.is_empty() { Ok(ast) } else { Err(ast.source.diagnose(problems)) }
}

/// Scans and parses.
fn read<'s>(
    text: &'s str,
    file: &'s str,
) -> Result<(Ast<'s>, Vec<diagnostic::Problem>), Vec<Diagnostic>> {
    scan::check_size(text.len(), file)?;
    let source = Source::new(text, file);
    let problems = scan::scan(&source);
    if problems.is_empty() { Ok(parser::parse(source)) } else { Err(source.diagnose(problems)) }
}
