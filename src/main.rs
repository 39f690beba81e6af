//! The one binary: host tool, launcher and guest, told apart by its first argument.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    opencode_fsm::cli::main()
}
