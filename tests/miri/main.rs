//! What Miri runs: everything unsafe but the call of machine code, up to a whole tiny model.
//!
//! `MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p deepthin-tests --test miri`
//! interprets these tests and refuses undefined behavior: accesses outside of memory or of a
//! borrow, data races between the threads of a pool, values that are none. Files are small and
//! loops short, since it is thousands of times slower than machine code; as ordinary tests they
//! take no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use deepthin_compiler::fir::Formats;
use deepthin_compiler::format::Format;
use deepthin_compiler::interp::fir::FirInterp;
use deepthin_compiler::interp::kernel_code::interpreted;
use deepthin_compiler::pipeline::{constants, lower, program};
use deepthin_compiler::plan::PlanOptions;
use deepthin_compiler::weights::RandomWeights;
use deepthin_dsl::Model;
use deepthin_dsl::model::{Block, Sharing};
use deepthin_runtime::memory::Region;
use deepthin_runtime::sampler::{Sampler, SamplerSettings};
use deepthin_runtime::session::Session;
use deepthin_runtime::text::Utf8Stream;
use deepthin_runtime::threads::{Pool, Worker};
use deepthin_runtime::tokenizer::Tokenizer;
use deepthin_tests::{gguf_model, graphs};

#[test]
fn regions_hold_what_is_written() {
    let mut region = Region::new("a test", 100).unwrap();
    assert!(region.bytes_mut().iter().all(|byte| *byte == 0));
    region.bytes_mut()[4..8].copy_from_slice(&1.5_f32.to_le_bytes());
    assert_eq!(region.floats(4, 2), Some(&[1.5, 0.0][..]));
    let end = region.len() as u64;
    assert_eq!(region.floats(end - 4, 1), Some(&[0.0][..]));
    for (offset, count) in [(end - 4, 2), (2, 1), (end, 1), (u64::MAX - 3, 1)] {
        assert_eq!(region.floats(offset, count), None);
    }
}

/// Jobs borrow from the caller, write what others read behind a barrier, and end with the run.
#[test]
fn pools_run_borrowed_jobs() {
    for threads in 1..=3 {
        let mut pool = Pool::new(threads).unwrap();
        for round in 1..=3 {
            let slots: Vec<AtomicU32> = (0..threads).map(|_| AtomicU32::new(0)).collect();
            pool.run(&|worker: &Worker<'_>| {
                slots[worker.thread].store(round, Ordering::Relaxed);
                worker.barrier();
                assert!(slots.iter().all(|slot| slot.load(Ordering::Relaxed) == round));
            });
        }
    }
}

/// A block and its head: a token and the one that is chosen after it, on two threads that share
/// all memory, to the bit what the FIR interpreter says.
#[test]
fn a_tiny_model_generates_on_interpreted_kernels() {
    let tiny = graphs::tiny();
    let block = Block { heads: 1, kv_heads: 1, head_dim: 2, ffn_hidden: 3, ..tiny.block };
    let model = Model { vocab: 5, width: 2, depth: 1, block, sharing: Sharing::None, ..tiny };
    let formats = Formats::uniform(1, Format::F32, Format::F32);
    let options = PlanOptions { tiles: vec![1], ..PlanOptions::new(4, 2) };
    let lowered = lower(&model, &formats, &options).unwrap();
    let weights = RandomWeights::new(&lowered.plain, 1);
    let program = program(&lowered, interpreted(&lowered.kernels));
    let constants = constants(&lowered.plan, &weights, 2).unwrap();
    let mut session = Session::new(Arc::new(program), Arc::new(constants), 2).unwrap();
    let mut sampler = Sampler::new(SamplerSettings::GREEDY).unwrap();
    let mut interp = FirInterp::new(&lowered.plain, &weights).unwrap();
    let mut token = 3;
    for _ in 0..2 {
        let found = session.feed(&[token]).unwrap();
        let expected = interp.step(&[token]).unwrap().pop().unwrap();
        assert_eq!(*found, *expected);
        token = sampler.sample(found).unwrap();
    }
}

/// A model file from its header to text and back: no unsafe code is left there, and none came in.
#[test]
fn files_give_tensors_and_a_tokenizer() {
    let tiny = graphs::tiny();
    let model = Model { vocab: 260, width: 32, depth: 1, sharing: Sharing::None, ..tiny };
    let gguf = gguf_model::writer(&model, 3).open().unwrap();
    for tensor in gguf.tensors().iter().filter(|tensor| tensor.byte_len() < 3000) {
        assert_eq!(gguf.read(tensor).unwrap().len() as u64, tensor.byte_len());
    }
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let text = "Bär, 熊\n";
    let ids = tokenizer.encode(text, false).unwrap();
    let mut stream = Utf8Stream::new();
    let shown: String =
        ids.iter().map(|id| stream.push(&tokenizer.decode(&[*id], true).unwrap())).collect();
    assert_eq!(shown, text);
}
