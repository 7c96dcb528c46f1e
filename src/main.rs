//! Arguments in, exit code out; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match claudette::cli::run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("claudette: {error:#}");
            ExitCode::FAILURE
        }
    }
}
