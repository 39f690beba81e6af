//! `policy audit`: planted traps are found where they stand and gone where they are taken away,
//! the documents hold to their schemas, hostile trees have bounds, and nothing is ever run.

#[path = "report/kit.rs"]
mod kit;
#[path = "support/program.rs"]
mod program;
#[path = "support/sdists.rs"]
mod sdists;

#[path = "policy_audit/bounds.rs"]
mod bounds;
#[path = "policy_audit/distributions.rs"]
mod distributions;
#[path = "policy_audit/formats.rs"]
mod formats;
#[path = "policy_audit/traps.rs"]
mod traps;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use program::program;
use serde_json::Value;

/// A repository, a cache and a host without any policy of its own.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("audit-").tempdir().expect("tempdir");
        fs::create_dir(dir.path().join("repo")).expect("mkdir");
        Self { dir }
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// Writes a file of the repository; what begins with `#!` can be executed.
    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.repo().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(&path, text.as_ref()).expect("write");
        if text.as_ref().starts_with(b"#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        self
    }

    fn command(&self, target: &Path, more: &[&str]) -> Command {
        let mut command = program();
        command
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"))
            .args(["policy", "audit", "--repo"])
            .arg(target)
            .args(more);
        command
    }

    fn audit_of(&self, target: &Path, more: &[&str]) -> Output {
        self.command(target, more).output().expect("starts")
    }

    fn audit(&self, more: &[&str]) -> Output {
        self.audit_of(&self.repo(), more)
    }

    /// What `--json` says.
    fn report(&self, more: &[&str]) -> Value {
        json(&self.audit(&[&["--json"], more].concat()))
    }
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_else(|| panic!("{output:?}"));
    serde_json::from_str(last).unwrap_or_else(|why| panic!("{why}: {output:?}"))
}

/// The findings at a place: kind and verdict of each.
fn at(report: &Value, file: &str, line: u64) -> Vec<(String, String)> {
    let of = |one: &Value, name: &str| one[name].as_str().expect("text").to_owned();
    let all = report["findings"].as_array().expect("findings");
    all.iter()
        .filter(|one| one["file"] == file && one["line"] == line)
        .map(|one| (of(one, "kind"), of(one, "verdict")))
        .collect()
}
