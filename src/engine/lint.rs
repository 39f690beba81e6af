//! What policy says of a command that is about to run, with the scripts that it would run as
//! they are in the sandbox.

use std::{cell::RefCell, collections::BTreeMap};

use crate::{
    names::RelPath,
    policy::{
        CommandPolicy, Refusal,
        shell::{SCRIPT_MAX, Scripts, Verdict},
    },
    sandbox::{Found, Sandbox},
};

/// How often a command is looked at anew, because a script that was read runs another one.
const ROUNDS: usize = 4;
/// Most scripts that are read for one command.
const SCRIPTS: usize = 16;

/// Scripts that were read, and those that are asked for.
#[derive(Default)]
struct Shelf {
    read: BTreeMap<RelPath, Option<String>>,
    wanted: RefCell<Vec<RelPath>>,
}

impl Scripts for Shelf {
    fn read(&self, path: &[String]) -> Option<String> {
        let path = RelPath::new(path.join("/")).ok()?;
        if let Some(text) = self.read.get(&path) {
            return text.clone();
        }
        self.wanted.borrow_mut().push(path);
        None
    }
}

/// Whether `command` may run in the directory `cwd` inside; what nobody can decide comes
/// back with its verdict, to be recorded.
/// A script that cannot be read is not followed.
///
/// # Errors
/// The refusal.
pub(super) async fn check(
    policy: &CommandPolicy,
    command: &str,
    cwd: &str,
    strict: bool,
    sandbox: &Sandbox,
) -> Result<Option<Verdict>, Refusal> {
    let dir = cwd.strip_prefix(&sandbox.inside().workspace).unwrap_or_default();
    let dir = dir.trim_start_matches('/');
    let mut shelf = Shelf::default();
    for _ in 0..ROUNDS {
        let answer = policy.check(command, dir, strict, &shelf);
        let wanted = shelf.wanted.take();
        let room = SCRIPTS.saturating_sub(shelf.read.len());
        if answer.is_err() || wanted.is_empty() || room == 0 {
            return answer;
        }
        for path in wanted.into_iter().take(room) {
            let text = match sandbox.read(&path, SCRIPT_MAX as u64).await {
                Ok(Found::File(bytes)) => String::from_utf8(bytes).ok(),
                // A guest that is gone is noticed by whoever runs the command.
                Ok(Found::Nothing | Found::Refused(_) | Found::TooLarge) | Err(_) => None,
            };
            shelf.read.insert(path, text);
        }
    }
    policy.check(command, dir, strict, &shelf)
}
