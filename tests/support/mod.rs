//! What the integration tests share: a jail over a small tree, and commands in it.

use std::{path::Path, time::Duration};

use opencode_fsm::{
    policy::{Limits, Role, SandboxPlan, Tier, WorkspacePlan},
    sandbox::{
        ExecOutcome, ExecSpec, OutputCaps, Sandbox,
        jail::{JAIL_UID, Jail},
    },
    wire::{Argv, Leftovers},
};

/// The built program: launcher and guest.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_opencode-fsm");

/// A launcher of the built program.
pub fn jail() -> Jail {
    Jail::with_launcher(Path::new(PROGRAM)).expect("the launcher starts")
}

/// A plan for a jail whose layers lie in `dir`, which gets one file `hello`.
pub fn plan(dir: &Path, label: &str) -> SandboxPlan {
    let lower = dir.join("lower");
    std::fs::create_dir_all(&lower).expect("mkdir");
    std::fs::write(lower.join("hello"), "hello\n").expect("write");
    if nix::unistd::geteuid().is_root() {
        for path in [lower.clone(), lower.join("hello")] {
            std::os::unix::fs::chown(path, Some(JAIL_UID), Some(JAIL_UID)).expect("chown");
        }
    }
    SandboxPlan {
        label: format!("test-{}-{label}", std::process::id()),
        role: Role::Judge,
        workspace: WorkspacePlan {
            lowers: vec![lower],
            scratch: dir.join("layer"),
            max_bytes: 256 << 20,
            max_inodes: 100_000,
        },
        read_only: Vec::new(),
        limits: Limits {
            processes: 128,
            memory_bytes: 512 << 20,
            scratch_bytes: 64 << 20,
            ..Limits::default()
        },
        min_tier: Tier::Namespaces,
        loopback_ports: Vec::new(),
    }
}

/// `sh -c SCRIPT` with a ten-second cap.
pub fn sh(script: &str) -> ExecSpec {
    ExecSpec {
        argv: Argv::Shell(script.to_owned()),
        env: vec![
            (
                "PATH".to_owned(),
                "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned(),
            ),
            ("HOME".to_owned(), "/home/agent".to_owned()),
        ],
        cwd: "/workspace".to_owned(),
        wall: Duration::from_secs(10),
        leftovers: Leftovers::Kill,
        stdout: OutputCaps {
            tail_bytes: 64 * 1024,
            sink: None,
        },
        stderr: OutputCaps {
            tail_bytes: 64 * 1024,
            sink: None,
        },
    }
}

/// Runs a script to its end.
pub async fn run(sandbox: &Sandbox, script: &str) -> ExecOutcome {
    sandbox
        .exec(sh(script))
        .await
        .expect("exec")
        .wait()
        .await
        .expect("wait")
}

/// What a script printed, both streams.
pub fn text(outcome: &ExecOutcome) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&outcome.stdout.tail),
        String::from_utf8_lossy(&outcome.stderr.tail)
    )
}
