//! The demonstration repository, embedded so that the binary can show itself at work anywhere.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Path, mode and content of every file, as in `examples/demo/`.
const FILES: [(&str, u32, &str); 8] = [
    ("README.md", 0o644, include_str!("../../examples/demo/README.md")),
    ("pipeline.yml", 0o644, include_str!("../../examples/demo/pipeline.yml")),
    ("src/words.sh", 0o644, include_str!("../../examples/demo/src/words.sh")),
    ("tests/run.sh", 0o755, include_str!("../../examples/demo/tests/run.sh")),
    (
        "eval/cases.txt",
        0o644,
        include_str!("../../examples/demo/eval/cases.txt"),
    ),
    (
        "eval/run_cases.sh",
        0o755,
        include_str!("../../examples/demo/eval/run_cases.sh"),
    ),
    (
        "eval/rollout.sh",
        0o755,
        include_str!("../../examples/demo/eval/rollout.sh"),
    ),
    (
        "eval/evaluate.sh",
        0o755,
        include_str!("../../examples/demo/eval/evaluate.sh"),
    ),
];

/// Writes the demonstration repository into `dir`, which is created and must be
/// empty if it exists: nothing is ever overwritten.
///
/// # Errors
/// [`io::ErrorKind::DirectoryNotEmpty`] when `dir` holds something, and whatever
/// the file system refuses; the message names the path.
pub fn write_demo(dir: &Path) -> io::Result<()> {
    let named = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"))
    };
    fs::create_dir_all(dir).map_err(named(dir))?;
    if fs::read_dir(dir).map_err(named(dir))?.next().is_some() {
        let why = format!(
            "{}: not empty; the demo needs an empty or a new directory",
            dir.display()
        );
        return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, why));
    }
    for (name, mode, content) in FILES {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(named(parent))?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .map_err(named(&path))?;
        file.write_all(content.as_bytes()).map_err(named(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, process::Command};

    use super::*;
    use crate::contract::{StageName, validate_metrics, validate_rollout};
    use crate::names::RelPath;

    fn sh(dir: &Path, script: &str) -> bool {
        let out = Command::new("sh")
            .arg(script)
            .current_dir(dir)
            .env_remove("AIDER_FSM_ARTIFACTS_DIR")
            .output()
            .unwrap();
        out.status.success()
    }

    fn edit(dir: &Path, old: &str, new: &str) {
        let path = dir.join("src/words.sh");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{old}");
        fs::write(&path, text.replace(old, new)).unwrap();
    }

    fn score(dir: &Path) -> f64 {
        let path = RelPath::new(".aider_fsm/metrics.json").unwrap();
        let bytes = fs::read(path.under(dir)).ok();
        validate_metrics(StageName::Evaluation, &path, bytes.as_deref(), &[])
            .unwrap()
            .score
            .unwrap()
    }

    /// The two steps of the demonstration, done here by hand, through its real scripts.
    #[test]
    fn the_demo_fails_and_two_edits_repair_it() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("demo");
        write_demo(&dir).unwrap();
        assert!(!sh(&dir, "tests/run.sh"));
        assert!(!sh(&dir, "eval/evaluate.sh"));
        assert_eq!(score(&dir), 0.4);

        edit(&dir, "grep -c '' || true", "grep -c . || true");
        assert!(sh(&dir, "tests/run.sh"));
        assert!(sh(&dir, "eval/rollout.sh"));
        assert!(sh(&dir, "eval/evaluate.sh"));
        assert_eq!(score(&dir), 0.8);

        edit(&dir, r"tr ' ' '\n'", r"tr ' \t' '\n\n'");
        assert!(sh(&dir, "tests/run.sh"));
        assert!(sh(&dir, "eval/rollout.sh"));
        assert!(sh(&dir, "eval/evaluate.sh"));
        assert_eq!(score(&dir), 1.0);

        let rollout = validate_rollout(&fs::read(dir.join(".aider_fsm/rollout.json")).unwrap()).unwrap();
        assert_eq!(rollout["counts"]["correct"], 10);
        let samples = fs::read_to_string(dir.join(rollout["paths"]["samples_jsonl"].as_str().unwrap())).unwrap();
        assert_eq!(samples.lines().count(), 10);
        for line in samples.lines() {
            let sample: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(sample["reward"], 1, "{line}");
        }
    }

    #[test]
    fn every_file_of_the_example_is_embedded() {
        fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found)
                } else {
                    found.push(path)
                }
            }
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo");
        let mut found = Vec::new();
        walk(&root, &mut found);
        let mut found: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap())
            .collect();
        let mut embedded: Vec<_> = FILES.iter().map(|(name, _, _)| *name).collect();
        found.sort_unstable();
        embedded.sort_unstable();
        assert_eq!(found, embedded);
    }

    #[test]
    fn nothing_is_overwritten() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("README.md"), "mine").unwrap();
        assert_eq!(
            write_demo(home.path()).unwrap_err().kind(),
            io::ErrorKind::DirectoryNotEmpty
        );
        assert_eq!(fs::read_to_string(home.path().join("README.md")).unwrap(), "mine");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
