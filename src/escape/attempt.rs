//! What an attempt is, and what comes of one.

use std::{fmt, str::FromStr};

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;

use super::Field;
use crate::{
    probe::{Answer, Ground},
    sandbox::{Attribution, SandboxError},
};

/// What an attempt is about; the sections of the list that the attempts are numbered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// I: files of the host's, mounts, protected paths.
    Files,
    /// II: parts of the kernel.
    Kernel,
    /// III: processes that are to outlive their end.
    Lifecycle,
    /// IV: more than one's share.
    Resources,
    /// V: ways out over sockets.
    Network,
    /// VI: what is nobody's to read.
    Secrets,
    /// VII: what goes in and comes out.
    Copies,
    /// VIII: logs, records, the way to the host.
    Control,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "files",
            Self::Kernel => "kernel",
            Self::Lifecycle => "lifecycle",
            Self::Resources => "resources",
            Self::Network => "network",
            Self::Secrets => "secrets",
            Self::Copies => "copies",
            Self::Control => "control",
        })
    }
}

/// Which back end is tried (`--sandbox`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tried {
    /// Namespaces, landlock and seccomp, without Docker.
    Jail,
    /// Containers of the Docker engine of this machine.
    Docker,
    /// The tier without namespaces.
    Landlock,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jail => "jail",
            Self::Docker => "docker",
            Self::Landlock => "landlock",
        })
    }
}

impl FromStr for Tried {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Jail, Self::Docker, Self::Landlock]
            .into_iter()
            .find(|tried| tried.to_string() == text)
            .ok_or_else(|| "expected jail, docker or landlock".to_owned())
    }
}

/// In which sandbox an act is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// One with the usual caps.
    Usual,
    /// One with small caps ([`super::field::small`]).
    Small,
    /// One with a twentieth of a processor.
    Slow,
}

/// Something that is done with the field by the host.
pub type Step = for<'a> fn(&'a Field) -> BoxFuture<'a, Result<Answer, SandboxError>>;

/// How an attempt is made.
#[derive(Clone, Copy)]
pub enum Method {
    /// An act of [`crate::probe`], by its name.
    Act {
        /// The act.
        act: &'static str,
        /// Where it is tried.
        place: Place,
        /// Where its control is.
        ground: Ground,
        /// [`crate::probe::Marks::amount`].
        amount: u64,
    },
    /// An act or several, which the host starts and looks after; the control first.
    Host {
        /// The same where nothing stands in the way.
        control: Step,
        /// Behind the walls.
        inside: Step,
    },
}

/// What a host may lack, so that an attempt's control cannot show anything there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The control is refused with this errno.
    Errno(i32, &'static str),
    /// This program is not root.
    Root,
    /// What is inside has no id of its own here, but this program's.
    OwnId,
}

/// One attempt.
#[derive(Clone, Copy)]
pub struct Attempt {
    /// Its name; unique. That of its act, where it is one.
    pub name: &'static str,
    /// Its number in the list of attempts that docs/security_model.md describes.
    pub number: u16,
    /// What it is about.
    pub section: Section,
    /// How it is made.
    pub method: Method,
    /// What a host may lack for its control.
    pub lacks: &'static [Lack],
}

impl Attempt {
    /// An act whose control is the same act outside of the sandbox.
    pub(super) const fn act(number: u16, section: Section, act: &'static str) -> Self {
        Self {
            name: act,
            number,
            section,
            method: Method::Act {
                act,
                place: Place::Usual,
                ground: Ground::Here,
                amount: 0,
            },
            lacks: &[],
        }
    }

    /// The same, where the control is root of name spaces of its own.
    pub(super) const fn apart(self) -> Self {
        match self.method {
            Method::Act { act, place, amount, .. } => Self {
                method: Method::Act {
                    act,
                    place,
                    ground: Ground::OwnNamespaces,
                    amount,
                },
                ..self
            },
            Method::Host { .. } => self,
        }
    }

    /// The same, in another sandbox, with an amount.
    pub(super) const fn of(self, place: Place, amount: u64) -> Self {
        match self.method {
            Method::Act { act, ground, .. } => Self {
                method: Method::Act {
                    act,
                    place,
                    ground,
                    amount,
                },
                ..self
            },
            Method::Host { .. } => self,
        }
    }

    /// The same, on hosts that may lack something.
    pub(super) const fn lacking(self, lacks: &'static [Lack]) -> Self {
        Self { lacks, ..self }
    }

    /// One that the host makes.
    pub(super) const fn host(number: u16, section: Section, name: &'static str, control: Step, inside: Step) -> Self {
        Self {
            name,
            number,
            section,
            method: Method::Host { control, inside },
            lacks: &[],
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was refused, or came to nothing, and its control shows that it would not have been.
    Blocked,
    /// It was done, or something of the host's is not as it was.
    Escaped,
    /// It was refused, but this host lacks what its control needs.
    Unsupported,
    /// It was refused, and so was its control: it shows nothing.
    ControlFailed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocked => "blocked",
            Self::Escaped => "ESCAPED",
            Self::Unsupported => "unsupported",
            Self::ControlFailed => "CONTROL FAILED",
        })
    }
}

/// One attempt's line of `escape-test --json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Verdict {
    /// The attempt.
    pub attempt: &'static str,
    /// Its number in the list of attempts.
    pub number: u16,
    /// What it is about.
    pub section: Section,
    /// The back end.
    pub sandbox: Tried,
    /// What came of it.
    pub outcome: Outcome,
    /// The layer that refused it, where the refusal tells it from others.
    pub layer: Option<Attribution>,
    /// What the kernel said (errno(3)), where it did.
    pub errno: Option<i32>,
    /// One line about it.
    pub detail: String,
    /// What its control did.
    pub control: String,
    /// Wall time inside, microseconds.
    pub micros: u64,
}
