//! The walls and the life of a stage in a jail or a container, with real ones.

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use opencode_fsm::{
    sandbox::{Found, Sandbox, SandboxError},
    wire::{Leftovers, Termination},
};
use support::{Scratch, backend, plan, run, sh, text};

const OK: Termination = Termination::Code(0);

#[tokio::test]
async fn a_command_runs_over_a_layer_that_the_host_can_read() {
    let dir = Scratch::new();
    let plan = plan(dir.path(), "basic");
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan).await.expect("a sandbox");
    let outcome = run(
        &sandbox,
        "cat hello && echo changed > hello && id -un && cat /proc/self/status",
    )
    .await;
    assert_eq!(outcome.end, OK, "{}", text(&outcome));
    let out = text(&outcome);
    assert!(out.starts_with("hello\nagent\n"), "{out}");
    for none in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(out.contains(&format!("{none}:\t0000000000000000")), "{none}: {out}");
    }
    assert!(out.contains("NoNewPrivs:\t1") && out.contains("Seccomp:\t2"), "{out}");
    let upper = dir.path().join("layer/upper/hello");
    assert_eq!(std::fs::read_to_string(upper).expect("the upper"), "changed\n");
    assert_eq!(
        std::fs::read_to_string(dir.path().join("lower/hello")).expect("the lower"),
        "hello\n"
    );
    sandbox.destroy().await.expect("destroyed");
}

#[tokio::test]
async fn a_command_is_offered_to_the_oom_killer_from_its_first_moment() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "oom")).await.expect("a sandbox");
    for _ in 0..50 {
        let mut spec = sh("");
        spec.argv =
            opencode_fsm::wire::Argv::Direct(vec!["/bin/cat".to_owned(), "/proc/self/oom_score_adj".to_owned()]);
        let outcome = sandbox.exec(spec).await.expect("exec").wait().await.expect("wait");
        assert_eq!(text(&outcome), "1000\n");
    }
    // Its supervisors are not: the control.
    let of = |pid: &str| format!("cat /proc/{pid}/oom_score_adj");
    assert_ne!(text(&run(&sandbox, &of("1")).await), "1000\n");
    assert_ne!(text(&run(&sandbox, &of("$PPID")).await), "1000\n");
}

#[tokio::test]
async fn exit_codes_signals_and_missing_programs_are_told() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "codes")).await.expect("a sandbox");
    assert_eq!(run(&sandbox, "exit 3").await.end, Termination::Code(3));
    assert_eq!(run(&sandbox, "kill -9 $$").await.end, Termination::Signal(9));
    let mut spec = sh("");
    spec.argv = opencode_fsm::wire::Argv::Direct(vec!["no-such-program".to_owned()]);
    let refused = sandbox
        .exec(spec)
        .await
        .expect("exec")
        .wait()
        .await
        .expect_err("no such program");
    assert!(refused.to_string().contains("execve"), "{refused}");
    assert_eq!(run(&sandbox, "true").await.end, OK);
}

#[tokio::test]
async fn the_wall_cap_ends_a_tree_that_resists_and_nothing_survives() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "resist")).await.expect("a sandbox");
    let mut spec = sh(
        "trap '' TERM INT HUP; (setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &) ; \
         setsid sleep 1000 & (sleep 1000 & kill -STOP $!) ; while :; do :; done",
    );
    spec.wall = Duration::from_millis(700);
    let began = Instant::now();
    let outcome = sandbox.exec(spec).await.expect("exec").wait().await.expect("wait");
    assert!(outcome.timed_out);
    assert!(outcome.leaked_total >= 2, "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    let left = run(&sandbox, "exec cat /proc/[0-9]*/comm").await;
    // A stage is `sh` and `sleep`; what looks at it is `cat` and supervisors.
    assert!(
        text(&left).lines().all(|name| !["sh", "sleep"].contains(&name)),
        "{}",
        text(&left)
    );
}

#[tokio::test]
async fn a_stage_ends_with_its_main_process_though_a_child_holds_stdout() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "holds")).await.expect("a sandbox");
    let began = Instant::now();
    let outcome = run(&sandbox, "sleep 9 & echo done").await;
    assert_eq!((outcome.end, text(&outcome).as_str()), (OK, "done\n"));
    assert_eq!(outcome.leaked_total, 1);
    // Before its execve the child still carries its parent's name.
    assert!(
        ["sleep", "sh"].contains(&outcome.leaked[0].comm.as_str()),
        "{outcome:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_deploy_leaves_lives_until_swept() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "keep")).await.expect("a sandbox");
    let mut spec = sh("sleep 600 & until grep -q sleep /proc/$!/comm; do :; done; echo started");
    spec.leftovers = Leftovers::Keep;
    let outcome = sandbox.exec(spec).await.expect("exec").wait().await.expect("wait");
    assert_eq!((outcome.end, outcome.leaked_total), (OK, 0));
    let alive = run(&sandbox, "cat /proc/[0-9]*/comm 2>/dev/null | grep -x sleep").await;
    assert_eq!(text(&alive), "sleep\n", "the service is gone");
    assert_eq!(sandbox.sweep(&[]).await.expect("sweep").len(), 1);
    // A supervisor may be leaving meanwhile.
    let dead = run(&sandbox, "cat /proc/[0-9]*/comm 2>/dev/null | grep -x sleep").await;
    assert_eq!(dead.end, Termination::Code(1), "{}", text(&dead));
}

#[tokio::test]
async fn floods_bombs_and_hogs_end_at_their_caps_and_the_next_command_works() {
    let dir = Scratch::new();
    let mut plan = plan(dir.path(), "abuse");
    plan.limits.memory_bytes = 128 << 20;
    plan.workspace.max_bytes = 32 << 20;
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan).await.expect("a sandbox");
    let capped = |script: &str, ms: u64| {
        let mut spec = sh(script);
        spec.wall = Duration::from_millis(ms);
        spec
    };
    let end = async |spec| sandbox.exec(spec).await.expect("exec").wait().await.expect("wait");

    let flood = end(capped("yes", 1_000)).await;
    assert!(flood.timed_out && flood.stdout.total_bytes > 1 << 20);
    assert!(flood.stdout.tail.len() <= 64 * 1024);

    let bomb = end(capped("f() { f | f & }; f; sleep 100", 1_500)).await;
    assert!(bomb.timed_out || bomb.end != OK, "{bomb:?}");

    let memory = end(capped("head -c 1G /dev/zero | tail", 20_000)).await;
    let oom = memory.end != OK || memory.cap_hit.as_deref() == Some("memory");
    assert!(oom && !memory.timed_out, "{memory:?}");

    let disk = end(capped("while :; do cat /dev/zero >> big; done", 20_000)).await;
    assert_eq!(disk.cap_hit.as_deref(), Some("disk"), "{disk:?}");

    // What is still to be written of the other would count against the memory.
    let tmp = end(capped("rm -f big; cat /dev/zero > /tmp/big", 20_000)).await;
    assert!(text(&tmp).contains("No space left"), "{tmp:?}");

    assert_eq!(run(&sandbox, "rm -f big /tmp/big; true").await.end, OK);
}

#[tokio::test]
async fn freeze_holds_everything_still_until_thaw() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "freeze")).await.expect("a sandbox");
    let upper = dir.path().join("layer/upper/count");
    let running = sandbox
        .exec(sh("while :; do echo x >> count; done"))
        .await
        .expect("exec");
    // Its stage waits for the next command.
    run(&sandbox, "true").await;
    let size = || std::fs::metadata(&upper).map_or(0, |m| m.len());
    let grows = async |from: u64| {
        tokio::time::timeout(Duration::from_secs(5), async {
            while size() <= from {
                tokio::task::yield_now().await;
            }
        })
        .await
        .is_ok()
    };
    assert!(grows(0).await, "the positive control");
    sandbox.freeze().await.expect("freeze");
    let still = size();
    assert!(
        !tokio::time::timeout(Duration::from_millis(200), async { grows(still).await })
            .await
            .unwrap_or(false)
    );
    // Whoever waits for a command has done nothing yet, and is not held.
    let seen = tokio::time::timeout(Duration::from_secs(10), run(&sandbox, "wc -c < count")).await;
    assert_eq!(text(&seen.expect("it runs")).trim(), still.to_string());
    sandbox.thaw().await.expect("thaw");
    assert!(grows(still).await, "it goes on");
    running.kill();
    assert_eq!(running.wait().await.expect("wait").cap_hit.as_deref(), Some("killed"));
}

#[tokio::test]
async fn doors_carry_bytes_between_host_and_inside() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "doors")).await.expect("a sandbox");
    let listener = sandbox.listen(8081).await.expect("a listener");
    // The host reaches its own listener through a socket of the inside's network.
    let (dialled, accepted) = tokio::join!(sandbox.dial(8081), listener.accept());
    let (mut dialled, (mut accepted, _)) = (dialled.expect("dial"), accepted.expect("accept"));
    dialled.write_all(b"through").await.expect("write");
    drop(dialled);
    let mut got = String::new();
    accepted.read_to_string(&mut got).await.expect("read");
    assert_eq!(got, "through");
    assert!(sandbox.dial(9).await.is_err(), "nothing listens there");
    assert!(
        tokio::net::TcpStream::connect("127.0.0.1:8081").await.is_err(),
        "the host's own loopback is another"
    );
}

#[tokio::test]
async fn a_command_ignores_no_signal_and_opens_its_streams_by_name() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "start")).await.expect("a sandbox");
    // This program's own start ignores SIGPIPE, and so would everything below it.
    let ignored = run(&sandbox, "grep -E '^Sig(Ign|Blk)' /proc/self/status").await;
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    assert_eq!(text(&ignored), none);
    let flood = run(&sandbox, "(yes; echo $? >&2) | head -n 1").await;
    assert_eq!(text(&flood), "y\n141\n");
    let named = run(&sandbox, "echo out >/dev/stdout; echo err >/dev/stderr").await;
    assert_eq!((named.end, text(&named).as_str()), (OK, "out\nerr\n"));
}

#[tokio::test]
async fn the_host_changes_and_reads_what_belongs_to_commands_at_any_mode() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "modes")).await.expect("a sandbox");
    let path = |text: &str| opencode_fsm::names::RelPath::new(text).expect("a path");
    let shut = "mkdir shut && echo s >shut/sealed && echo o >shut/old && chmod 0 shut/sealed && chmod 555 shut";
    assert_eq!(run(&sandbox, shut).await.end, OK);
    let refused = run(&sandbox, "cat shut/sealed || : >shut/new").await;
    assert_ne!(refused.end, OK, "control: its owner may not by itself");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(4);
    tar.append_data(&mut header, "shut/new", &b"new\n"[..]).expect("tar");
    sandbox
        .put(&[path("shut/old")], tar.into_inner().expect("tar"))
        .await
        .expect("put");
    assert_eq!(
        text(&run(&sandbox, "ls shut; cat shut/new").await),
        "new\nsealed\nnew\n"
    );
    let sealed = sandbox.read(&path("shut/sealed"), 100).await.expect("read");
    assert_eq!(sealed, Found::File(b"s\n".to_vec()));
    run(&sandbox, "mkfifo pipe").await;
    let fifo = sandbox.read(&path("pipe"), 100).await.expect("read");
    assert!(
        matches!(&fifo, Found::Refused(why) if why.contains("a fifo")),
        "{fifo:?}"
    );
}

#[tokio::test]
async fn a_sweep_spares_a_main_process_and_not_its_group() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "sweep")).await.expect("a sandbox");
    let running = sandbox.exec(sh("sleep 600 & exec sleep 601")).await.expect("exec");
    let stage = running.stage();
    let waited = tokio::spawn(running.wait());
    // Both are there, in one process group, when the second has its name.
    let seen =
        "until grep -qsx 'sleep' /proc/[0-9]*/comm && [ $(cat /proc/[0-9]*/comm | grep -cx sleep) = 2 ]; do :; done";
    run(&sandbox, seen).await;
    let swept = sandbox.sweep(&[stage]).await.expect("a sweep");
    assert_eq!(swept.len(), 1, "{swept:?}");
    // Whoever was killed waits as a zombie for a main process that asks after nobody.
    let left =
        "for s in /proc/[0-9]*/stat; do read -r _ name state _ <$s; echo $name $state; done | grep -c '(sleep) [RS]'";
    let left = run(&sandbox, left).await;
    assert_eq!(text(&left).trim(), "1");
    assert!(!waited.is_finished(), "the main process lives");
}

/// The supervisor of a command, as it is known inside and on the host.
struct Seen {
    inside: String,
    on_host: String,
}

/// Runs a command that tells who supervises it; the host finds it by its pid in the pid
/// namespace that it says it is in (proc_pid_status(5), `NSpid`).
async fn supervisor(sandbox: &Sandbox) -> Seen {
    let told = text(&run(sandbox, "echo $PPID $(readlink /proc/self/ns/pid)").await);
    let (pid, namespace) = told.trim().split_once(' ').expect("two words");
    let is_it = |process: &Path| {
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        pids.and_then(|pids| pids.split_whitespace().last()) == Some(pid)
            && std::fs::read_link(process.join("ns/pid")).is_ok_and(|link| link.as_os_str() == namespace)
    };
    let mut processes = std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .map(|entry| entry.path());
    let found = processes.find(|process| is_it(process)).expect("it waits");
    Seen {
        inside: pid.to_owned(),
        on_host: found.display().to_string(),
    }
}

#[tokio::test]
async fn a_supervisor_of_whose_stage_nothing_is_left_sees_to_the_next() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "again")).await.expect("a sandbox");
    let first = supervisor(&sandbox).await.inside;
    // What one command has used is not the next one's.
    let greedy = run(
        &sandbox,
        "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; x=$(head -c 60000000 /dev/zero | tr '\\0' x)",
    )
    .await;
    assert_eq!(greedy.end, OK);
    let modest = run(&sandbox, "true").await;
    assert!(
        modest.usage.user_ms < greedy.usage.user_ms / 2 && modest.usage.max_rss_bytes < greedy.usage.max_rss_bytes / 2,
        "{modest:?} after {greedy:?}"
    );
    // Nor is what it was told kept: 200 long commands would be twelve megabytes.
    let memory = |seen: Seen| {
        let status = std::fs::read_to_string(format!("{}/status", seen.on_host)).expect("its status");
        let kept = status.lines().find_map(|line| line.strip_prefix("VmData:"));
        kept.and_then(|kept| kept.trim().strip_suffix(" kB"))
            .and_then(|kept| kept.parse::<u64>().ok())
            .expect("a size")
    };
    let long = format!("true {}", "x".repeat(60_000));
    run(&sandbox, &long).await;
    let before = memory(supervisor(&sandbox).await);
    for _ in 0..200 {
        run(&sandbox, &long).await;
    }
    let seen = supervisor(&sandbox).await;
    assert_eq!(seen.inside, first);
    let after = memory(seen);
    assert!(after < before + 2_000, "{before} kB, then {after} kB");
    // One that had something to end goes with it, and so does one whose command never was.
    run(&sandbox, "sleep 1000 & true").await;
    let second = supervisor(&sandbox).await.inside;
    assert_ne!(second, first);
    let mut nowhere = sh("true");
    nowhere.cwd = "/nowhere".to_owned();
    let refused = sandbox.exec(nowhere).await.expect("exec").wait().await;
    assert!(
        matches!(&refused, Err(SandboxError::Guest { step, .. }) if step.contains("/nowhere")),
        "{refused:?}"
    );
    assert_ne!(supervisor(&sandbox).await.inside, second);
}

#[tokio::test]
async fn a_stage_that_is_killed_while_it_waits_is_replaced() {
    let dir = Scratch::new();
    let backend = backend(&[]).await;
    let sandbox = backend.create(&plan(dir.path(), "replaced")).await.expect("a sandbox");
    let Seen { inside, on_host } = supervisor(&sandbox).await;
    let pid = on_host.rsplit('/').next().expect("a pid");
    let give_up = Instant::now() + Duration::from_secs(10);
    let waiting = loop {
        let children = std::fs::read_to_string(format!("{on_host}/task/{pid}/children")).expect("its children");
        if let Some(child) = children.split_whitespace().next() {
            break child.parse().expect("a pid");
        }
        assert!(Instant::now() < give_up, "no process waits for a command");
    };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(waiting), nix::sys::signal::SIGKILL).expect("kill");
    // Its supervisor cannot trust the memory that both had.
    while Path::new(&on_host).exists() {
        assert!(Instant::now() < give_up, "its supervisor goes on");
        std::thread::yield_now();
    }
    assert_ne!(supervisor(&sandbox).await.inside, inside);
}
