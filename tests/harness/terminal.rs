//! Runs the program on a terminal: a pseudo-terminal of which the test is the other side.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::program::Ended;

/// Runs the command to its end with stdout on a terminal. stderr stays a pipe, so that the two can
/// be told apart. Line ends are as the program wrote them.
///
/// # Panics
/// If there are no pseudo-terminals, or the command cannot be started.
pub fn run(command: &mut Command) -> Ended {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
    grantpt(&controller).expect("the terminal is ours");
    unlockpt(&controller).expect("it can be opened");
    let name = ptsname(&controller, Vec::new()).expect("it has a name");
    let name = name.into_string().expect("names of terminals are ASCII");
    let terminal = OpenOptions::new().read(true).write(true).open(name).expect("it opens");
    let mut child = command
        .stdout(Stdio::from(terminal))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    // The other end closes with the program only if nobody else holds it.
    command.stdout(Stdio::null());
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let mut controller = File::from(controller);
    // Where the other end is closed, reading fails on Linux and ends elsewhere.
    while let Ok(count @ 1..) = controller.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..count]);
    }
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().expect("stderr is a pipe");
    pipe.read_to_string(&mut stderr).expect("messages are text");
    let code = child.wait().expect("it was started").code();
    let stdout = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    Ended { code, stdout, stderr }
}
