//! The contract: `pipeline.yml`, bootstrap, actions, stage scripts.

use super::{
    finding::Kind,
    look::{Named, Scan},
    source,
};
use crate::document::{Foreign, Spot, get, scalars, text};
use crate::policy::shell::quoted;
use crate::{
    contract::{Bootstrap, ContractError, Pipeline, StageName, default_path, parse_actions, policy_path},
    engine::widened,
    hints::{self, HintKind},
    names::RelPath,
    policy::{
        PolicyError,
        shell::{Effect, Judge, Ruling, Setting, Verdict},
    },
};

const BOOTSTRAP: &str = ".aider_fsm/bootstrap.yml";
const ACTIONS: &str = ".aider_fsm/actions.yml";
const STAGES: &str = ".aider_fsm/stages";

/// Variables by which a program that is started loads something that its caller did not name.
const LOADERS: [&str; 22] = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "BASH_ENV",
    "ENV",
    "PROMPT_COMMAND",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTEST_ADDOPTS",
    "PYTEST_PLUGINS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL5OPT",
    "PERL5LIB",
    "RUBYOPT",
    "RUSTC_WRAPPER",
    "JAVA_TOOL_OPTIONS",
    "GIT_SSH_COMMAND",
    "GIT_CONFIG_GLOBAL",
    "MAKEFLAGS",
    "EDITOR",
];

/// The repository's own policy: what of it narrows holds for all that is judged after it.
pub(super) fn policy(scan: &mut Scan<'_>) {
    let name = policy_path().to_string();
    if !scan.copy.is_file(&name) {
        return;
    }
    let Some(content) = scan.text(&name) else { return };
    let attempts = match scan.policy.narrowed(&name, content.as_bytes()) {
        Ok(Ok(narrowed)) => {
            scan.judge = Judge::new(&narrowed);
            scan.policy = narrowed;
            return;
        }
        Ok(Err(attempts)) => attempts,
        Err(PolicyError::Malformed(problems)) => {
            for problem in problems {
                refused(scan, &name, problem.line, &problem.message, "docs/policy.md");
            }
            return;
        }
        Err(other) => return refused(scan, &name, 1, &other.to_string(), "docs/policy.md"),
    };
    for attempt in attempts {
        let allowed = (attempt.allowed.as_str(), attempt.allowed_at.as_str());
        widens(
            scan,
            &name,
            attempt.at.line,
            &attempt.asked,
            allowed,
            attempt.because.as_deref(),
        );
    }
}

/// An attempt to widen, with what is allowed and where.
fn widens(scan: &mut Scan<'_>, file: &str, line: usize, asked: &str, allowed: (&str, &str), because: Option<&str>) {
    let verdict = Verdict {
        verdict: Ruling::Deny,
        rule: allowed.0.split(':').next().unwrap_or_default().to_owned(),
        because: match because {
            Some(because) => format!("`{}`: {because}", allowed.0),
            None => format!("`{}` is all that is allowed", allowed.0),
        },
        at: allowed.1.to_owned(),
    };
    scan.push(
        Kind::ContractWidens,
        file,
        line,
        "every run",
        asked,
        Vec::new(),
        verdict,
    );
}

fn refused(scan: &mut Scan<'_>, file: &str, line: usize, message: &str, at: &str) {
    let verdict = Verdict {
        verdict: Ruling::Deny,
        rule: "contract".to_owned(),
        because: message.to_owned(),
        at: at.to_owned(),
    };
    scan.push(
        Kind::ContractMalformed,
        file,
        line,
        "every run",
        message,
        Vec::new(),
        verdict,
    );
}

/// The contract, which says how the others are judged.
pub(super) fn pipeline(scan: &mut Scan<'_>) {
    let path = default_path();
    let name = path.to_string();
    if !scan.copy.is_file(&name) {
        return;
    }
    let Some(content) = scan.text(&name) else { return };
    let pipeline = match Pipeline::parse(&path, content.as_bytes()) {
        Ok(pipeline) => Some(pipeline),
        Err(why) => {
            malformed(scan, &name, &why, "docs/pipeline_spec.md");
            None
        }
    };
    if let Some(pipeline) = &pipeline {
        scan.mode = pipeline.security.mode;
        let measurements = [&pipeline.evaluation, &pipeline.benchmark];
        let measured = measurements
            .into_iter()
            .flatten()
            .filter_map(|one| one.metrics_path.as_ref());
        scan.measured = measured.map(ToString::to_string).collect();
        for attempt in widened(&scan.policy, pipeline, [false, false]) {
            let allowed = (attempt.allowed.as_str(), attempt.allowed_at.as_str());
            let line = attempt.line.unwrap_or(1);
            widens(scan, &name, line, &attempt.asked, allowed, attempt.because.as_deref());
        }
    }
    let Some(document) = scan.document(&name, &content, Foreign::yaml) else {
        return;
    };
    if let Some(generic) = pipeline.as_ref().and_then(|pipeline| pipeline.generic_rollout.as_ref()) {
        let line = content
            .lines()
            .position(|line| line.trim_start().starts_with("generic"));
        let limit = generic.limit.map_or("8 or 64".to_owned(), |limit| limit.to_string());
        let what = format!(
            "generic rollout: no command; at most {limit} prompts to a model, read from the data set or the README"
        );
        let line = line.map_or(1, |line| line + 1);
        scan.note(Kind::ContractCommand, &name, line, "stage `rollout`", &what, Vec::new());
    }
    for (section, command, spot) in commands(&document) {
        let when = format!("stage `{section}`");
        scan.script(Kind::ContractCommand, &name, spot, &when, &command);
        if let Some(pipeline) = &pipeline {
            by_its_own_patterns(scan, pipeline, (&name, spot), &when, &command);
        }
    }
    if let Some(pipeline) = pipeline.filter(|it| it.performs(StageName::Evaluation)) {
        documented(scan, &pipeline);
    }
}

/// A generic evaluation runs what the repository documents.
fn documented(scan: &mut Scan<'_>, pipeline: &Pipeline) {
    let when = "stage `evaluation`, as a documented command";
    let kinds = [HintKind::Tests, HintKind::Evaluate, HintKind::Benchmark];
    let hints = hints::rank(hints::extract(scan.copy.0));
    for hint in hints.into_iter().filter(|hint| kinds.contains(&hint.kind)) {
        let (file, spot) = (hint.file.to_string(), Spot::line(hint.line));
        scan.script(Kind::ContractCommand, &file, spot, when, &hint.command);
        by_its_own_patterns(scan, pipeline, (&file, spot), when, &hint.command);
    }
}

/// A contract's own patterns may refuse what the host does not.
fn by_its_own_patterns(
    scan: &mut Scan<'_>,
    pipeline: &Pipeline,
    (file, spot): (&str, Spot),
    when: &str,
    command: &str,
) {
    let Ok(policy) = pipeline.security.policy(scan.judge.clone()) else {
        return;
    };
    let Err(refusal) = policy.check(command, "", false, &scan.copy) else {
        return;
    };
    if !matches!(refusal.code, "blocked_by_denylist" | "blocked_by_allowlist") {
        return;
    }
    let verdict = Verdict {
        verdict: Ruling::Deny,
        rule: refusal.code.to_owned(),
        because: format!("the contract's own patterns refuse it: {refusal}"),
        at: file.to_owned(),
    };
    scan.push(
        Kind::ContractCommand,
        file,
        spot.line,
        when,
        command,
        Vec::new(),
        verdict,
    );
}

fn malformed(scan: &mut Scan<'_>, file: &str, why: &ContractError, at: &str) {
    refused(scan, file, why.line, &why.message, at);
}

/// The commands of a document of contracts: the section, the text, its place.
fn commands(document: &Foreign<'_>) -> Vec<(String, String, Spot)> {
    let mut all = Vec::new();
    document.mappings(&mut |path, pairs| {
        for (key, value) in pairs {
            let name = key.text.as_str();
            if name == "steps" || name.ends_with("cmds") || name.ends_with("cmd") {
                let section = path.first().copied().unwrap_or(name);
                let found = scalars(value);
                all.extend(
                    found
                        .into_iter()
                        .map(|(text, at)| (section.to_owned(), text.to_owned(), document.spot(at))),
                );
            }
        }
    });
    all
}

/// The other files of a contract.
pub(super) fn file(scan: &mut Scan<'_>, file: &Named<'_>) {
    match file.path {
        BOOTSTRAP => bootstrap(scan),
        ACTIONS => actions(scan),
        path if file.dir == STAGES || path.starts_with(&format!("{STAGES}/")) => stage(scan, file),
        _ => {}
    }
}

fn bootstrap(scan: &mut Scan<'_>) {
    let (Some(content), Ok(path)) = (scan.text(BOOTSTRAP), RelPath::new(BOOTSTRAP)) else {
        return;
    };
    if let Err(why) = Bootstrap::parse(&path, content.as_bytes()) {
        malformed(scan, BOOTSTRAP, &why, "docs/bootstrap_spec.md");
    }
    let Some(document) = scan.document(BOOTSTRAP, &content, Foreign::yaml) else {
        return;
    };
    for (_, command, spot) in commands(&document) {
        scan.script(Kind::BootstrapCommand, BOOTSTRAP, spot, "before the stages", &command);
    }
    let mut variables = Vec::new();
    document.mappings(&mut |path, pairs| {
        if path.last() == Some(&"env") {
            let value = |(key, value): &(_, _)| -> (String, String, usize) {
                let key: &crate::document::Key = key;
                (
                    key.text.clone(),
                    text(value).unwrap_or_default().to_owned(),
                    key.at.line,
                )
            };
            variables.extend(pairs.iter().map(value));
        }
    });
    for (name, value, line) in variables {
        let mut effects = Vec::new();
        if LOADERS.contains(&name.as_str()) || (name == "PATH" && !value.starts_with('$')) {
            effects.push((Effect::RunsUnknownProgram, "programs load what it names".to_owned()));
        }
        let what = format!("{name}={value}");
        scan.note(Kind::BootstrapVariable, BOOTSTRAP, line, "every stage", &what, effects);
    }
}

fn actions(scan: &mut Scan<'_>) {
    let (Some(content), Ok(path)) = (scan.text(ACTIONS), RelPath::new(ACTIONS)) else {
        return;
    };
    if let Err(why) = parse_actions(&path, content.as_bytes()) {
        malformed(scan, ACTIONS, &why, "docs/pipeline_spec.md");
    }
    let Some(document) = scan.document(ACTIONS, &content, Foreign::yaml) else {
        return;
    };
    for (_, command, spot) in commands(&document) {
        scan.script(Kind::Action, ACTIONS, spot, "after a failure", &command);
    }
    let mut written = Vec::new();
    document.mappings(&mut |_, pairs| {
        if let (Some(path), Some("write_file")) = (get(pairs, "path"), get(pairs, "kind").and_then(text)) {
            written.push((text(path).unwrap_or_default().to_owned(), path.at.line));
        }
    });
    for (path, line) in written {
        // As if a command wrote it.
        let ruled = scan
            .judge
            .commands(&format!(": > {}", quoted([path.as_str()])), &Setting::default());
        let effects = ruled.into_iter().flat_map(|ruled| ruled.seen.effects).collect();
        scan.note(
            Kind::Action,
            ACTIONS,
            line,
            "after a failure",
            &format!("writes {path}"),
            effects,
        );
    }
}

/// A stage script is looked into whether the contract names it or not.
fn stage(scan: &mut Scan<'_>, file: &Named<'_>) {
    let Some(content) = scan.text(file.path) else { return };
    let first = content.lines().next().unwrap_or_default();
    let is_shell = match first.strip_prefix("#!") {
        Some(program) => program.contains("sh"),
        None => !file.ends(&[
            ".py", ".js", ".mjs", ".ts", ".rb", ".pl", ".json", ".md", ".txt", ".yml", ".yaml",
        ]),
    };
    if is_shell {
        scan.script(
            Kind::StageScript,
            file.path,
            Spot::file(),
            "a stage that runs it",
            &content,
        );
    } else if file.ends(&[".py"]) || first.contains("python") {
        source::statements_of(scan, Kind::StageScript, file.path, "a stage that runs it", &content);
    }
}
