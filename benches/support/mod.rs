//! What the benchmarks share: figures as rows of a table, plans, trees.
#![allow(dead_code, reason = "every benchmark uses a part of it")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use opencode_fsm::{
    policy::{LEASE, Limits, Role, SandboxPlan, Tier, WorkspacePlan},
    sandbox::{self, ExecSpec, Sandbox},
    tree::{Cache, CopyLimits, Pristine},
    wire::Argv,
};

/// The program under measurement.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_opencode-fsm");
/// Bounds on copied trees.
pub const LIMITS: CopyLimits = CopyLimits {
    max_files: 1_000_000,
    max_bytes: 8 << 30,
};

/// A directory for all that is measured, and the parts that the command line names.
pub struct Wanted {
    dir: tempfile::TempDir,
    parts: Vec<String>,
}

impl Wanted {
    pub fn new() -> Self {
        // Not /tmp, which may be memory.
        let dir = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in("/var/tmp")
            .expect("tempdir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        let parts = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
        println!("| what | ours | peer | peer's | ours / peer's |");
        println!("|---|---|---|---|---|");
        Self { dir, parts }
    }

    /// Where a part has its files; none where it is not wanted.
    pub fn part(&self, name: &str) -> Option<PathBuf> {
        let wanted = self.parts.is_empty() || self.parts.iter().any(|part| part == name);
        wanted.then(|| self.dir.path().join(name))
    }
}

pub fn row(what: &str, ours: Duration, peer: &str, theirs: Duration) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!(
        "| {what} | {:.2} ms | {peer} | {:.2} ms | {ratio:.2} |",
        millis(ours),
        millis(theirs)
    );
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

pub fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

pub fn quietly(program: &str, arguments: &[&str]) -> Duration {
    timed(|| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        assert!(
            command
                .status()
                .unwrap_or_else(|why| panic!("{program}: {why}"))
                .success(),
            "{program}"
        );
    })
}

pub fn owner() -> Option<(u32, u32)> {
    sandbox::owner().map(|id| (id, id))
}

pub fn own(path: &Path) {
    if let Some((uid, gid)) = owner() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("chown");
    }
}

pub fn plan(lower: &Path, scratch: &Path) -> SandboxPlan {
    SandboxPlan {
        label: format!("bench-{}", std::process::id()),
        role: Role::Judge,
        workspace: WorkspacePlan {
            lowers: vec![lower.to_path_buf()],
            scratch: scratch.to_path_buf(),
            max_bytes: 1 << 30,
            max_inodes: 1_000_000,
        },
        read_only: Vec::new(),
        network: opencode_fsm::policy::NetworkMode::None,
        limits: Limits::default(),
        min_tier: Tier::Namespaces,
        lease: LEASE,
    }
}

pub async fn run_true(sandbox: &Sandbox) {
    run(sandbox, Argv::Direct(vec!["/bin/true".to_owned()])).await;
}

pub async fn run_script(sandbox: &Sandbox, script: &str) {
    run(sandbox, Argv::Shell(script.to_owned())).await;
}

async fn run(sandbox: &Sandbox, argv: Argv) {
    let spec = ExecSpec::question(argv, "/", Duration::from_secs(10), 0);
    sandbox.exec(spec).await.expect("exec").wait().await.expect("wait");
}

/// A tree of `files` files with `bytes` each, 100 to a directory.
pub fn tree(root: &Path, files: usize, bytes: usize) {
    let mut content = vec![0_u8; bytes];
    for at in 0..files {
        let dir = root.join(format!("{:04}", at / 100));
        if at % 100 == 0 {
            fs::create_dir_all(&dir).expect("mkdir");
        }
        // Different in every file, and nothing that compresses to holes.
        for (index, byte) in content.iter_mut().enumerate() {
            *byte = (index.wrapping_mul(31) ^ at) as u8;
        }
        fs::write(dir.join(format!("{at}")), &content).expect("write");
    }
}

pub fn pristine(cache: &Path, source: &Path) -> Pristine {
    Cache::open(cache, owner())
        .expect("cache")
        .pristine(source, &LIMITS, &|_, _| {})
        .expect("copy")
}
