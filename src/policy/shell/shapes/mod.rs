//! Wrappers: which options take an argument, and where the command begins.
//!
//! | file | holds |
//! |---|---|
//! | `privilege` | those that change who a command is, or what it sees |
//! | `process` | those that change how a process runs |
//! | `lists` | those that put a command together |
//! | `tools` | those of packages, terminals and tasks |

mod lists;
mod privilege;
mod process;
mod tools;

use super::effect::Effect;

/// How a wrapper's arguments are read.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub names: &'static [&'static str],
    /// Options that take the next word.
    pub takes: &'static [&'static str],
    /// Words before the command.
    pub skips: usize,
    /// Options whose argument is a script.
    pub scripts: &'static [&'static str],
    /// `NAME=VALUE` may stand before the command.
    pub assigns: bool,
    /// The rest is joined to a script.
    pub joins: bool,
    /// Without a command it runs a shell.
    pub shell: bool,
    /// Subcommands, one of which has to stand first.
    pub verbs: &'static [&'static str],
    pub effect: Option<(Effect, &'static str)>,
}

/// One that only runs what its arguments say.
const PLAIN: Shape = Shape {
    names: &[],
    takes: &[],
    skips: 0,
    scripts: &[],
    assigns: false,
    joins: false,
    shell: false,
    verbs: &[],
    effect: None,
};

/// The shape of the wrapper `name`; `None` where it is none.
pub(super) fn shape(name: &str) -> Option<&'static Shape> {
    let all = [privilege::PRIVILEGE, process::PROCESS, lists::LISTS, tools::TOOLS];
    all.into_iter().flatten().find(|shape| {
        shape.names.contains(&name) || (name.starts_with("ld-") && name.contains(".so") && shape.names[0] == "ld.so")
    })
}
