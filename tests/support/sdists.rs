//! Source distributions from PyPI, for the tests of real ones.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Brings distributions by their pins (none: the ten of `policy audit`) into a directory of
/// `target/`, and says whether all of them are there: in CI they have to be.
pub fn bring(dir: &str, pins: &[&str]) -> (PathBuf, bool) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = here.join("target").join(dir);
    let mut bring = Command::new("sh");
    bring.arg(here.join("tests/policy/sdists")).arg(&dir).args(pins);
    let brought = bring.status().is_ok_and(|status| status.success());
    let missing = fs::read_to_string(dir.join("missing")).unwrap_or_default();
    let whole = brought && missing.is_empty();
    assert!(
        whole || std::env::var_os("CI").is_none(),
        "not all could be brought: {missing}"
    );
    if !whole {
        eprintln!("SKIPPED: source distributions that PyPI did not give: {missing}");
    }
    (dir, whole)
}
