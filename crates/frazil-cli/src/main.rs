//! The `frazil` binary; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    frazil_cli::main()
}
