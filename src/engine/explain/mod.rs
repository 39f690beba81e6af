//! `policy explain`: what becomes of a system call, a path or a host, by which rule, and what
//! enforces it in each back end. The answers come from the values that the walls are built
//! from (filter, landlock rules, write-sets, rules about hosts), not from a list beside them.
//!
//! | file | about |
//! |---|---|
//! | `syscall` | the compiled filter |
//! | `path` | the guard's write-sets, mounts and landlock rules |
//! | `host` | the rules about hosts, and the door |
//! | `command` | the rules about commands |

mod command;
mod host;
mod path;
mod syscall;

use serde::Serialize;

use crate::sandbox::look::{self, Standing};

pub use command::{CommandAnswer, explain_command};
pub use host::explain_host;
pub use path::{PathQuestion, explain_path};
pub use syscall::explain_syscall;

/// An answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// What was asked about.
    pub subject: String,
    /// `allow`, `deny`, or `depends` where the answer is not one for all cases.
    pub verdict: &'static str,
    /// The rule that decides.
    pub rule: String,
    /// Why.
    pub because: String,
    /// Where the rule is: `FILE:LINE`, or a flag.
    pub at: String,
    /// The cases, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<CaseLine>,
    /// What enforces it in each back end.
    pub enforced_by: Vec<Enforcement>,
}

/// One of several cases.
#[derive(Clone, Debug, Serialize)]
pub struct CaseLine {
    /// When it is this one.
    pub when: String,
    /// What becomes of it then.
    pub verdict: String,
    /// By which rule, where that is another in each case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Where that rule is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// What enforces it in one back end.
#[derive(Clone, Debug, Serialize)]
pub struct Enforcement {
    /// `jail`, `docker` or `landlock`.
    pub backend: &'static str,
    /// What becomes of it there.
    pub verdict: String,
    /// By which wall.
    pub mechanism: String,
    /// Whether this host can give that back end, as far as its settings tell.
    pub here: Standing,
}

/// The three back ends, each with what `tell` says of it.
fn in_each(mut tell: impl FnMut(&'static str) -> (String, String)) -> Vec<Enforcement> {
    let standings = [
        ("jail", look::for_jail as fn() -> Standing),
        ("docker", look::for_docker),
        ("landlock", look::for_landlock),
    ];
    standings
        .into_iter()
        .map(|(backend, look)| {
            let (verdict, mechanism) = tell(backend);
            Enforcement {
                backend,
                verdict,
                mechanism,
                here: look(),
            }
        })
        .collect()
}
