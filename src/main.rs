//! The program: everything is in the library, the exit status comes from its one table of errors.

use std::process::ExitCode;

fn main() -> ExitCode {
    zbridge::internals::cli::main()
}
