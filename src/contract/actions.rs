//! `.aider_fsm/actions.yml`, version 1: what an agent asks the runner to do, once, after a failure.

use std::{collections::HashMap, time::Duration};

use super::{
    ContractError,
    pipeline::read_version,
    stage::{check_command, read_retries},
};
use crate::{
    document::{self, Fault, Fields, Value, shown},
    names::RelPath,
};

/// Most actions in one file.
const ACTIONS_MAX: usize = 50;
/// Longest id and longest path, in characters; a path is judged later.
const ID_MAX: usize = 100;
const PATH_MAX: usize = 4096;
/// Longest id in the name of an artifact.
const FILE_ID_MAX: usize = 60;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its name; unlike every other in the file, and one printable line.
    pub id: String,
    /// What it is.
    pub kind: ActionKind,
    /// Longest time for a command; `None` leaves it to the host's policy.
    pub timeout: Option<Duration>,
    /// How often a failing command is repeated; 0 runs it once.
    pub retries: u32,
}

/// Kinds of action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// `run_cmd`, `install_tool`: a shell command.
    Run {
        /// The command; never blank.
        cmd: String,
    },
    /// `start_service`: a shell command whose children live until all actions are done.
    Serve {
        /// The command; never blank.
        cmd: String,
    },
    /// `write_file`.
    Write {
        /// Where to, as given: it is judged when it is written.
        path: String,
        /// The whole file.
        content: String,
    },
}

impl Action {
    /// The id as a part of a file name: letters, digits, `.`, `_`, `-`, bounded.
    pub fn file_id(&self) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        self.id
            .chars()
            .take(FILE_ID_MAX)
            .map(|c| if plain(c) { c } else { '_' })
            .collect()
    }
}

/// Reads the actions in `path` (its name is for messages) from its bytes.
///
/// # Errors
/// One [`ContractError`]: bad YAML, an unknown or duplicate key, a wrong type, a
/// value out of range, an id given twice, or an action without what its kind needs.
pub fn parse_actions(path: &RelPath, text: &[u8]) -> Result<Vec<Action>, ContractError> {
    read(text).map_err(|fault| ContractError::of(fault, path))
}

fn read(text: &[u8]) -> Result<Vec<Action>, Fault> {
    let mut root = Fields::root(document::parse(text)?)?;
    read_version(&mut root)?;
    let list = root.sections("actions", ACTIONS_MAX)?;
    let start = root.at;
    root.finish()?;
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return Err(start.fault("`actions` must list at least one action"));
    };
    let mut lines = HashMap::new();
    let mut actions = Vec::new();
    for (index, fields) in list.into_iter().enumerate() {
        let at = fields.at;
        let action = read_action(fields, index)?;
        if let Some(line) = lines.insert(action.id.clone(), at.line) {
            let id = shown(&action.id);
            return Err(at.fault(format!(
                "a second action with the id `{id}`; the first is in line {line}"
            )));
        }
        actions.push(action);
    }
    Ok(actions)
}

fn read_action(mut fields: Fields, index: usize) -> Result<Action, Fault> {
    let at = fields.at;
    let place = fields.place("");
    let needs = |kind: &str, what: &str| at.fault(format!("`{place}{what}` is missing; `{kind}` needs it"));
    let id = match fields.string("id")? {
        Some((id, at)) if id.chars().count() > ID_MAX || id.chars().any(char::is_control) => {
            return Err(at.fault(format!("`{place}id` must be one line of at most {ID_MAX} characters")));
        }
        Some((id, _)) => id,
        None => format!("action-{:03}", index + 1),
    };
    let (kind, kind_at) = fields.string("kind")?.unwrap_or_else(|| ("run_cmd".to_owned(), at));
    let timeout = fields.seconds("timeout_seconds")?;
    let retries = read_retries(&mut fields)?;
    // For whoever reads the file.
    fields.string("risk_level")?;
    fields.string("rationale")?;
    let kind = match kind.as_str() {
        "run_cmd" | "install_tool" | "start_service" => {
            let cmd = fields.string("cmd")?;
            fields.finish()?;
            let (cmd, cmd_at) = cmd.ok_or_else(|| needs(&kind, "cmd"))?;
            check_command(&cmd, cmd_at)?;
            match kind.as_str() {
                "start_service" => ActionKind::Serve { cmd },
                _ => ActionKind::Run { cmd },
            }
        }
        "write_file" => {
            let path = fields.string("path")?;
            let content = fields.value("content");
            fields.finish()?;
            let (path, path_at) = path.ok_or_else(|| needs(&kind, "path"))?;
            if path.chars().count() > PATH_MAX {
                return Err(path_at.fault(format!("`{place}path` is longer than {PATH_MAX} characters")));
            }
            let content = content.ok_or_else(|| needs(&kind, "content"))?;
            match (content.kind(), content.value) {
                ("a string", Value::Scalar { text, .. }) => ActionKind::Write { path, content: text },
                (found, _) => {
                    return Err(content
                        .at
                        .fault(format!("`{place}content` must be a string, found {found}")));
                }
            }
        }
        other => {
            return Err(kind_at.fault(format!(
                "`{place}kind` must be run_cmd, install_tool, start_service or write_file, found `{}`",
                shown(other)
            )));
        }
    };
    Ok(Action {
        id,
        kind,
        timeout,
        retries,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path() -> RelPath {
        RelPath::new(".aider_fsm/actions.yml").unwrap()
    }

    fn message(text: &str) -> String {
        let error = parse_actions(&path(), text.as_bytes()).expect_err("must be refused");
        error.to_string().replace(".aider_fsm/actions.yml:", "")
    }

    #[test]
    fn every_kind_is_read() {
        let text = "version: 1\nactions:\n  - cmd: make deps\n    retries: 1\n    timeout_seconds: 9\n    risk_level: low\n    rationale: it is missing\n\
            \x20 - {id: lint, kind: install_tool, cmd: pip install x}\n  - {id: db, kind: start_service, cmd: redis &}\n\
            \x20 - {id: cfg, kind: write_file, path: a/b, content: \" x\\n \"}\n  - {id: e, kind: write_file, path: c, content: ''}\n";
        let actions = parse_actions(&path(), text.as_bytes()).unwrap();
        let kinds: Vec<_> = actions.iter().map(|a| (a.id.as_str(), a.kind.clone())).collect();
        let cmd = |text: &str| text.to_owned();
        assert_eq!(
            kinds,
            [
                ("action-001", ActionKind::Run { cmd: cmd("make deps") }),
                (
                    "lint",
                    ActionKind::Run {
                        cmd: cmd("pip install x")
                    }
                ),
                ("db", ActionKind::Serve { cmd: cmd("redis &") }),
                (
                    "cfg",
                    ActionKind::Write {
                        path: cmd("a/b"),
                        content: cmd(" x\n ")
                    }
                ),
                (
                    "e",
                    ActionKind::Write {
                        path: cmd("c"),
                        content: String::new()
                    }
                ),
            ]
        );
        assert_eq!(
            (actions[0].retries, actions[0].timeout),
            (1, Some(Duration::from_secs(9)))
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("version: 1\n", "1:1: `actions` must list at least one action"),
            ("actions: []\n", "1:1: `actions` must list at least one action"),
            (
                "actions: {a: b}\n",
                "1:10: `actions` must be a list of mappings, found a mapping",
            ),
            (
                "actions: [make]\n",
                "1:11: `actions[0]` must be a mapping, found a string",
            ),
            (
                "actions:\n  - cmd: x\n    retries: -1\n",
                "3:14: `actions[0].retries` must be a whole number of 0 or more, found `-1`",
            ),
            (
                "actions:\n  - id: a\n",
                "2:5: `actions[0].cmd` is missing; `run_cmd` needs it",
            ),
            (
                "actions:\n  - kind: write_file\n    content: x\n",
                "2:5: `actions[0].path` is missing; `write_file` needs it",
            ),
            (
                "actions:\n  - {kind: write_file, path: x}\n",
                "2:5: `actions[0].content` is missing; `write_file` needs it",
            ),
            (
                "actions:\n  - {kind: write_file, path: x, content: 5}\n",
                "2:42: `actions[0].content` must be a string, found a number",
            ),
            (
                "actions:\n  - {kind: write_file, path: x, content: y, cmd: z}\n",
                "2:45: unknown key `actions[0].cmd`; known here: id, kind, timeout_seconds, retries, risk_level, rationale, path, content",
            ),
            (
                "actions:\n  - kind: shell\n    cmd: x\n",
                "2:11: `actions[0].kind` must be run_cmd, install_tool, start_service or write_file, found `shell`",
            ),
            (
                "actions:\n  - command: x\n",
                "2:5: unknown key `actions[0].command`; known here: id, kind, timeout_seconds, retries, risk_level, rationale, cmd",
            ),
            (
                "actions:\n  - {id: a, cmd: x}\n  - {id: a, cmd: y}\n",
                "3:5: a second action with the id `a`; the first is in line 2",
            ),
            (
                "actions:\n  - {id: action-002, cmd: x}\n  - {cmd: y}\n",
                "3:5: a second action with the id `action-002`; the first is in line 2",
            ),
            (
                "actions:\n  - {id: \"a\\nb\", cmd: x}\n",
                "2:10: `actions[0].id` must be one line of at most 100 characters",
            ),
            (
                "version: 2\nactions:\n  - {cmd: x}\n",
                "1:10: `version` must be the integer 1, found `2`",
            ),
        ] {
            assert_eq!(message(text), expected, "{text}");
        }
        let many = format!("actions:\n{}", "  - cmd: x\n".repeat(ACTIONS_MAX + 1));
        assert_eq!(message(&many), "52:5: `actions` must list at most 50");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c:\\-\\[\\]{}&*!?|>'\"#%\n \t,~0-9]{0,60}") {
            for text in [text.clone(), format!("actions:\n  - {text}"), format!("actions:\n  - cmd: {text}")] {
                let _ = parse_actions(&path(), text.as_bytes());
            }
        }

        #[test]
        fn an_id_stays_one_harmless_name(id in "\\PC{1,99}") {
            let quoted = serde_json::Value::from(id).to_string();
            if let Ok(actions) = parse_actions(&path(), format!("actions: [{{cmd: x, id: {quoted}}}]").as_bytes()) {
                let name = actions[0].file_id();
                prop_assert!(!name.is_empty() && name.len() <= FILE_ID_MAX);
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{}", name);
            }
        }
    }
}
