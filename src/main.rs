//! The `shardns` program: read the command line, run one command, print its
//! error here and nowhere else.

use std::process::ExitCode;

fn main() -> ExitCode {
    match shardns::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<shardns::cli::Silent>() => ExitCode::FAILURE,
        Err(error) => {
            shardns::cli::tell(format_args!("shardns: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}
