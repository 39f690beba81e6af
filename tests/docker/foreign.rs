//! Images of strangers: hostile ones, and those that lack what ours has.

use std::time::Duration;

use bollard::{
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptions, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    },
};
use futures_util::StreamExt;
use opencode_fsm::policy::ReadOnlyMount;
use serde_json::{Value, json};

use crate::{
    BUSYBOX, containers,
    engine::engine,
    images::{Image, Layer, ingredients, musl_program},
    program::{Bench, PROGRAM, expect, json_file, opencode},
    support::{Scratch, docker, plan, run, text},
    until,
};

/// All that an image can say of how it wants to be run.
fn hostile() -> Value {
    json!({
        "Entrypoint": ["/bin/sh", "-c", "echo ran as $(/bin/id -u) in $(/bin/pwd) with $LD_PRELOAD; exec /bin/sleep 1000"],
        "Cmd": ["whatever"],
        "User": "0",
        "Env": ["LD_PRELOAD=/evil.so", "PATH=/nowhere", "HOME=/evil", "MARK=evil"],
        "WorkingDir": "/evil",
        "Volumes": {"/data": {}, "/workspace": {}},
        "OnBuild": ["RUN /bin/touch /evil"],
        "Healthcheck": {"Test": ["CMD-SHELL", "/bin/touch /tmp/healthy"], "Interval": 1_000_000_000},
        "StopSignal": "SIGWINCH",
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"dev.opencode-fsm.sandbox": "evil"},
    })
}

/// All that tells how commands are run.
const ACCOUNT: &str = "env | sort; pwd; id; umask; hostname; cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline; \
    ls -A /tmp /home/agent; grep -c . /proc/net/dev; cat hello";

#[tokio::test]
async fn what_a_hostile_image_wants_changes_nothing() {
    let Some(engine) = engine().await else { return };
    if !ingredients(&[BUSYBOX]) {
        return;
    }
    let image = Image::busybox(&engine, "hostile", hostile()).await;
    let plain = Image::busybox(&engine, "plain", json!({})).await;

    let mut accounts = Vec::new();
    for (image, label) in [(&plain, "plain"), (&image, "hostile")] {
        let dir = Scratch::new();
        let plan = plan(dir.path(), label);
        let docker = docker(&image.name).await;
        let sandbox = docker.create(&plan).await.expect("a sandbox");
        accounts.push(text(&run(&sandbox, ACCOUNT).await));

        let ids = containers(&engine, &plan.label).await;
        let found = engine.inspect_container(&ids[0], None).await.expect("inspects");
        let pid = found.state.and_then(|state| state.pid).expect("a pid");
        if nix::unistd::geteuid().is_root() {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).expect("the guest's");
            let environ = String::from_utf8_lossy(&environ).into_owned();
            assert!(environ.contains("HOSTNAME=sandbox"), "control: {environ}");
            assert!(!environ.contains("evil") && !environ.contains("nowhere"), "{environ}");
        }
        let volumes: Vec<_> = found.mounts.unwrap_or_default();
        let volumes: Vec<_> = volumes
            .into_iter()
            .filter(|mount| mount.typ.as_deref() == Some("volume"))
            .collect();
        assert_eq!(volumes.len(), 1, "the workspace's alone: {volumes:?}");
        assert_eq!(volumes[0].destination.as_deref(), Some("/workspace"));
        if label == "hostile" {
            let mounts = text(&run(&sandbox, "grep ' /data ' /proc/mounts").await);
            assert!(
                mounts.starts_with("tmpfs /data tmpfs ") && mounts.contains("size=65536k"),
                "{mounts}"
            );
            assert!(mounts.contains("nr_inodes="), "{mounts}");
        }
        sandbox.destroy().await.expect("destroyed");
        let volume = volumes[0].name.as_deref().expect("a name");
        assert!(engine.inspect_volume(volume).await.is_err(), "the volume is left");
        assert_eq!(containers(&engine, &plan.label).await, Vec::<String>::new());
    }
    assert_eq!(accounts[0], accounts[1]);
    let account = &accounts[1];
    assert!(
        account.contains("/workspace\nuid=") && account.contains("(agent)"),
        "{account}"
    );
    assert!(account.contains("/.opencode-fsm/guest guest "), "{account}");
    for word in ["evil", "nowhere", "uid=0"] {
        assert!(!account.contains(word), "{word}: {account}");
    }

    // The control: the engine by itself does what the image wants.
    let body = ContainerCreateBody {
        image: Some(image.name.clone()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        labels: Some([("dev.opencode-fsm.sandbox".to_owned(), String::new())].into()),
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
    let said = until("the entry point's word", Duration::from_secs(30), async || {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        let lines: Vec<_> = engine.logs(&made.id, Some(options)).collect().await;
        let said: String = lines.into_iter().flatten().map(|line| line.to_string()).collect();
        if said.ends_with('\n') { Ok(said) } else { Err(said) }
    })
    .await;
    let found = engine.inspect_container(&made.id, None).await.expect("inspects");
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    engine.remove_container(&made.id, Some(options)).await.expect("removes");
    assert_eq!(said, "ran as 0 in /evil with /evil.so\n");
    assert_eq!(found.mounts.map(|mounts| mounts.len()), Some(2), "its volumes");
}

/// Runs the whole demonstration in containers of an image, with the real OpenCode.
fn demo(image: &Image) {
    let bench = Bench::new();
    let mut command = std::process::Command::new(PROGRAM);
    command
        .args([
            "demo",
            "--json",
            "--sandbox",
            "docker",
            "--image",
            &image.name,
            "--artifacts-dir",
        ])
        .arg(bench.path("runs"))
        .arg("--dir")
        .arg(bench.path("demo"));
    expect(command, 0);
    let summary = json_file(&bench.the_run().join("summary.json"));
    assert_eq!(summary["exit_code"], 0, "{summary}");
    let journal = std::fs::read_to_string(bench.the_run().join("journal.jsonl")).expect("the journal");
    assert!(journal.contains(&image.id), "it ran in something else: {journal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_a_c_library_runs_the_demonstration() {
    let Some(engine) = engine().await else { return };
    if !ingredients(&[BUSYBOX]) || !opencode() {
        return;
    }
    let image = Image::busybox(&engine, "distroless", json!({})).await;
    // The control: it has no C library of its own.
    let dir = Scratch::new();
    let docker = docker(&image.name).await;
    let sandbox = docker.create(&plan(dir.path(), "distroless")).await.expect("a sandbox");
    let found = text(&run(&sandbox, "find / -xdev -name '*.so*'; echo looked").await);
    assert_eq!(found, "looked\n");
    sandbox.destroy().await.expect("destroyed");
    tokio::task::block_in_place(|| demo(&image));
}

/// Goes on as busybox under the name that it was called by: every tool of the image
/// starts with the loader that this program asks for.
const APPLET: &str = r#"
#include <unistd.h>
int main(int argc, char **argv) { execv("/bin/busybox", argv); return 126; }
"#;

/// Prints the libraries that it is made of.
const MAPPED: &str = r#"
#include <stdio.h>
#include <string.h>
int main(void) {
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!maps) return 1;
    while (fgets(line, sizeof line, maps)) if (strstr(line, ".so")) fputs(strchr(line, '/'), stdout);
    return 0;
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_another_c_library_runs_the_demonstration() {
    const MUSL: &str = "/lib/ld-musl-x86_64.so.1";
    let Some(engine) = engine().await else { return };
    if !ingredients(&[BUSYBOX, MUSL, "/usr/bin/musl-gcc"]) || !opencode() {
        return;
    }
    let dir = Scratch::new();
    let mut layer = Layer::new();
    layer
        .file(&MUSL[1..], &std::fs::read(MUSL).expect("musl"))
        .file("bin/applet", &musl_program(dir.path(), "applet", APPLET, &[]))
        .file("bin/mapped", &musl_program(dir.path(), "mapped", MAPPED, &[]))
        .tools("/bin/applet");
    let image = Image::load(&engine, "musl", layer, json!({})).await;

    // With what is shown to OpenCode in place, the image's programs keep to their own library.
    let mut plan = plan(dir.path(), "musl");
    let shown = dir.path().join("shown");
    std::fs::write(&shown, "").expect("write");
    plan.read_only.push(ReadOnlyMount {
        host: shown,
        guest: "/opt/shown".into(),
    });
    let docker = docker(&image.name).await;
    let sandbox = docker.create(&plan).await.expect("a sandbox");
    let mapped = text(&run(&sandbox, "mapped | sort -u").await);
    assert_eq!(mapped, format!("{MUSL}\n"));
    let shown = text(&run(&sandbox, "ls /lib64 /lib/x86_64-linux-gnu").await);
    assert!(
        shown.contains("ld-linux-x86-64.so.2") && shown.contains("libc.so.6"),
        "{shown}"
    );
    sandbox.destroy().await.expect("destroyed");
    tokio::task::block_in_place(|| demo(&image));
}
