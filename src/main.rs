//! The program: everything is in the library, the exit status comes from its one table of errors.

use std::process::ExitCode;
use zbridge::internals::port::{self, memory};
use zbridge::internals::{cli, launch};

fn main() -> ExitCode {
    // Before there is any second thread: this may be the process between a zbridge and a program that it starts, or the
    // keeper of a zbridge's rights.
    launch::take_over().or_else(port::keeper::take_over).unwrap_or_else(|| {
        memory::settle();
        cli::run(std::env::args_os(), cli::perform)
    })
}
