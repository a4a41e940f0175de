//! The program: everything is in the library, the exit status comes from its one table of errors.

use std::process::ExitCode;
use zbridge::cli;

fn main() -> ExitCode {
    cli::run(std::env::args_os(), cli::perform)
}
