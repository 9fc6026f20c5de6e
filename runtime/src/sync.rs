//! The primitives of the thread pool: those of std, or under `--cfg loom` those of the model
//! checker, which runs a test in every order that the memory model allows.

#[cfg(not(loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    sync::{Arc, Condvar, Mutex},
    thread::{Builder, JoinHandle, yield_now},
};

#[cfg(loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    sync::{Arc, Condvar, Mutex},
    thread::{Builder, JoinHandle, yield_now},
};
