//! Kernels as a program of another machine: an object file linked with a driver in C, run by an
//! emulator, a board, or this machine itself.
//!
//! A [`Machine`] is a [`KernelEngine`]: for a list of kernels it emits one object, links it with
//! `driver.c`, and starts one process that answers every call of theirs. The driver checks what
//! the calling side cannot see: guard pages and poison around each buffer, pages that must not be
//! written, the floating-point environment.
#![allow(
    unsafe_code,
    reason = "a kernel is called through pointers; its buffers go to the process and come back"
)]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::slice;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use deepthin::verify::machine::KernelEngine;
use deepthin_compiler::codegen::clif::Clif;
use deepthin_compiler::codegen::object::{object, symbol};
use deepthin_compiler::codegen::target::{Isa, Target};
use deepthin_compiler::codegen::{Backend as _, CodegenError};
use deepthin_compiler::pipeline::emit_on;
use deepthin_compiler::vir::{Access, Verified};
use deepthin_runtime::abi::KernelCode;
use tempfile::TempDir;

use crate::c_tools;

/// A machine that kernels are compiled for, and what links and runs programs for it.
pub struct Machine {
    clif: Clif,
    name: String,
    compiler: String,
    /// The words before the program's path; none where it runs by itself.
    runner: Vec<String>,
    folder: TempDir,
    /// The driver's object file.
    driver: OnceLock<PathBuf>,
}

/// Processors of aarch64, each with one that the emulator knows and that has no more.
const PROCESSORS: [(&str, &str); 3] =
    [("armv8-a", "cortex-a53"), ("armv8.2-a+dotprod", "neoverse-n1"), ("armv8.6-a+i8mm", "max")];

/// The C compiler for aarch64, unless `DEEPTHIN_AARCH64_CC` names one.
const AARCH64_CC: &str = "aarch64-linux-gnu-gcc";
/// The emulator, unless `DEEPTHIN_AARCH64_RUN` names words that run a program.
const EMULATOR: &str = "qemu-aarch64-static";

impl Machine {
    /// This machine with its least processor, as a process of its own; `None` where tools are
    /// missing.
    ///
    /// # Panics
    /// On a machine that there are no kernels for; where tools are missing and `CI=true`.
    pub fn host() -> Option<Machine> {
        let target = Target::named(None, None).expect("a machine with kernels");
        Machine::new(target, c_tools::CC.to_owned(), Vec::new())
    }

    /// aarch64 with no dot products, with some and with all of them, as the emulator has them, or
    /// as the words of `DEEPTHIN_AARCH64_RUN` run them; made once. None where tools are missing,
    /// only those that `DEEPTHIN_AARCH64_CPUS` lists where it is set.
    ///
    /// # Panics
    /// Where tools are missing and `CI=true`.
    pub fn aarch64() -> &'static [Machine] {
        static MACHINES: OnceLock<Vec<Machine>> = OnceLock::new();
        let chosen = |name: &str| env::var(name).ok();
        let make = |(cpu, emulated): (&str, &str)| {
            let target = Target::of(Isa::Aarch64, Some(cpu)).expect("a processor of aarch64");
            let compiler = chosen("DEEPTHIN_AARCH64_CC").unwrap_or_else(|| AARCH64_CC.to_owned());
            let runner = match chosen("DEEPTHIN_AARCH64_RUN") {
                Some(words) => words.split_whitespace().map(str::to_owned).collect(),
                None => [EMULATOR, "-cpu", emulated].map(str::to_owned).to_vec(),
            };
            Machine::new(target, compiler, runner)
        };
        let listed = chosen("DEEPTHIN_AARCH64_CPUS");
        let is_listed = |(cpu, _): &(&str, &str)| {
            listed.as_ref().is_none_or(|list| list.split(',').any(|name| name == *cpu))
        };
        MACHINES.get_or_init(|| PROCESSORS.into_iter().filter(is_listed).map_while(make).collect())
    }

    fn new(target: Target, compiler: String, runner: Vec<String>) -> Option<Machine> {
        let mut tools = vec![compiler.as_str()];
        tools.extend(runner.first().map(String::as_str));
        if !c_tools::have(&tools) {
            return None;
        }
        let clif = Clif::new(&target).expect("a back end for every target");
        let folder = TempDir::new().expect("a directory for temporary files");
        let name = format!("{target} in a process");
        Some(Machine { clif, name, compiler, runner, folder, driver: OnceLock::new() })
    }

    /// The driver, compiled for this machine.
    fn driver(&self) -> &Path {
        self.driver.get_or_init(|| {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/emulated/driver.c");
            let object = self.folder.path().join("driver.o");
            let words = ["-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", "-c", "-o"];
            c_tools::run(Command::new(&self.compiler).args(words).arg(&object).arg(source));
            object
        })
    }

    /// Links kernels, by their object file and the names of their symbols, with the driver.
    fn link(&self, kernels: &[u8], symbols: &[String]) -> (TempDir, PathBuf) {
        let folder = TempDir::new_in(self.folder.path()).expect("a directory of its own");
        let [object, table, program] =
            ["kernels.o", "table.c", "program"].map(|name| folder.path().join(name));
        fs::write(&object, kernels).expect("a file that can be written");
        fs::write(&table, self::table(symbols)).expect("a file that can be written");
        let mut command = Command::new(&self.compiler);
        command.arg("-static").arg(self.driver()).args([&object, &table]);
        c_tools::run(command.arg("-o").arg(&program));
        (folder, program)
    }

    /// Starts a program.
    fn start(&self, program: &Path, folder: TempDir) -> Process {
        let mut words = self.runner.iter().map(String::as_str);
        let mut command = match words.next() {
            Some(runner) => Command::new(runner),
            None => Command::new(program),
        };
        if !self.runner.is_empty() {
            command.args(words).arg(program);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let pipes = stdin.zip(stdout).expect("both ends are pipes");
        Process { machine: self.name.clone(), child, pipes: Some(pipes), _folder: folder }
    }
}

impl KernelEngine for Machine {
    fn name(&self) -> &str {
        &self.name
    }

    fn lanes(&self) -> u32 {
        self.clif.lanes()
    }

    fn code(&self, kernels: &[Verified]) -> Result<Vec<Arc<dyn KernelCode>>, CodegenError> {
        self.code_believed_to_be(kernels, kernels)
    }
}

impl Machine {
    /// Code of `kernels` that is called as if it were that of `believed`: what a faulty kernel
    /// would be, to test the driver with.
    ///
    /// # Errors
    /// A kernel that the back end refuses.
    ///
    /// # Panics
    /// Where the kernels cannot be linked or the program not started.
    pub fn code_believed_to_be(
        &self,
        kernels: &[Verified],
        believed: &[Verified],
    ) -> Result<Vec<Arc<dyn KernelCode>>, CodegenError> {
        let mut codes = emit_on(&self.clif, kernels, 2)?;
        for (number, code) in codes.iter_mut().enumerate() {
            code.name = format!("k{number}"); // for kernels of one name
        }
        let file = object(&self.clif, "test", &codes)?;
        let symbols: Vec<String> = codes.iter().map(|code| symbol("test", &code.name)).collect();
        let (folder, program) = self.link(&file, &symbols);
        let process = Arc::new(Mutex::new(self.start(&program, folder)));
        let kernel = |(number, kernel): (usize, &Verified)| {
            let (process, kernel) = (Arc::clone(&process), kernel.clone());
            let number = u32::try_from(number).expect("a short list of kernels");
            Arc::new(EmulatedKernel { process, number, kernel }) as Arc<dyn KernelCode>
        };
        Ok(believed.iter().enumerate().map(kernel).collect())
    }
}

/// The C source of the table that the driver calls kernels by.
fn table(symbols: &[String]) -> String {
    let mut text =
        "#include <stdint.h>\ntypedef void kernel(uint8_t *const *, const int64_t *);\n".to_owned();
    for symbol in symbols {
        let _ = writeln!(text, "kernel {symbol};");
    }
    let names = symbols.join(",\n    ");
    let count = symbols.len();
    let _ = writeln!(text, "const uint32_t kernel_count = {count};");
    let _ = writeln!(text, "kernel *const kernels[] = {{\n    {names}\n}};");
    text
}

/// A running driver.
struct Process {
    machine: String,
    child: Child,
    /// `None` once it is told to end.
    pipes: Option<(ChildStdin, ChildStdout)>,
    _folder: TempDir,
}

impl Process {
    /// Sends a call and receives the buffers that it may write, or what went wrong.
    fn call(&mut self, call: &[u8], written: &mut [Vec<u8>]) -> io::Result<Option<String>> {
        let (stdin, stdout) = self.pipes.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(call)?;
        stdin.flush()?;
        let mut length = [0; 4];
        stdout.read_exact(&mut length)?;
        let mut wrong = vec![0; u32::from_le_bytes(length) as usize];
        stdout.read_exact(&mut wrong)?;
        if !wrong.is_empty() {
            return Ok(Some(String::from_utf8_lossy(&wrong).into_owned()));
        }
        for buffer in written {
            stdout.read_exact(buffer)?;
        }
        Ok(None)
    }

    /// How a process that does not answer ended, and its last words.
    fn ended(&mut self) -> String {
        self.pipes = None;
        let mut told = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_string(&mut told);
        }
        match self.child.wait() {
            Ok(status) => format!("{status}\n{told}"),
            Err(error) => format!("{error}\n{told}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input ends the driver.
        self.pipes = None;
        let _ = self.child.wait();
    }
}

/// A kernel in another process.
struct EmulatedKernel {
    process: Arc<Mutex<Process>>,
    number: u32,
    kernel: Verified,
}

impl KernelCode for EmulatedKernel {
    unsafe fn call(&self, buffers: &[*mut u8], scalars: &[i64]) {
        assert_eq!(buffers.len(), self.kernel.buffers.len(), "a pointer for each buffer");
        // Calls of all kernels of a process take turns: each writes whole buffers back, those
        // parts too that belong to the share of another thread.
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let both = || buffers.iter().zip(self.kernel.buffers.values());
        let given = both().map(|(pointer, buffer)| {
            // SAFETY: the caller gives each buffer's declared bytes, and between its barriers
            // nothing but kernels of this process writes them.
            unsafe { slice::from_raw_parts(*pointer, buffer.bytes as usize) }
        });
        let given = given.collect::<Vec<_>>().concat();
        let [behind, before] = [1, 0].map(|back| self.run(&mut process, back, &given, scalars));
        let kernel = &self.kernel.name;
        assert!(behind == before, "{kernel}, scalars {scalars:?}: results depend on the place");
        let written = both().filter(|(_, buffer)| buffer.access != Access::Read);
        for ((pointer, _), found) in written.zip(&behind) {
            // SAFETY: the caller lets the kernel write this buffer's declared bytes.
            unsafe { slice::from_raw_parts_mut(*pointer, found.len()) }.copy_from_slice(found);
        }
    }
}

impl EmulatedKernel {
    /// The bytes of all written buffers after a call with the bytes `given` of all buffers.
    fn run(&self, process: &mut Process, back: u32, given: &[u8], scalars: &[i64]) -> Vec<Vec<u8>> {
        let written = self.kernel.buffers.values().filter(|buffer| buffer.access != Access::Read);
        let mut found: Vec<Vec<u8>> =
            written.map(|buffer| vec![0; buffer.bytes as usize]).collect();
        let mut call = head(self.number, back, &self.kernel, scalars);
        call.extend_from_slice(given);
        let (machine, kernel) = (process.machine.clone(), &self.kernel.name);
        match process.call(&call, &mut found) {
            Ok(None) => found,
            Ok(Some(wrong)) => panic!("{machine}: {kernel}, scalars {scalars:?}: {wrong}"),
            Err(error) => {
                let ended = process.ended();
                panic!("{machine}: {kernel}, scalars {scalars:?}: {error}; {ended}")
            }
        }
    }
}

/// A call up to its buffers' bytes, as `driver.c` reads it.
fn head(number: u32, back: u32, kernel: &Verified, scalars: &[i64]) -> Vec<u8> {
    let count = |n: usize| u32::try_from(n).expect("few parameters");
    let mut head = Vec::new();
    for word in [number, back, count(kernel.buffers.len()), count(scalars.len())] {
        head.extend(word.to_le_bytes());
    }
    for buffer in kernel.buffers.values() {
        head.extend(buffer.bytes.to_le_bytes());
        head.extend(u32::from(buffer.access != Access::Read).to_le_bytes());
    }
    for scalar in scalars {
        head.extend(scalar.to_le_bytes());
    }
    head
}
