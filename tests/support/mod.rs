//! What the integration tests share: a jail over a small tree, and commands in it.

// Every test program uses a part of this only.
#![allow(dead_code)]

use std::{path::Path, time::Duration};

use opencode_fsm::{
    image,
    policy::{LEASE, Limits, Role, SandboxPlan, Tier, WorkspacePlan},
    sandbox::{
        Backend, ExecOutcome, ExecSpec, Layer, OutputCaps, SANDBOX_UID, Sandbox,
        docker::{Docker, Engine, Start},
        jail::Jail,
    },
    wire::{Argv, Leftovers, Reach},
};

/// A temporary directory that goes with all that a jail leaves in it: directories
/// that nobody may open, trees that are too deep for others to remove.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("tempdir"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = opencode_fsm::tree::remove_all(self.path());
    }
}

/// The built program: launcher and guest.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_opencode-fsm");

/// A launcher of the built program.
pub fn jail() -> Jail {
    Jail::with_launcher(Path::new(PROGRAM)).expect("the launcher starts")
}

/// Whether this run of the tests is about containers (`OPENCODE_FSM_SANDBOX=docker`); else
/// it is about the jail.
pub fn in_docker() -> bool {
    std::env::var_os("OPENCODE_FSM_SANDBOX").is_some_and(|name| name == "docker")
}

/// The back end that this run of the tests is about, some layers left off.
pub async fn backend(off: &[Layer]) -> Backend {
    if in_docker() {
        Backend::Docker(Box::new(docker(&runner_image().await).await.without(off)))
    } else {
        Backend::Jail(jail().without(off))
    }
}

/// Containers of an image, with the built program for the guest.
pub async fn docker(image: &str) -> Docker {
    let start = Start {
        program: PROGRAM.into(),
        image: image.to_owned(),
        runtime: None,
    };
    let engine = Engine::reach().await.expect("a Docker engine");
    Docker::new(engine, start).await.expect("an image")
}

/// The image that `OPENCODE_FSM_IMAGE` names, else the runner image.
pub async fn runner_image() -> String {
    if let Ok(name) = std::env::var("OPENCODE_FSM_IMAGE") {
        return name;
    }
    let engine = Engine::reach().await.expect("a Docker engine");
    let found = image::ready(&engine.client, image::Variant::Full)
        .await
        .expect("images");
    found.expect("the runner image: opencode-fsm image build").reference
}

/// A plan for a jail whose layers lie in `dir`, which gets one file `hello`.
pub fn plan(dir: &Path, label: &str) -> SandboxPlan {
    let lower = dir.join("lower");
    std::fs::create_dir_all(&lower).expect("mkdir");
    std::fs::write(lower.join("hello"), "hello\n").expect("write");
    if nix::unistd::geteuid().is_root() {
        for path in [lower.clone(), lower.join("hello")] {
            std::os::unix::fs::chown(path, Some(SANDBOX_UID), Some(SANDBOX_UID)).expect("chown");
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
        network: opencode_fsm::policy::NetworkMode::None,
        limits: Limits {
            processes: 128,
            memory_bytes: 512 << 20,
            scratch_bytes: 64 << 20,
            ..Limits::default()
        },
        min_tier: Tier::Namespaces,
        lease: LEASE,
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
        silence: None,
        terminal: None,
        leftovers: Leftovers::Kill,
        reach: Reach::Own,
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

/// A perl program with arguments; perl is on every Debian and has every system call.
pub fn perl(program: &str, args: &[&str]) -> ExecSpec {
    let words = ["/usr/bin/perl", "-e", program];
    ExecSpec {
        argv: Argv::Direct(words.iter().chain(args).map(|word| (*word).to_owned()).collect()),
        ..sh("")
    }
}

/// Runs a perl program inside; both streams, trimmed.
pub async fn inside(sandbox: &Sandbox, program: &str, args: &[&str]) -> String {
    let running = sandbox.exec(perl(program, args)).await.expect("exec");
    text(&running.wait().await.expect("wait")).trim().to_owned()
}

/// Runs the same program on the host, as the user that runs the test: the positive control.
pub fn outside(program: &str, args: &[&str]) -> String {
    let done = std::process::Command::new("/usr/bin/perl")
        .args(["-e", program])
        .args(args)
        .output()
        .expect("perl runs");
    let both = [done.stdout, done.stderr].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}

/// A small static ELF program of the given machine code (elf(5)), for what no
/// interpreter can do. One read-execute segment at 4 MiB, which is also the entry.
pub fn elf(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    // ET_EXEC for EM_X86_64.
    for half in [2u16, 62] {
        out.extend(half.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    // This header's size, a program header's size and how many; no sections.
    for half in [64u16, 56, 1, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    // PT_LOAD, PF_R | PF_X.
    for word in [1u32, 5] {
        out.extend(word.to_le_bytes());
    }
    for word in [0, BASE, BASE, size, size, 0x1000] {
        out.extend(word.to_le_bytes());
    }
    out.extend(code);
    out
}

/// Puts an executable into the pristine layer of a [`plan`].
pub fn install(dir: &Path, name: &str, program: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("lower").join(name);
    std::fs::write(&path, program).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
}
