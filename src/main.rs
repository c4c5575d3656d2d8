//! The `shardns` program: read the command line, run one command, print its
//! error here and nowhere else.

use std::process::ExitCode;

fn main() -> ExitCode {
    match shardns::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shardns: {error:#}");
            ExitCode::FAILURE
        }
    }
}
