//! What an act is, what it is told, and what it answers.

use serde::{Deserialize, Serialize};

use super::Layer;

/// Things of the host's, or of a stand-in for it, that acts are after, and places of the
/// acting process's own. What an act does not need may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Marks {
    /// A file that everybody may read and write where it can be reached; it holds `token`.
    pub file: String,
    /// A file like it in the user's home.
    pub home_file: String,
    /// A directory like it; absolute.
    pub dir: String,
    /// Text that stands in nothing but what is out of reach.
    pub token: String,
    /// A process that lives, by its id where it can be reached.
    pub pid: i32,
    /// A supervisor of the acting process, by its id; 0 is the parent.
    pub supervisor: i32,
    /// A port of 127.0.0.1 that accepts connections.
    pub tcp: u16,
    /// A port of ::1 that accepts connections; 0 where the host has no IPv6.
    pub tcp6: u16,
    /// A port of 127.0.0.1 that takes datagrams.
    pub udp: u16,
    /// A listening socket, by its path.
    pub socket: String,
    /// A listening socket, by its abstract name (unix(7)).
    pub name: String,
    /// A System V segment that holds `token`, by its key (sysvipc(7)).
    pub segment: i32,
    /// The host's name (gethostname(2)).
    pub host_name: String,
    /// A directory that is shown read-only, as the acting process sees it.
    pub piece: String,
    /// A writable directory of the acting process's own.
    pub own: String,
    /// What the acting process may take: bytes, seconds, descriptors, as the act says.
    pub amount: u64,
}

/// What became of an act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was done: no wall stood in its way. How that showed.
    Done(String),
    /// It was refused.
    Refused {
        /// What the kernel said; 0 where the act saw by other means that it came to nothing.
        errno: i32,
        /// The layer that refused, where the act can tell it from others that would have.
        by: Option<Layer>,
    },
}

impl Answer {
    /// A refusal that tells of its layer.
    pub(super) fn by(errno: i32, by: Layer) -> Self {
        Self::Refused { errno, by: Some(by) }
    }

    /// A refusal that several layers could have been.
    pub(super) fn refused(errno: i32) -> Self {
        Self::Refused { errno, by: None }
    }

    /// What was asked for came about without an effect beyond the walls.
    pub(super) fn in_vain(by: Option<Layer>) -> Self {
        Self::Refused { errno: 0, by }
    }
}

/// One forbidden act.
#[derive(Clone, Copy)]
pub struct Act {
    /// Its name; unique.
    pub name: &'static str,
    /// Tries it. It does no harm where it succeeds beyond what its marks are for.
    pub run: fn(&Marks) -> Answer,
}
