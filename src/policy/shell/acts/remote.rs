//! Commands for other machines and for containers: what they do there is that place's matter,
//! unless it would be the end of the place.

use crate::policy::shell::{
    effect::Effect,
    place::Place,
    walk::{Io, Walk},
    wrapper,
};

/// Options of `docker exec` and its like that take the next word.
const EXEC_TAKES: [&str; 12] = [
    "-u",
    "--user",
    "-w",
    "--workdir",
    "-e",
    "--env",
    "--env-file",
    "--detach-keys",
    "--index",
    "-n",
    "--namespace",
    "-c",
];

impl Walk<'_> {
    /// Notes that a command elsewhere destroys that place.
    pub(super) fn elsewhere(&mut self, name: &str, argv: &[String]) {
        let script = match name {
            "ssh" | "autossh" | "mosh" => wrapper::remote(&argv[1..]),
            "docker" | "podman" | "nerdctl" | "kubectl" | "oc" | "docker-compose" => executed(&argv[1..]),
            _ => None,
        };
        let Some(script) = script.filter(|script| !script.trim().is_empty()) else {
            return;
        };
        let first = self.seen.len();
        self.nested(|walk| {
            walk.apart(|walk| {
                // Nobody knows where it begins there.
                walk.scene.cwd = None;
                walk.source(&script, &Io::default())
            })
        });
        let found: Vec<(Effect, String)> = self.seen.drain(first..).flat_map(|seen| seen.effects).collect();
        for (effect, what) in found {
            match effect {
                Effect::DestroysOutsideWorkspace if is_the_whole(&what) => {
                    self.note(effect, format!("on another machine or in a container: {what}"));
                }
                Effect::DestroysOutsideWorkspace => {
                    self.note(
                        Effect::DestroysRemotely,
                        format!("on another machine or in a container: {what}"),
                    );
                }
                Effect::ExhaustsHost | Effect::OpensReverseShell => self.note(effect, what),
                _ => {}
            }
        }
    }
}

/// Whether what is removed is a root, a home, or a directory directly below the root.
fn is_the_whole(what: &str) -> bool {
    let path = what.rsplit(' ').next().unwrap_or_default();
    match super::super::place::place(path, None) {
        Place::Root | Place::Device(_) => true,
        Place::Home(parts) => parts.is_empty(),
        Place::System(parts) => parts.len() == 1,
        _ => matches!(path, "~" | "~/"),
    }
}

/// The command of `docker exec CONTAINER COMMAND`, `kubectl exec POD -- COMMAND`.
fn executed(words: &[String]) -> Option<String> {
    let at = words.iter().position(|word| word == "exec")?;
    let mut rest = &words[at + 1..];
    if let Some(dashes) = rest.iter().position(|word| word == "--") {
        return Some(quoted(&rest[dashes + 1..]));
    }
    while let Some(word) = rest.first().filter(|word| word.starts_with('-')) {
        let takes = EXEC_TAKES.contains(&word.as_str());
        rest = rest.get(1 + usize::from(takes)..)?;
    }
    Some(quoted(rest.get(1..)?))
}

fn quoted(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''")));
    quoted.collect::<Vec<_>>().join(" ")
}
