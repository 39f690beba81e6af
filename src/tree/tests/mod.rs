//! Tests of the room as a whole, on real directories, a real overlay and a real git.

mod cache;
mod copy;
mod hostile;
mod layers;
mod outward;
mod overlay;
mod patch;
mod steps;
mod tar;
mod zip;

use std::{fs, path::Path};

use super::*;
use crate::names::RelPath;

const LIMITS: CopyLimits = CopyLimits {
    max_files: 100_000,
    max_bytes: 1 << 30,
};

/// A directory for one test, with a source tree in it.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("source")).unwrap();
        Self { dir }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn source(&self) -> std::path::PathBuf {
        self.at("source")
    }

    /// Writes a source file, its directories too.
    fn write(&self, path: &str, bytes: &[u8]) {
        write(&self.source(), path, bytes);
    }

    fn cache(&self) -> Cache {
        Cache::open(&self.at("cache"), None).unwrap()
    }

    fn pristine(&self) -> Pristine {
        self.cache().pristine(&self.source(), &LIMITS, &|_, _| {}).unwrap()
    }
}

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let full = root.join(path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    fs::write(full, bytes).unwrap();
}

fn path(raw: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(raw).unwrap()
}

/// Everything that a state holds, resolved.
fn resolved(pristine: &Pristine, state: &Checkpoint) -> Manifest {
    let mut all = pristine.manifest.clone();
    for (path, entry) in state.diff.iter() {
        match entry {
            Some(entry) => all.insert(path.clone(), entry.clone()),
            None => all.remove(path),
        };
    }
    all
}

/// Copies a tree as it is, special files too.
fn cp(from: &Path, to: &Path) {
    run(std::process::Command::new("cp").arg("-a").arg(from).arg(to));
}

fn run(command: &mut std::process::Command) {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}
