//! What only containers can show, on a real engine: images of strangers, hosts that die,
//! leases, users of the engine, engines that cannot be used.

#[path = "support/engine.rs"]
mod engine;
#[path = "support/images.rs"]
mod images;
#[path = "support/program.rs"]
mod program;
mod support;

#[path = "docker/engines.rs"]
mod engines;
#[path = "docker/foreign.rs"]
mod foreign;
#[path = "docker/hosts.rs"]
mod hosts;
#[path = "docker/life.rs"]
mod life;
#[path = "docker/member.rs"]
mod member;

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use bollard::{
    Docker,
    query_parameters::{ListContainersOptions, ListVolumesOptions},
};

/// What of a static busybox image the host must have.
const BUSYBOX: &str = "/bin/busybox";

fn of_ours() -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec!["dev.opencode-fsm.sandbox".to_owned()])])
}

/// Ids of the containers whose sandbox's label begins so.
async fn containers(docker: &Docker, label: &str) -> Vec<String> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(of_ours()),
        ..ListContainersOptions::default()
    };
    let all = docker.list_containers(Some(options)).await.expect("containers");
    let ours = all.into_iter().filter(|container| {
        let labels = container
            .labels
            .as_ref()
            .and_then(|labels| labels.get("dev.opencode-fsm.sandbox"));
        labels.is_some_and(|found| found.starts_with(label))
    });
    ours.filter_map(|container| container.id).collect()
}

/// Names of the volumes whose sandbox's label begins so.
async fn volumes(docker: &Docker, label: &str) -> Vec<String> {
    let options = ListVolumesOptions {
        filters: Some(of_ours()),
    };
    let all = docker.list_volumes(Some(options)).await.expect("volumes").volumes;
    let ours = all.unwrap_or_default().into_iter().filter(|volume| {
        let found = volume.labels.get("dev.opencode-fsm.sandbox");
        found.is_some_and(|found| found.starts_with(label))
    });
    ours.map(|volume| volume.name).collect()
}

/// Processes in containers that show a directory of this host whose path holds `mark`.
fn inside_of(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let mounts = std::fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        if mounts.contains("/.opencode-fsm/") && mounts.contains(mark) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

/// Pids on the whole host with `MARK=mark` in their environment.
fn marked(mark: &str) -> Vec<i32> {
    let needle = format!("MARK={mark}\0").into_bytes();
    let holds = |path: &Path| {
        std::fs::read(path.join("environ")).is_ok_and(|environ| environ.windows(needle.len()).any(|w| w == needle))
    };
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter(|entry| holds(&entry.path()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Asks the outside world until it answers as wanted; bounded.
async fn until<T>(what: &str, longest: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let give_up = Instant::now() + longest;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < give_up, "{what} never came: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
