//! What `tests/report/kit` brought.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where it lies: `$OPENCODE_FSM_REPORT_KIT`, else below the build's directory.
fn directory() -> PathBuf {
    std::env::var_os("OPENCODE_FSM_REPORT_KIT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/report-kit"),
        PathBuf::from,
    )
}

/// A part of the kit. Where the kit could not be brought whole, and says so, a test that needs
/// the part is skipped aloud; in CI a kit that nobody tried to bring is a failure.
pub fn part(name: &str) -> Option<PathBuf> {
    let path = directory().join(name);
    if path.exists() {
        return Some(path);
    }
    let missing = fs::read_to_string(directory().join("missing"));
    let of = |text: &String| {
        text.lines()
            .any(|line| line.starts_with(name.split('/').next().unwrap_or(name)))
    };
    if std::env::var_os("CI").is_some() && !missing.as_ref().is_ok_and(of) {
        panic!("{} is missing; tests/report/kit DIR brings it", path.display());
    }
    eprintln!(
        "SKIPPED: {} is not there: {}",
        path.display(),
        missing.unwrap_or_default().trim()
    );
    None
}

#[allow(dead_code, reason = "every test file uses a part of it")]
/// A program of the machine; its absence is a failure in CI.
pub fn tool(name: &str) -> bool {
    let there = Command::new(name).arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "{name} is not installed");
    if !there {
        eprintln!("SKIPPED: {name} is not installed");
    }
    there
}
