//! Any bytes as a GGUF file: an error that can be shown, or tensors that lie in it and a model,
//! weights and a tokenizer that can be had or are refused.

use std::ops::ControlFlow;
use std::path::Path;

use deepthin::fetch::Silent;
use deepthin::import::Imported;
use deepthin::source::{ModelName, Source, WeightChoice, Weights};
use deepthin_compiler::fir::Role;
use deepthin_compiler::pipeline::Lowered;
use deepthin_compiler::weights::WeightSource;
use deepthin_runtime::gguf::Gguf;

use super::{assert_printable, compile, file};

/// Checks the answer to bytes as a GGUF file.
///
/// # Panics
/// If a promise of the reader is broken.
pub fn gguf(data: &[u8]) {
    let file = file(data);
    match Gguf::open(file.path()) {
        Ok(gguf) => check_file(&gguf, data),
        Err(error) => assert_printable(&error.to_string()),
    }
    check_import(file.path());
    match Source::open(&ModelName::Gguf(file.path().into()), &WeightChoice::Own, &mut Silent) {
        Ok(source) => check_source(source),
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// Every tensor has the bytes that it says, after those of the tensor before it.
fn check_file(gguf: &Gguf, data: &[u8]) {
    assert_eq!(gguf.file_len(), data.len() as u64);
    let mut end = 0;
    for tensor in gguf.tensors() {
        assert!(tensor.offset >= end, "`{}` overlaps another tensor", tensor.name);
        end = tensor.offset.checked_add(tensor.byte_len()).expect("a tensor's end");
        assert!(end <= gguf.file_len(), "`{}` passes the end of the file", tensor.name);
        let start = usize::try_from(tensor.offset).expect("an offset in the file");
        let bytes = gguf.read(tensor).expect("a file that nobody changes");
        assert_eq!(Some(&*bytes), data.get(start..start + bytes.len()), "`{}`", tensor.name);
        assert_eq!(bytes.len() as u64, tensor.byte_len(), "`{}`", tensor.name);
        assert_eq!(gguf.tensor(&tensor.name), Some(tensor), "a name for each tensor");
        assert!(tensor.columns().checked_mul(tensor.rows()).is_some_and(|elements| elements > 0));
        if let Err(error) = gguf.check_supported(tensor) {
            assert_printable(&error.to_string());
        }
    }
    assert!(gguf.trailing_bytes() <= gguf.file_len() - end, "more than what is behind the last");
    for (key, value) in gguf.metadata().iter() {
        // Some values are NaN, so that they equal nothing.
        assert!(gguf.metadata().get(key).is_some_and(|same| std::ptr::eq(same, value)));
        assert!(value.to_string().len() <= 4096, "a value shows at a length that can be read");
    }
}

/// What is imported is a description of the same model.
fn check_import(path: &Path) {
    match Imported::read(path) {
        Ok(imported) => {
            let text = imported.text();
            let again = deepthin_dsl::parse(&text, "import.thin");
            assert_eq!(again.as_deref(), Ok(std::slice::from_ref(&imported.model)), "{text}");
        }
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// A packed file that was accepted has a model and formats that compile if it is small; its image is
/// what the plan of these asks for, or there is a reason why not.
fn check_packed(source: &Source) {
    let Weights::Packed(packed) = &source.weights else { panic!("a packed file") };
    if let Some(Lowered { plan, .. }) = compile(&source.model, &source.formats) {
        match packed.map(&plan, 1, &mut |_| ControlFlow::Continue(())) {
            Ok(image) => assert_eq!(image.len() as u64, plan.regions.image),
            Err(error) => assert_printable(&error.to_string()),
        }
    }
    if let Err(error) = source.tokenizer() {
        assert_printable(&error.to_string());
    }
}

/// A model that was accepted has all its weights, compiles if it is small, and has a tokenizer or
/// a reason why not.
fn check_source(source: Source) {
    let model = &source.model;
    let weights = match &source.weights {
        Weights::Gguf(weights) => weights,
        Weights::Packed(_) => return check_packed(&source),
        Weights::None | Weights::Random(_) => panic!("weights of a file"),
    };
    let whole = [Role::TokenEmbedding, Role::OutputNorm].map(|role| (None, role));
    let blocks = (0..model.depth).flat_map(|block| {
        Role::ALL.into_iter().filter(|role| role.in_block()).map(move |role| (Some(block), role))
    });
    for (block, role) in blocks.chain(whole) {
        let tensor = weights.tensor(block, role).unwrap_or_else(|| panic!("no {block:?} {role}"));
        assert_eq!(Some(tensor.bytes.len()), tensor.expected_bytes(), "{block:?} {role}");
        assert_eq!(Some(tensor.format), source.formats.get(block, role), "{block:?} {role}");
    }
    compile(model, &source.formats);
    match source.tokenizer() {
        Ok(Some(tokenizer)) => assert_eq!(tokenizer.vocab_len(), model.vocab as usize),
        Ok(None) => panic!("a file is asked for its tokenizer"),
        Err(error) => assert_printable(&error.to_string()),
    }
    let Weights::Gguf(weights) = source.weights else { panic!("weights of a file") };
    weights.finish().expect("a file that nobody changes");
}
