//! `versions.json`: what a run was made with.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

/// What a run was made with; what cannot be found out is null.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Versions {
    /// RFC 3339, UTC.
    pub ts: String,
    /// This program.
    pub tool: Named,
    /// The host.
    pub os: Os,
    /// OpenCode; null without an agent.
    pub opencode: Option<OpenCode>,
}

/// A program by name and version.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The host's system.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Os {
    /// `PRETTY_NAME` of `/etc/os-release` (os-release(5)).
    pub name: Option<String>,
    /// Kernel release (`uname -r`).
    pub kernel: Option<String>,
    /// Machine architecture.
    pub arch: String,
}

/// The agent's executable.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OpenCode {
    /// Where it lies on the host.
    pub path: String,
    /// The version that its npm package names; the host never starts it to ask.
    pub version: Option<String>,
}

impl Versions {
    /// What this host has, and the agent's executable.
    pub(super) fn of_host(opencode: Option<OpenCode>) -> Self {
        Self {
            ts: jiff::Timestamp::now().to_string(),
            tool: Named {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            os: Os {
                name: read("/etc/os-release").and_then(|text| pretty_name(&text)),
                kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
                arch: std::env::consts::ARCH.to_owned(),
            },
            opencode,
        }
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(path)).ok()
}

fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_names_itself() {
        let found = Versions::of_host(None);
        assert_eq!(found.tool.name, "opencode-fsm");
        assert!(
            found
                .os
                .kernel
                .is_some_and(|kernel| kernel.starts_with(|c: char| c.is_ascii_digit()))
        );
        assert_eq!(
            pretty_name("A=1\nPRETTY_NAME=\"Some Linux 1\"\n").as_deref(),
            Some("Some Linux 1")
        );
        assert_eq!(pretty_name("A=1\n"), None);
    }
}
