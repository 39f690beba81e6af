//! The command line.
#![forbid(unsafe_code)]

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "guest-launcher") {
        return crate::sandbox::jail::launcher_main();
    }
    std::process::ExitCode::from(2)
}
