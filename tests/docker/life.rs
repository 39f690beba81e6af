//! The life of a container: tricks that make its end look like another, and its lease.

use std::time::{Duration, Instant};

use bollard::{
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions,
    },
};
use futures_util::StreamExt;
use opencode_fsm::sandbox::SandboxError;
use serde_json::json;

use crate::{
    BUSYBOX, containers,
    engine::engine,
    images::{Image, Layer, ingredients, musl_program},
    inside_of, marked,
    support::{Scratch, docker, plan, run, sh, text},
    until,
};

/// Leaves a child behind, has itself traced and raises a signal: to who waits for it and
/// does not look closely it has ended, and it lives (wait4(2), a stop of a tracee).
const TRICK: &str = r#"
#include <signal.h>
#include <sys/ptrace.h>
#include <unistd.h>
int main(void) {
    if (fork() == 0) for (;;) pause();
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGUSR1);
    for (;;) pause();
}
"#;

#[tokio::test]
async fn a_process_that_plays_dead_ends_at_the_cap_and_with_its_container() {
    let Some(engine) = engine().await else { return };
    if !ingredients(&[BUSYBOX, "/usr/bin/musl-gcc"]) {
        return;
    }
    let dir = Scratch::new();
    let trick = musl_program(dir.path(), "trick", TRICK, &["-static"]);
    let mut layer = Layer::new();
    layer.tools("/bin/busybox").file("bin/trick", &trick);
    let mark = format!("trick-{}", std::process::id());
    let config = json!({"Entrypoint": ["/bin/trick"], "Env": [format!("MARK={mark}")]});
    let image = Image::load(&engine, "trick", layer, config).await;

    // As PID 1: the image's wish, which is not granted. As a stage: by its own will.
    let plan = plan(dir.path(), "trick");
    let maker = docker(&image.name).await;
    let sandbox = maker.create(&plan).await.expect("a sandbox");
    let none: Vec<i32> = Vec::new();
    assert_eq!(marked(&mark), none, "the image's entry point runs");
    // Some shells take a stopped child for one that has ended, and so end themselves.
    for (script, processes) in [("exec trick", 1), ("trick & trick & wait", 4)] {
        let mut spec = sh(script);
        spec.env.push(("MARK".to_owned(), mark.clone()));
        spec.wall = Duration::from_secs(2);
        let began = Instant::now();
        let outcome = sandbox.exec(spec).await.expect("exec").wait().await.expect("wait");
        assert!(outcome.timed_out || processes == 4, "{outcome:?}");
        assert_eq!(outcome.leaked_total, processes, "{outcome:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{outcome:?}");
        assert_eq!(marked(&mark), none, "{script}: something survives its stage");
    }
    assert_eq!(text(&run(&sandbox, "echo works").await), "works\n");

    // And while one is under way its sandbox is destroyed.
    let mut spec = sh("trick & exec trick");
    spec.env.push(("MARK".to_owned(), mark.clone()));
    let running = sandbox.exec(spec).await.expect("exec");
    until("the trick", Duration::from_secs(10), async || {
        match marked(&mark).len() {
            4 => Ok(()),
            other => Err(format!("{other} processes")),
        }
    })
    .await;
    sandbox.destroy().await.expect("destroyed");
    drop(running);
    assert_eq!(marked(&mark), none, "something survives its sandbox");
    assert_eq!(inside_of(&dir.path().to_string_lossy()), Vec::<String>::new());

    // The control: the engine by itself runs it for PID 1.
    let body = ContainerCreateBody {
        image: Some(image.name.clone()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let made = engine
        .create_container(None::<CreateContainerOptions>, body)
        .await
        .expect("creates");
    engine
        .start_container(&made.id, None::<StartContainerOptions>)
        .await
        .expect("starts");
    let pids = until("the trick", Duration::from_secs(30), async || {
        let pids = marked(&mark);
        if pids.len() == 2 {
            Ok(pids)
        } else {
            Err(format!("{pids:?}"))
        }
    })
    .await;
    let state = engine.inspect_container(&made.id, None).await.expect("inspects").state;
    let state = state.map(|state| (state.status, state.exit_code));
    eprintln!("the engine says {state:?} while {} processes of it live", pids.len());
    for pid in pids {
        // Ours: found by a mark that nothing else has.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    engine.remove_container(&made.id, Some(options)).await.expect("removes");
    until("its end", Duration::from_secs(10), async || match marked(&mark) {
        none if none.is_empty() => Ok(()),
        some => Err(format!("{some:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_container_whose_lease_is_over_ends_though_its_host_lives() {
    let Some(engine) = engine().await else { return };
    if !ingredients(&[BUSYBOX]) {
        return;
    }
    let lease = Duration::from_secs(4);
    let image = Image::busybox(&engine, "lease", json!({})).await;
    let docker = docker(&image.name).await;
    let dir = Scratch::new();
    let mut plan = plan(dir.path(), "lease");
    plan.lease = lease;
    let asked = Instant::now();
    let sandbox = docker.create(&plan).await.expect("a sandbox");
    let admitted = Instant::now();
    let id = containers(&engine, &plan.label).await.remove(0);
    let mut end = engine.wait_container(
        &id,
        Some(WaitContainerOptions {
            condition: "next-exit".to_owned(),
        }),
    );
    let running = sandbox.exec(sh("sleep 1000")).await.expect("exec");
    // Its own end has status 0; one that is killed has another, which is an error here.
    let end = tokio::time::timeout(Duration::from_secs(60), end.next())
        .await
        .expect("it ends");
    assert_eq!(end.expect("an answer").expect("of its own accord").status_code, 0);
    assert!(
        asked.elapsed() >= lease,
        "it ended {:?} after it was asked for",
        asked.elapsed()
    );
    eprintln!("a lease of {lease:?} was over after {:?}", admitted.elapsed());
    let why = sandbox.exec(sh("true")).await.err().expect("nobody is there");
    assert!(matches!(why, SandboxError::Gone(_)), "{why}");
    let why = sandbox.freeze().await.expect_err("nobody is there");
    assert!(matches!(why, SandboxError::Gone(_)), "{why}");
    assert!(running.wait().await.is_err());
    sandbox.destroy().await.expect("destroyed");
    assert_eq!(containers(&engine, &plan.label).await, Vec::<String>::new());
}
