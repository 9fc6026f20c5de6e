//! Packed files through the library: what they say, that they are written whole or not at all, and
//! that their definition is what the product writes and reads.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use deepthin::engine::{self, RunOptions};
use deepthin::fetch::Silent;
use deepthin::packed::{Draft, WriteError, is_own_key};
use deepthin::source::{ModelName, Source, WeightChoice, Weights};
use deepthin_compiler::fir::Role;
use deepthin_compiler::format::Format;
use deepthin_compiler::pack::layout_digest;
use deepthin_compiler::pipeline::{Lowered, lower};
use deepthin_compiler::plan::PlanOptions;
use deepthin_dsl::Model;
use deepthin_dsl::model::TensorStorage;
use deepthin_runtime::gguf::{Array, GgmlType, Gguf, HeaderWriter, Value};
use deepthin_tests::cases::cases;
use deepthin_tests::packed_file::{self, IMAGE, key, sealed};
use deepthin_tests::{gguf_model, models};
use proptest::prelude::*;
use tempfile::TempDir;

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

fn open(path: &Path) -> Source {
    Source::open(&ModelName::Gguf(path.to_path_buf()), &WeightChoice::Own, &mut Silent).unwrap()
}

/// A model file, with its source.
fn file(folder: &TempDir) -> Source {
    let path = folder.path().join("model.gguf");
    fs::write(&path, gguf_model::writer(&gguf_model::model(), 1).build().bytes).unwrap();
    open(&path)
}

fn lowered(source: &Source, context: u32) -> Lowered {
    let options = RunOptions { context: Some(context), ..RunOptions::default() };
    engine::lower_source(source, &options).unwrap()
}

/// Packs a source into the file at `path`, unless `watch` stops it.
fn pack(
    source: Source,
    path: &Path,
    threads: usize,
    watch: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<u64, WriteError> {
    let lowered = lowered(&source, 40);
    let draft = Draft::new(source.metadata(), &source.model, &source.formats, &lowered.plan);
    let Source { model, weights, .. } = source;
    let mut image = engine::image(weights, &model, &lowered, threads, &mut |_, _| GO_ON).unwrap();
    draft.write(path, &mut image, threads, watch)
}

#[test]
fn all_keys_of_the_source_are_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("packed.gguf");
    let written = pack(file(&folder), &path, 2, &mut |_, _| GO_ON).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), written);
    let (source, packed) = (file(&folder), Gguf::open(&path).unwrap());
    let kept: Vec<_> = packed.metadata().iter().filter(|(key, _)| !is_own_key(key)).collect();
    assert_eq!(kept, source.metadata().unwrap().iter().collect::<Vec<_>>());
    assert_eq!(packed.metadata().u32("general.alignment").unwrap(), Some(4096));
    let [tensor] = packed.tensors() else { panic!("{:?}", packed.tensors()) };
    assert_eq!((tensor.name.as_str(), tensor.kind), (IMAGE, GgmlType::I8));
    assert!(tensor.offset.is_multiple_of(4096) && written.is_multiple_of(4096));
    assert_eq!(packed.trailing_bytes(), 0);
}

/// What the tests make by the definition is what the product writes, but for the order of the keys:
/// each value, each tensor, and the bytes of the image.
#[test]
fn files_are_as_they_are_defined() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("packed.gguf");
    pack(file(&folder), &path, 1, &mut |_, _| GO_ON).unwrap();
    let found = Gguf::open(&path).unwrap();
    let defined = sealed(&packed_file::writer(&gguf_model::model(), 1)).open().unwrap();
    // A file's model has no storage of its own, and the digest of the header goes by all of it.
    let differs = [key("model"), key("header_digest")];
    for (key, value) in
        defined.metadata().iter().filter(|(key, _)| !differs.contains(&(*key).to_owned()))
    {
        assert_eq!(found.metadata().get(key), Some(value), "{key}");
    }
    assert_eq!(found.metadata().iter().count(), defined.metadata().iter().count());
    let bytes = |gguf: &Gguf| gguf.read(gguf.tensor(IMAGE).unwrap()).unwrap();
    assert!(bytes(&found) == bytes(&defined));
    let text = found.metadata().str(&key("model")).unwrap().unwrap();
    assert_eq!(text, deepthin_dsl::print(&file(&folder).model));
    let other = folder.path().join("defined.gguf");
    fs::write(&other, sealed(&packed_file::writer(&gguf_model::model(), 1)).bytes).unwrap();
    let (ours, theirs) = (open(&path), open(&other));
    assert_eq!(ours.formats, theirs.formats);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let [one, two, again] = ["one", "two", "again"].map(|name| folder.path().join(name));
    pack(file(&folder), &one, 1, &mut |_, _| GO_ON).unwrap();
    pack(file(&folder), &two, 3, &mut |_, _| GO_ON).unwrap();
    pack(open(&one), &again, 2, &mut |_, _| GO_ON).unwrap();
    let bytes = fs::read(&one).unwrap();
    assert!(bytes == fs::read(two).unwrap(), "threads make no difference");
    assert!(bytes == fs::read(again).unwrap(), "a packed file packs to itself");
}

/// Stopped at any moment, the new file is not there, and the old one is.
#[test]
fn files_are_written_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let (target, path) = (TempDir::new().unwrap(), "packed.gguf");
    let path = target.path().join(path);
    let stop_after = |limit: usize| {
        let (mut told, mut last) = (0, 0);
        let written = pack(file(&folder), &path, 2, &mut |done, total| {
            assert!(last <= done && done <= total, "{last}, {done}, {total}");
            last = done;
            told += 1;
            if told > limit { ControlFlow::Break(()) } else { GO_ON }
        });
        (written, told)
    };
    let (written, told) = stop_after(usize::MAX);
    written.unwrap();
    assert!(told >= 3, "while hashing, while writing, before it is renamed: {told}");
    fs::write(&path, "old").unwrap();
    for limit in 0..told {
        let (written, _) = stop_after(limit);
        assert!(matches!(written, Err(WriteError::Stopped)), "{limit}: {written:?}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1, "nothing else is left");
    }
}

/// A packed file that is packed again is mapped: what is written to it meanwhile, in place, would
/// be in the new file too, or be told by its digest only when that is read.
#[test]
fn what_is_packed_must_not_change_meanwhile() {
    let (folder, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (mapped, path) = (folder.path().join("packed.gguf"), target.path().join("again.gguf"));
    pack(file(&folder), &mapped, 1, &mut |_, _| GO_ON).unwrap();
    let whole = fs::read(&mapped).unwrap();
    let again = |change: &dyn Fn()| {
        fs::write(&mapped, &whole).unwrap();
        let mut is_changed = false;
        pack(open(&mapped), &path, 1, &mut |_, _| {
            if !std::mem::replace(&mut is_changed, true) {
                change();
            }
            GO_ON
        })
    };
    again(&|| ()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    let edit = || {
        let file = fs::File::options().write(true).open(&mapped).unwrap();
        file.write_all_at(&[7; 64], whole.len() as u64 / 2).unwrap();
    };
    let cut = || fs::File::options().write(true).open(&mapped).unwrap().set_len(5000).unwrap();
    for (change, what) in [(&edit as &dyn Fn(), "written to"), (&cut, "5000")] {
        fs::write(&path, "old").unwrap();
        let written = again(change);
        assert!(matches!(written, Err(WriteError::Mapping(_))), "{written:?}");
        assert!(written.unwrap_err().to_string().contains(what), "{what}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1, "nothing else is left");
    }
}

/// Layouts do not depend on what a session is made for, but on every tensor.
#[test]
fn layouts_depend_on_weights_alone() {
    let model = gguf_model::model();
    let formats = deepthin_compiler::fir::Formats::from_storage(&model).unwrap();
    let digest = |model: &Model, options: &PlanOptions| {
        layout_digest(&lower(model, &formats, options).unwrap().plan.image)
    };
    let expected = digest(&model, &PlanOptions::new(4, 64));
    for lanes in [4, 8, 16] {
        for context in [1, 64, 1000] {
            let options = PlanOptions { tiles: vec![1], ..PlanOptions::new(lanes, context) };
            assert_eq!(digest(&model, &options), expected, "{lanes} lanes, context {context}");
        }
    }
    let other = Model { vocab: 301, ..model };
    assert_ne!(digest(&other, &PlanOptions::new(4, 64)), expected);
}

proptest! {
    #![proptest_config(cases(24))]

    /// Any model comes back as it was, with every format that there is.
    #[test]
    fn generated_models_come_back(generated in models::generated(), seed in any::<u64>()) {
        let models::Generated { mut model, mut formats } = generated;
        // Some generated descriptions ask for storage that there is not yet.
        model.storage = gguf_model::model().storage;
        model.storage.blocks = TensorStorage::F32;
        model.storage.embeddings = TensorStorage::F32;
        if model.tied {
            formats.set(None, Role::Output, Format::F32).unwrap(); // of a tensor that is not there
        }
        let (weights, notices) = (Weights::Random(seed), Vec::new());
        let source = Source { model: model.clone(), formats: formats.clone(), weights, notices };
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("packed.gguf");
        pack(source, &path, 2, &mut |_, _| GO_ON).unwrap();
        let back = open(&path);
        prop_assert_eq!((&back.model, &back.formats), (&model, &formats));
        prop_assert!(back.tokenizer().unwrap().is_none(), "drawn weights have no vocabulary");
        let lowered = lowered(&back, 10);
        let Weights::Packed(packed) = &back.weights else { panic!("a packed file") };
        packed.map(&lowered.plan, 2, &mut |_| GO_ON).unwrap();
    }
}

/// Every type of value, written and read again.
#[test]
fn headers_hold_any_value() {
    let texts = || Array::String(["a", "", "熊"].into_iter().collect());
    let values = [
        Value::U8(200),
        Value::I8(-7),
        Value::U16(60_000),
        Value::I16(-30_000),
        Value::U32(4_000_000_000),
        Value::I32(-2_000_000_000),
        Value::F32(-0.0),
        Value::Bool(true),
        Value::String("a\nb".to_owned()),
        Value::U64(u64::MAX),
        Value::I64(i64::MIN),
        Value::F64(1e300),
        Value::Array(Array::U8(vec![1, 2])),
        Value::Array(Array::I8(vec![-1])),
        Value::Array(Array::U16(vec![1, 65_535])),
        Value::Array(Array::I16(vec![-2, 2])),
        Value::Array(Array::U32(vec![7])),
        Value::Array(Array::I32(vec![])),
        Value::Array(Array::F32(vec![1.5, f32::INFINITY])),
        Value::Array(Array::Bool(vec![true, false])),
        Value::Array(texts()),
        Value::Array(Array::U64(vec![u64::MAX])),
        Value::Array(Array::I64(vec![-1])),
        Value::Array(Array::F64(vec![0.1])),
        Value::Array(Array::Array(vec![texts(), Array::U8(vec![]), Array::Array(vec![])])),
    ];
    let mut header = HeaderWriter::new(64);
    for (number, value) in values.iter().enumerate() {
        header.pair(&format!("key.{number}"), value);
    }
    header.tensor("first", GgmlType::I8, 65);
    header.tensor("second", GgmlType::Q8_0, 64);
    let pairs_end = header.pairs_end();
    let mut bytes = header.finish();
    assert!(bytes.len().is_multiple_of(64));
    bytes.extend([1; 128 + 68]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("values.gguf");
    fs::write(&path, bytes).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    let found: Vec<&Value> = gguf.metadata().iter().skip(1).map(|(_, value)| value).collect();
    assert_eq!(found, values.iter().collect::<Vec<_>>());
    assert_eq!(gguf.metadata().u32("general.alignment").unwrap(), Some(64));
    let last = format!("key.{}", values.len() - 1);
    assert!(gguf.metadata().offset(&last).is_some_and(|at| at < pairs_end as u64));
    let places: Vec<_> =
        gguf.tensors().iter().map(|t| (t.name.as_str(), t.kind, t.byte_len())).collect();
    assert_eq!(places, [("first", GgmlType::I8, 65), ("second", GgmlType::Q8_0, 68)]);
    assert_eq!(gguf.tensors()[1].offset - gguf.tensors()[0].offset, 128);
}
