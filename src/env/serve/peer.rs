//! Whether the process at the other end still lives: its input may be held open by a child
//! of it when it dies.

use std::{fs, time::Duration};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// A process, by its number and the time at which it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pid: u32,
    started: u64,
}

impl Peer {
    /// The process `pid`; `None` where `/proc` does not show it.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self {
            pid,
            started: started(pid)?,
        })
    }
}

/// Resolves once the peer is dead; never without one.
pub async fn dies(peer: Option<Peer>) {
    let Some(peer) = peer else {
        return std::future::pending().await;
    };
    while started(peer.pid) == Some(peer.started) {
        tokio::time::sleep(LOOK).await;
    }
}

/// When a process that runs started, in clock ticks (field 22 of proc_pid_stat(5)); `None`
/// for one that is gone or a zombie.
fn started(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    // The state is field 3.
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_a_peer_until_it_dies() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("starts");
        let peer = Peer::of(child.id()).expect("it runs");
        assert_eq!(Peer::of(child.id()), Some(peer));
        child.kill().expect("kill");
        // A zombie is dead, though nobody has waited for it.
        dies(Some(peer)).await;
        child.wait().expect("ends");
        assert_eq!(Peer::of(child.id()), None);
    }
}
