//! Pipelines of CI services.

use regex::Regex;
use std::sync::OnceLock;

use super::{
    finding::Kind,
    look::{Named, Scan},
};
use crate::document::{Foreign, Spot, get, scalars, text};
use crate::{
    document::{Key, Node},
    policy::SecurityMode,
};

/// A service: how its files are named, and the keys that hold commands.
struct Service {
    name: &'static str,
    is: fn(&Named<'_>) -> bool,
    /// Whole keys, or with `*` before it the end of one.
    keys: &'static [&'static str],
}

const SERVICES: [Service; 12] = [
    Service {
        name: "GitHub Actions",
        is: |file| {
            let yaml = file.ends(&[".yml", ".yaml"]);
            yaml && (file.dir == ".github/workflows" || matches!(file.name, "action.yml" | "action.yaml"))
        },
        keys: &["run"],
    },
    Service {
        name: "GitLab CI",
        is: |file| file.ends(&[".gitlab-ci.yml"]) || (file.path.starts_with(".gitlab/ci/") && file.ends(&[".yml"])),
        keys: &["script", "before_script", "after_script"],
    },
    Service {
        name: "CircleCI",
        is: |file| file.dir == ".circleci" && file.ends(&[".yml", ".yaml"]),
        keys: &["run", "command"],
    },
    Service {
        name: "Azure Pipelines",
        is: |file| file.name.starts_with("azure-pipelines") || file.path.starts_with(".azure-pipelines/"),
        keys: &["script", "bash"],
    },
    Service {
        name: "Travis CI",
        is: |file| file.path == ".travis.yml",
        keys: &[
            "before_install",
            "install",
            "before_script",
            "script",
            "after_success",
            "after_failure",
            "after_script",
            "before_deploy",
            "after_deploy",
        ],
    },
    Service {
        name: "Bitbucket Pipelines",
        is: |file| file.path == "bitbucket-pipelines.yml",
        keys: &["script", "after-script"],
    },
    Service {
        name: "Drone or Woodpecker",
        is: |file| file.name.starts_with(".drone.y") || file.path.starts_with(".woodpecker"),
        keys: &["commands"],
    },
    Service {
        name: "Cirrus CI",
        is: |file| file.path == ".cirrus.yml",
        keys: &["*_script", "script"],
    },
    Service {
        name: "Buildkite",
        is: |file| file.dir == ".buildkite" && file.ends(&[".yml", ".yaml"]),
        keys: &["command", "commands"],
    },
    Service {
        name: "Read the Docs",
        is: |file| file.name.starts_with(".readthedocs.y"),
        keys: &[
            "commands",
            "post_checkout",
            "pre_build",
            "post_build",
            "post_install",
            "pre_install",
            "build",
        ],
    },
    Service {
        name: "Task",
        is: |file| matches!(file.name, "Taskfile.yml" | "Taskfile.yaml"),
        keys: &["cmds", "cmd", "sh"],
    },
    Service {
        name: "AppVeyor",
        is: |file| matches!(file.name, "appveyor.yml" | ".appveyor.yml"),
        keys: &["sh", "bash"],
    },
];

fn service(file: &Named<'_>) -> Option<&'static Service> {
    SERVICES.iter().find(|service| (service.is)(file))
}

/// Whether this room reads a file.
pub(super) fn reads(file: &Named<'_>) -> bool {
    service(file).is_some() || file.name == "Jenkinsfile"
}

/// One command of a step.
struct Step {
    kind: Kind,
    text: String,
    spot: Spot,
    when: String,
    /// Another language than the shell's.
    language: Option<&'static str>,
}

pub(super) fn file(scan: &mut Scan<'_>, file: &Named<'_>) {
    if file.name == "Jenkinsfile" {
        return jenkins(scan, file.path);
    }
    let Some(service) = service(file) else { return };
    let Some(content) = scan.text(file.path) else { return };
    let Some(document) = scan.document(file.path, &content, Foreign::yaml) else {
        return;
    };
    let mut steps = Vec::new();
    document.mappings(&mut |path, pairs| look(service, &document, path, pairs, &mut steps));
    for step in steps {
        match (step.kind, step.language) {
            (Kind::CiForeign, _) => {
                let line = step.spot.line;
                scan.note(Kind::CiForeign, file.path, line, &step.when, &step.text, Vec::new());
            }
            (kind, Some(language)) => scan.code(kind, file.path, step.spot, &step.when, (language, &step.text)),
            // A machine of the service is that service's: what asks for rights there gets them.
            (kind, None) => {
                let text = without_expressions(&step.text);
                scan.script_in(kind, file.path, step.spot, &step.when, &text, SecurityMode::System);
            }
        }
    }
}

fn look(service: &Service, document: &Foreign<'_>, path: &[&str], pairs: &[(Key, Node)], steps: &mut Vec<Step>) {
    let job = match path {
        ["jobs", job, ..] | [job, ..] => format!("job `{job}` of {}", service.name),
        [] => service.name.to_owned(),
    };
    if service.name == "GitHub Actions" {
        if let Some((text, at)) = get(pairs, "uses").and_then(|uses| Some((text(uses)?, uses.at)))
            && !text.starts_with("./")
        {
            let pinned = text
                .rsplit_once('@')
                .is_some_and(|(_, at)| at.len() == 40 && at.bytes().all(|b| b.is_ascii_hexdigit()));
            let how = if pinned {
                "pinned"
            } else {
                "by a name that its owner can move"
            };
            steps.push(Step {
                kind: Kind::CiForeign,
                text: format!("runs {text}, {how}"),
                spot: Spot::line(at.line),
                when: job.clone(),
                language: None,
            });
        }
        let strangers = pairs.iter().find(|(key, _)| {
            let name = key.text.as_str();
            (path == ["on"] || path.is_empty())
                && matches!(name, "pull_request_target" | "workflow_run" | "issue_comment")
        });
        if let Some((key, _)) = strangers {
            steps.push(Step {
                kind: Kind::CiForeign,
                text: format!("`{}`: runs with the project's secrets on what strangers send", key.text),
                spot: Spot::line(key.at.line),
                when: service.name.to_owned(),
                language: None,
            });
        }
    }
    if service.name == "GitLab CI"
        && let Some(remote) = get(pairs, "remote").and_then(|remote| Some((text(remote)?, remote.at)))
    {
        steps.push(Step {
            kind: Kind::CiForeign,
            text: format!("includes {}", remote.0),
            spot: Spot::line(remote.1.line),
            when: job.clone(),
            language: None,
        });
    }
    for (key, value) in pairs {
        let fits = service.keys.iter().any(|name| match name.strip_prefix('*') {
            Some(end) => key.text.ends_with(end),
            None => key.text == *name,
        });
        let is_scripted = matches!(value.value, crate::document::Value::Mapping(_));
        if !fits || is_scripted {
            continue;
        }
        let language = match get(pairs, "shell").and_then(text) {
            Some(shell) if shell.starts_with("python") => Some("python"),
            Some(shell) if shell.starts_with("pwsh") || shell.starts_with("powershell") => Some("pwsh"),
            Some(shell) if shell.starts_with("cmd") => Some("cmd"),
            _ => None,
        };
        for (text, at) in scalars(value) {
            steps.push(Step {
                kind: Kind::CiCommand,
                text: text.to_owned(),
                spot: document.spot(at),
                when: job.clone(),
                language,
            });
        }
    }
}

/// `${{ … }}` is filled in before a shell sees it: a value that nobody knows here.
fn without_expressions(text: &str) -> String {
    static EXPRESSION: OnceLock<Regex> = OnceLock::new();
    // A constant pattern of nothing unusual always compiles.
    let expression = EXPRESSION.get_or_init(|| Regex::new(r"\$\{\{[^}]*\}\}").expect("a constant pattern"));
    expression.replace_all(text, "$${EXPRESSION}").into_owned()
}

/// `sh '…'` in a Jenkinsfile.
fn jenkins(scan: &mut Scan<'_>, path: &str) {
    let Some(content) = scan.text(path) else { return };
    for statement in super::lines::statements(&content, super::lines::Syntax::Slashes) {
        let runs = statement.code.trim_start();
        let runs = ["sh ", "sh(", "sh'", "sh\"", "bat ", "sh label", "sh script"]
            .iter()
            .any(|word| runs.starts_with(word));
        if runs && let Some((line, text)) = statement.texts.iter().max_by_key(|(_, text)| text.len()) {
            let spot = Spot {
                line: *line,
                spread: true,
            };
            scan.script_in(
                Kind::CiCommand,
                path,
                spot,
                "Jenkins",
                text.trim_matches(['\'', '"']),
                SecurityMode::System,
            );
        }
    }
}
