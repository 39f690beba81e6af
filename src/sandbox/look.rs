//! Whether this host can give a back end, by what its settings say: nothing is built, and it
//! takes no time. `doctor` builds one.

use std::fs;

use serde::Serialize;

use super::docker;
use crate::guest::landlock_abi;

/// Least landlock ABI of a jail and of a container, and of the tier without namespaces.
const WALLED: u32 = 3;
const ALONE: u32 = 6;

/// Whether a host can give one back end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Whether it can.
    pub can: bool,
    /// What says so.
    pub why: String,
}

impl Standing {
    fn of(missing: Option<String>, otherwise: String) -> Self {
        Self {
            can: missing.is_none(),
            why: missing.unwrap_or(otherwise),
        }
    }
}

/// The jail.
pub fn for_jail() -> Standing {
    let namespaces = || {
        let set = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let root = nix::unistd::geteuid().is_root();
        if set("/proc/sys/user/max_user_namespaces").is_none_or(|most| most == "0") {
            return Some("user namespaces are forbidden (/proc/sys/user/max_user_namespaces)".to_owned());
        }
        let closed = set("/proc/sys/kernel/unprivileged_userns_clone").is_some_and(|on| on == "0")
            || set("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").is_some_and(|on| on == "1");
        (closed && !root).then(|| "user namespaces are forbidden to ordinary users (/proc/sys/kernel)".to_owned())
    };
    Standing::of(filter().or_else(|| landlock(WALLED)).or_else(namespaces), abi())
}

/// Containers.
pub fn for_docker() -> Standing {
    match docker::listens() {
        Ok(socket) => Standing::of(
            filter().or_else(|| landlock(WALLED)),
            format!("an engine listens at {socket}"),
        ),
        Err(why) => Standing::of(Some(why), String::new()),
    }
}

/// The tier `landlock`.
pub fn for_landlock() -> Standing {
    Standing::of(filter().or_else(|| landlock(ALONE)), abi())
}

fn abi() -> String {
    format!(
        "landlock ABI {}, seccomp, namespaces as far as settings tell",
        landlock_abi()
    )
}

fn landlock(least: u32) -> Option<String> {
    let abi = landlock_abi();
    (abi < least).then(|| format!("landlock ABI {abi}, and {least} is needed"))
}

fn filter() -> Option<String> {
    let there = fs::metadata("/proc/sys/kernel/seccomp/actions_avail").is_ok();
    (!there).then(|| "the kernel has no seccomp filters".to_owned())
}
