//! The `digstore` binary: maps the command line to an exit status and does nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    digstore::cli::run(std::env::args_os())
}
