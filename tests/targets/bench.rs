//! The built program on a target, with a cache of its own, and what came of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::program::{holding, json_file, program};

pub struct Bench {
    pub dir: tempfile::TempDir,
    runs: std::cell::Cell<u32>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Had {
    pub code: i32,
    pub summary: Value,
    /// Both streams.
    pub said: String,
    /// The tree in the cache.
    pub tree: PathBuf,
}

impl Had {
    pub fn source(&self) -> &Value {
        &self.summary["source"]
    }

    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.tree.join(path)).unwrap_or_else(|why| panic!("{path}: {why}\n{}", self.said))
    }
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("targets-").tempdir().expect("tempdir");
        // Sandboxes run as another user when the test's is root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        Self {
            dir,
            runs: std::cell::Cell::new(0),
        }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn cache(&self) -> PathBuf {
        self.at("cache/opencode-fsm")
    }

    /// `verify` of a target with a contract that always holds.
    pub fn command(&self, target: &str, more: &[&str]) -> (Command, PathBuf) {
        self.runs.set(self.runs.get() + 1);
        let runs = self.at(&format!("runs{}", self.runs.get()));
        let mut command = program();
        command
            .args(["verify", "--json", "--test-cmd", "true", "--env-file", ""])
            .args(more)
            .arg("--artifacts-dir")
            .arg(&runs)
            .arg(target)
            .env("XDG_CACHE_HOME", self.at("cache"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars() {
            let proxy = name.to_ascii_lowercase().ends_with("_proxy");
            if proxy
                || ["GITHUB_", "GH_", "HF_", "HUGGINGFACE", "AIDER_FSM_"]
                    .iter()
                    .any(|start| name.starts_with(start))
            {
                command.env_remove(name);
            }
        }
        (command, runs)
    }

    pub fn run_with(&self, target: &str, more: &[&str], env: &[(&str, &str)]) -> Had {
        let (mut command, runs) = self.command(target, more);
        command.envs(env.iter().copied());
        let output = command.output().expect("starts");
        self.had(&output, &runs)
    }

    pub fn had(&self, output: &Output, runs: &Path) -> Had {
        let said = [output.stdout.as_slice(), b"\n", &output.stderr].concat();
        let summary = fs::read_dir(runs).into_iter().flatten().flatten().find_map(|run| {
            let path = run.path().join("summary.json");
            path.exists().then(|| json_file(&path))
        });
        let summary = summary.unwrap_or_default();
        let digest = summary["target_digest"].as_str().unwrap_or("none").to_owned();
        Had {
            code: output.status.code().unwrap_or(-1),
            said: String::from_utf8_lossy(&said).into_owned(),
            tree: self.cache().join("targets/trees").join(digest).join("tree"),
            summary,
        }
    }

    /// It worked.
    pub fn fetch(&self, target: &str, more: &[&str]) -> Had {
        self.fetch_with(target, more, &[])
    }

    pub fn fetch_with(&self, target: &str, more: &[&str], env: &[(&str, &str)]) -> Had {
        let had = self.run_with(target, more, env);
        assert_eq!(had.code, 0, "{target} {more:?}: {}", had.said);
        had
    }

    /// It did not, with that exit code; nothing is half there. What was said.
    pub fn refused(&self, target: &str, more: &[&str], code: i32) -> String {
        self.refused_with(target, more, &[], code)
    }

    pub fn refused_with(&self, target: &str, more: &[&str], env: &[(&str, &str)], code: i32) -> String {
        let before = self.trees();
        let had = self.run_with(target, more, env);
        assert_eq!(had.code, code, "{target} {more:?}: {}", had.said);
        assert_eq!(self.trees(), before, "nothing is half there");
        self.nothing_under_way();
        let last = had.said.lines().rfind(|line| line.contains("\"error\""));
        last.unwrap_or(&had.said).to_owned()
    }

    /// Trees in the cache.
    pub fn trees(&self) -> usize {
        let trees = fs::read_dir(self.cache().join("targets/trees"));
        trees.map_or(0, Iterator::count)
    }

    /// No copy and no scratch directory was left.
    pub fn nothing_under_way(&self) {
        for dir in ["targets/tmp", "scratch"] {
            let left: Vec<_> = fs::read_dir(self.cache().join(dir))
                .into_iter()
                .flatten()
                .flatten()
                .collect();
            let left: Vec<_> = left
                .iter()
                .map(|entry| entry.file_name())
                .filter(|name| name != "lock")
                .collect();
            assert!(left.is_empty(), "{dir}: {left:?}");
        }
    }

    /// No file of the runs or the cache holds a text.
    pub fn nowhere(&self, text: &str) {
        for dir in fs::read_dir(self.dir.path()).expect("ls").flatten() {
            let name = dir.file_name().into_string().expect("UTF-8");
            if name == "cache" || name.starts_with("runs") {
                let found = holding(&dir.path(), text);
                assert!(found.is_empty(), "{text} in {found:?}");
            }
        }
    }
}

/// git of this host, in a directory.
pub fn git(dir: &Path, words: &[&str]) -> String {
    let done = Command::new("git")
        .current_dir(dir)
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "safe.directory=*",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(words)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git");
    assert!(
        done.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// A repository with two commits on `main`, a tag on the first, a branch beyond, all of
/// them changing `a`; where it lies.
pub fn repository(dir: &Path) -> PathBuf {
    fs::create_dir_all(dir).expect("mkdir");
    git(dir, &["init", "-q", "-b", "main"]);
    commit(dir, "a", "one\n");
    git(dir, &["tag", "-a", "v1", "-m", "one"]);
    commit(dir, "a", "two\n");
    git(dir, &["checkout", "-q", "-b", "later"]);
    commit(dir, "a", "the future\n");
    git(dir, &["tag", "v9"]);
    git(dir, &["checkout", "-q", "main"]);
    dir.to_path_buf()
}

/// Writes one file and commits it; the commit.
pub fn commit(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
    fs::write(&path, text).expect("write");
    git(dir, &["add", "-A"]);
    let message: String = text.trim().chars().take(60).collect();
    git(dir, &["commit", "-q", "-m", &message]);
    git(dir, &["rev-parse", "HEAD"])
}

/// Every object that is there.
pub fn objects(dir: &Path) -> usize {
    let all = git(dir, &["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    all.lines().count()
}
