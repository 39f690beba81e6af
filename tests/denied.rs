//! Who refused or ended something of a command, as the host has seen it.

mod support;

use std::time::Duration;

use opencode_fsm::{
    sandbox::{Attribution, Denied, ExecSpec, Layer, OutputSink},
    wire::Termination,
};
use support::{Scratch, backend, elf, in_docker, install, perl, plan, sh};

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_a_command_is_laid_to_the_layer_that_did() {
    let dir = Scratch::new();
    let mut plan = plan(dir.path(), "denied");
    plan.limits.memory_bytes = 128 << 20;
    plan.limits.processes = 64;
    plan.limits.file_bytes = 8 << 20;
    plan.workspace.max_bytes = 16 << 20;
    // `mov eax, 1; int 0x80`: a call by the 32-bit table.
    install(dir.path(), "int80", &elf(b"\xb8\x01\0\0\0\xcd\x80"));
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan).await.expect("a sandbox");
    let denied = async |spec: ExecSpec| {
        let outcome = sandbox.exec(spec).await.expect("exec").wait().await.expect("wait");
        (outcome.end, outcome.denied)
    };

    assert_eq!(denied(sh("exit 3")).await, (Termination::Code(3), Vec::new()));
    // A program that says so was not refused anything by that.
    let (_, words) = denied(sh("echo Permission denied >&2; echo seccomp landlock; exit 1")).await;
    assert_eq!(words, []);

    let capped = ExecSpec {
        wall: Duration::from_millis(300),
        ..sh("exec sleep 60")
    };
    assert_eq!(denied(capped).await.1, [Denied::by(Layer::Supervisor, "time")]);
    let silent = ExecSpec {
        silence: Some(Duration::from_millis(300)),
        ..sh("exec sleep 60")
    };
    let by_host = Denied::by(Layer::Supervisor, "max_silence_seconds");
    assert_eq!(denied(silent).await.1, [by_host]);

    let (end, memory) = denied(perl("my $x = 'x' x (1 << 30); sleep 5", &[])).await;
    let by = if opencode_fsm::sandbox::owner().is_some() || in_docker() {
        Layer::Cgroup
    } else {
        Layer::Supervisor
    };
    assert_eq!(
        (end, memory),
        (Termination::Signal(libc::SIGKILL), vec![Denied::by(by, "memory")])
    );
    let fill = "for i in 1 2 3 4 5 6; do head -c 7M /dev/zero >f$i; done; sleep 5";
    assert_eq!(denied(sh(fill)).await.1, [Denied::by(Layer::Disk, "disk")]);
    denied(sh("rm -f f*")).await;

    // What a wall sends by a signal a program can send itself.
    for (command, signal) in [
        ("exec ./int80", libc::SIGSYS),
        ("kill -SYS $$", libc::SIGSYS),
        ("exec head -c 9M /dev/zero >big", libc::SIGXFSZ),
    ] {
        let (end, told) = denied(sh(command)).await;
        assert_eq!(end, Termination::Signal(signal), "{command}");
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].by, Attribution::Unattributed, "{told:?}");
    }

    let mut loud = sh("head -c 100000 /dev/zero");
    loud.stdout.sink = Some(OutputSink {
        path: dir.path().join("loud"),
        max_bytes: 1000,
    });
    assert_eq!(denied(loud).await.1, [Denied::by(Layer::Record, "output")]);

    // Where the cgroup bounds processes the kernel counts what it refuses; a limit of each
    // id is not counted, and nobody but the command knows of it.
    let (_, forks) = denied(sh("for i in $(seq 120); do sleep 5 & done 2>/dev/null; exit 0")).await;
    let counted = forks.contains(&Denied::by(Layer::Cgroup, "processes"));
    assert_eq!(counted, in_docker(), "{forks:?}");
}
