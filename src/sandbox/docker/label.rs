//! Whose a container is, written on it, and whether that one still lives.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What the keys of all our labels begin with.
pub const PREFIX: &str = "dev.opencode-fsm.";

const SANDBOX: &str = "dev.opencode-fsm.sandbox";
const ROLE: &str = "dev.opencode-fsm.role";
const OWNER: &str = "dev.opencode-fsm.owner";
const BOOT: &str = "dev.opencode-fsm.boot";
const LEASE: &str = "dev.opencode-fsm.lease-expires";
const PLAN: &str = "dev.opencode-fsm.plan";

/// The label by which the engine finds what is ours.
pub(super) const OURS: &str = SANDBOX;

/// The guest's executable, inside.
pub(super) const GUEST: &str = "/.opencode-fsm/guest";
/// The entry point of a container that is only looked into, and never started.
pub(super) const NOTHING: &str = "/";

/// Whether a container's command, as the engine lists it, is one that we give.
pub(super) fn runs_ours(command: &str) -> bool {
    command == NOTHING || command == format!("{GUEST} guest")
}

/// The process that answers for a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Its pid and start time, and the pid namespace in which that pid means something.
    process: String,
    /// The kernel's boot id.
    boot: String,
}

impl Owner {
    /// This process; `None` where `/proc` does not tell.
    pub fn this() -> Option<Self> {
        let pid = std::process::id();
        let namespace = namespace()?;
        Some(Self {
            process: format!("{pid} {} {namespace}", started(pid)?),
            boot: boot()?,
        })
    }

    /// The labels of a sandbox of this owner.
    pub fn labels(&self, label: &str, role: &str, plan: &str, lease: Duration) -> HashMap<String, String> {
        let expires = now() + lease.as_secs();
        [
            (SANDBOX, label.to_owned()),
            (ROLE, role.to_owned()),
            (OWNER, self.process.clone()),
            (BOOT, self.boot.clone()),
            (LEASE, expires.to_string()),
            (PLAN, plan.to_owned()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }
}

/// Why something of ours belongs to nobody any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Orphaned {
    /// The machine was started anew.
    Rebooted,
    /// Its owner's process is gone.
    OwnerGone,
    /// Its lease is over.
    LeaseExpired,
}

/// Whether what has these labels is provably nobody's; `None` where it lives, or where
/// there is no proof.
pub(super) fn orphaned(labels: &HashMap<String, String>) -> Option<Orphaned> {
    judge(labels, boot().as_deref(), namespace().as_deref(), now(), started)
}

fn judge(
    labels: &HashMap<String, String>,
    boot: Option<&str>,
    namespace: Option<&str>,
    now: u64,
    started: impl Fn(u32) -> Option<u64>,
) -> Option<Orphaned> {
    labels.get(SANDBOX)?;
    let expires: u64 = labels.get(LEASE)?.parse().ok()?;
    if boot? != labels.get(BOOT)? {
        return Some(Orphaned::Rebooted);
    }
    if now >= expires {
        return Some(Orphaned::LeaseExpired);
    }
    let mut owner = labels.get(OWNER)?.split(' ');
    let pid: u32 = owner.next()?.parse().ok()?;
    let start: u64 = owner.next()?.parse().ok()?;
    // A pid of another namespace says nothing here.
    if owner.next()? != namespace? {
        return None;
    }
    (started(pid) != Some(start)).then_some(Orphaned::OwnerGone)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// The pid namespace of this process (`pid:[4026531836]`).
fn namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// When a process started, in ticks since boot (field 22 of proc_pid_stat(5)); none for
/// one that has ended, though its parent has not yet asked how.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let start = fields.nth(18)?.parse().ok()?;
    (!ended).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(owner: &str, boot: &str, lease: u64) -> HashMap<String, String> {
        let pairs = [
            (SANDBOX, "run-judge-1"),
            (OWNER, owner),
            (BOOT, boot),
            (LEASE, &lease.to_string()),
        ];
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn verdict(labels: &HashMap<String, String>) -> Option<Orphaned> {
        judge(labels, Some("boot"), Some("pid:[1]"), 100, |pid| {
            (pid == 7).then_some(42)
        })
    }

    #[test]
    fn only_what_is_provably_nobodys_is() {
        assert_eq!(verdict(&labels("7 42 pid:[1]", "boot", 200)), None, "alive");
        assert_eq!(
            verdict(&labels("8 42 pid:[1]", "boot", 200)),
            Some(Orphaned::OwnerGone),
            "dead"
        );
        assert_eq!(
            verdict(&labels("7 41 pid:[1]", "boot", 200)),
            Some(Orphaned::OwnerGone),
            "its pid is somebody else's now"
        );
        assert_eq!(verdict(&labels("8 42 pid:[2]", "boot", 200)), None, "another namespace");
        assert_eq!(
            verdict(&labels("8 42 pid:[2]", "boot", 100)),
            Some(Orphaned::LeaseExpired)
        );
        assert_eq!(verdict(&labels("7 42 pid:[1]", "other", 200)), Some(Orphaned::Rebooted));
        for (owner, lease) in [("", "200"), ("7", "200"), ("x y z", "200"), ("7 42 pid:[1]", "soon")] {
            let mut labels = labels(owner, "boot", 200);
            labels.insert(LEASE.to_owned(), lease.to_owned());
            assert_eq!(verdict(&labels), None, "{owner} {lease}: no proof");
        }
        assert_eq!(verdict(&HashMap::new()), None, "not ours");
    }

    #[test]
    fn this_process_owns_what_it_makes() {
        let owner = Owner::this().expect("proc");
        let labels = owner.labels("run-agent-1", "agent", "hash", Duration::from_secs(60));
        assert_eq!(orphaned(&labels), None);
        assert!(labels.keys().all(|key| key.starts_with(PREFIX)));
    }
}
