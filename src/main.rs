//! The `thermocline` command: everything it does is in [`thermocline::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    thermocline::cli::main()
}
