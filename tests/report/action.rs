//! The composite action for GitHub: its own steps, run as a runner runs them.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use crate::program::{Bench, PROGRAM};

/// A job that runs the action.
struct Job<'a> {
    bench: &'a Bench,
    values: BTreeMap<String, String>,
    printed: String,
}

impl Job<'_> {
    /// Runs every step that is a script; gives the exit code of the first that failed.
    fn run(&mut self, action: &Value) -> Option<i32> {
        for step in action["runs"]["steps"].as_array().expect("steps") {
            let wanted = step["if"].as_str().is_none_or(|condition| self.holds(condition));
            let Some(script) = step["run"].as_str().filter(|_| wanted) else {
                continue;
            };
            assert!(
                !script.contains("${{"),
                "an input must not become a part of a script: {script}"
            );
            let id = step["id"].as_str().expect("an id");
            let output = self.bench.path(&format!("output-{id}"));
            fs::write(&output, "").expect("write");
            let file = self.bench.path("script");
            fs::write(&file, script).expect("write");
            let mut command = Command::new("bash");
            command
                .args(["--noprofile", "--norc", "-eo", "pipefail"])
                .arg(&file)
                .env("GITHUB_ACTIONS", "true")
                .env("GITHUB_ACTION", "one")
                .env("GITHUB_OUTPUT", &output)
                .env("GITHUB_STEP_SUMMARY", self.bench.path("summary.md"))
                .env("GITHUB_WORKSPACE", self.bench.path(""))
                .env("RUNNER_TEMP", self.bench.path("temp"))
                .env("OPENCODE_FSM_JOBS", "0")
                .current_dir(self.bench.path("repo"));
            for (name, value) in step["env"].as_object().into_iter().flatten() {
                command.env(name, self.filled(value.as_str().expect("text")));
            }
            let done = command.output().expect("bash");
            self.printed += &String::from_utf8_lossy(&[done.stdout, done.stderr].concat());
            for line in fs::read_to_string(&output).expect("output").lines() {
                let (name, value) = line.split_once('=').expect("name=value");
                self.values
                    .insert(format!("steps.{id}.outputs.{name}"), value.to_owned());
            }
            if !done.status.success() {
                return done.status.code();
            }
        }
        Some(0)
    }

    /// `${{ name }}` by its value; what nobody set is empty.
    fn filled(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${{") {
            let (name, after) = after.split_once("}}").expect("an end");
            out += before;
            out += self.values.get(name.trim()).map_or("", String::as_str);
            rest = after;
        }
        out + rest
    }

    fn holds(&self, condition: &str) -> bool {
        condition.split(" && ").all(|one| {
            let [name, sign, value] = one.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{one}");
            };
            let equal = self.values.get(name).map_or("", String::as_str) == value.trim_matches('\'');
            match sign {
                "==" => equal,
                "!=" => !equal,
                _ => panic!("{one}"),
            }
        })
    }

    fn output(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }
}

fn job<'a>(bench: &'a Bench, action: &Value, inputs: &[(&str, &str)]) -> Job<'a> {
    let mut values = BTreeMap::new();
    for (name, input) in action["inputs"].as_object().expect("inputs") {
        values.insert(
            format!("inputs.{name}"),
            input["default"].as_str().expect("text").to_owned(),
        );
    }
    for (name, value) in inputs {
        values.insert(format!("inputs.{name}"), (*value).to_owned());
    }
    values.insert("inputs.binary".to_owned(), PROGRAM.to_owned());
    fs::create_dir_all(bench.path("temp")).expect("mkdir");
    Job {
        bench,
        values,
        printed: String::new(),
    }
}

fn action() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/actions/opencode-fsm/action.yml");
    serde_yaml::from_str(&fs::read_to_string(path).expect("read")).expect("YAML")
}

#[test]
fn the_action_verifies_reports_annotates_and_ends_with_the_verdict() {
    let action = action();
    for (command, code, mark) in [("true", 0, "✅"), ("exit 9", 3, "❌")] {
        let bench = Bench::new();
        bench.file("pipeline.yml", &format!("version: 1\ntests:\n  cmd: \"{command}\"\n"));
        let hostile = "--max-cmd\n60\n--env\nX=$(touch owned); `touch owned`";
        let mut job = job(&bench, &action, &[("args", hostile)]);
        assert_eq!(job.run(&action), Some(code), "{}", job.printed);
        assert_eq!(job.output("steps.work.outputs.exit-code"), code.to_string());
        for file in ["report", "junit", "sarif"] {
            let path = job.output(&format!("steps.reports.outputs.{file}"));
            assert!(fs::metadata(path).is_ok_and(|meta| meta.len() > 0), "{file}: {path}");
        }
        let summary = fs::read_to_string(bench.path("summary.md")).expect("a summary");
        assert!(
            summary.starts_with(&format!("## {mark} opencode-fsm: VERIF")),
            "{summary}"
        );
        let annotated = job
            .printed
            .contains("::error file=repo/pipeline.yml,title=verification-failed::tests: `exit 9` exited 9");
        assert_eq!(annotated, code != 0, "{}", job.printed);
        assert!(!bench.path("repo/owned").exists(), "an argument is an argument");
    }
}

#[test]
fn the_action_refuses_other_commands_and_says_what_it_cannot_begin() {
    let action = action();
    let bench = Bench::new();
    let mut refused = job(&bench, &action, &[("command", "gc; touch owned")]);
    assert_eq!(refused.run(&action), Some(2), "{}", refused.printed);
    assert!(!bench.path("repo/owned").exists());
    // No contract and no command: no run's directory with anything to report, and the code of it.
    let mut nothing = job(&bench, &action, &[("target", "nowhere")]);
    assert_eq!(nothing.run(&action), Some(2), "{}", nothing.printed);
}
