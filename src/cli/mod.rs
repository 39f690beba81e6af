//! The command line.
#![forbid(unsafe_code)]

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(2)
}
