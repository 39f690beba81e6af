//! Runner images on a real engine: what is listed, what is pruned, what is in them.

#[path = "support/engine.rs"]
mod engine;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use bollard::{
    Docker, body_full,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptions, CreateImageOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        RemoveImageOptionsBuilder, StartContainerOptions, WaitContainerOptions,
    },
};
use engine::engine;
use futures_util::StreamExt;
use opencode_fsm::image::{self, LABEL_PACKAGES, LABEL_RECIPE, PACKAGES_FILE, Variant};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_opencode-fsm");

/// Runs the program with `--json`; its one result.
fn program(args: &[&str]) -> Value {
    let done = Command::new(PROGRAM).arg("--json").args(args).output().expect("runs");
    assert!(
        done.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&done.stdout)
    );
    serde_json::from_slice(&done.stdout).expect("one JSON value")
}

/// A stub of a runner image of an older recipe, imported from a tiny tar; it goes with its name.
struct Stub<'a> {
    docker: &'a Docker,
    name: String,
    id: String,
}

impl<'a> Stub<'a> {
    /// `tag` keeps tests that run at once apart.
    async fn import(docker: &'a Docker, repository: &str, tag: &str) -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(tag.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "stub", tag.as_bytes()).expect("tar");
        let tar = tar.into_inner().expect("tar");
        let tag = format!("stub-{}-{tag}", std::process::id());
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(repository)
            .tag(&tag)
            .changes(vec![format!(
                r#"LABEL {LABEL_RECIPE}=0000 dev.opencode-fsm.variant=slim dev.opencode-fsm.base="debian sarge""#
            )])
            .build();
        let mut answers = docker.create_image(Some(options), Some(body_full(tar.into())), None);
        while let Some(answer) = answers.next().await {
            answer.expect("imports");
        }
        let name = format!("{repository}:{tag}");
        let id = docker.inspect_image(&name).await.expect("there").id.expect("an id");
        Self { docker, name, id }
    }

    async fn there(&self) -> bool {
        self.docker.inspect_image(&self.id).await.is_ok()
    }

    async fn remove(self) {
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        self.docker
            .remove_image(&self.id, Some(options), None)
            .await
            .expect("removes");
    }
}

/// The entry of an image in a list.
fn entry<'v>(list: &'v Value, id: &str) -> Option<&'v Value> {
    list.as_array()?.iter().find(|image| image["id"] == id)
}

#[tokio::test]
async fn an_older_image_is_listed_and_pruned_unless_somebody_needs_it() {
    let Some(docker) = engine().await else { return };
    let slim = Variant::Slim.repository();
    let unused = Stub::import(&docker, slim, "unused").await;
    let used = Stub::import(&docker, slim, "used").await;
    let renamed = Stub::import(&docker, slim, "renamed").await;
    docker
        .tag_image(
            &renamed.name,
            Some(
                bollard::query_parameters::TagImageOptionsBuilder::default()
                    .repo("somebodys/own")
                    .tag(&std::process::id().to_string())
                    .build(),
            ),
        )
        .await
        .expect("tags");
    let body = ContainerCreateBody {
        image: Some(used.id.clone()),
        cmd: Some(vec!["/none".to_owned()]),
        ..ContainerCreateBody::default()
    };
    let container = docker
        .create_container(None::<CreateContainerOptions>, body)
        .await
        .expect("creates");

    let listed = program(&["image", "list"]);
    let row = entry(&listed["images"], &unused.id).expect("listed");
    assert_eq!(
        (&row["current"], &row["variant"]),
        (&Value::Bool(false), &"slim".into())
    );
    assert_eq!(row["references"][0], unused.name);
    assert_eq!(entry(&listed["images"], &used.id).expect("listed")["containers"], 1);

    let would = program(&["image", "prune", "--dry-run"]);
    assert!(entry(&would["removed"], &unused.id).is_some(), "{would}");
    assert!(unused.there().await, "a dry run removes nothing");

    let did = program(&["image", "prune"]);
    assert!(
        entry(&did["removed"], &unused.id).is_some() && !unused.there().await,
        "{did}"
    );
    for (stub, because) in [(&used, "1 containers"), (&renamed, "somebodys/own")] {
        assert!(stub.there().await, "{did}");
        let kept = did["kept"].as_array().expect("a list");
        let (_, why) = kept
            .iter()
            .map(|pair| (&pair[0], pair[1].as_str().expect("why")))
            .find(|(image, _)| image["id"] == stub.id)
            .expect("kept");
        assert!(why.contains(because), "{why}");
    }

    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    docker
        .remove_container(&container.id, Some(options))
        .await
        .expect("removes");
    used.remove().await;
    renamed.remove().await;
}

#[tokio::test]
async fn an_image_that_only_claims_to_be_a_runner_is_left_alone() {
    let Some(docker) = engine().await else { return };
    let foreign = Stub::import(&docker, "somebodys/image", "foreign").await;
    let would = program(&["image", "prune", "--dry-run"]);
    assert!(entry(&would["removed"], &foreign.id).is_none(), "{would}");
    foreign.remove().await;
}

/// A command in a container of the image, with no network, as an ordinary user.
async fn inside(docker: &Docker, image: &str, script: &str) -> (i64, String) {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/bin/sh".to_owned()]),
        cmd: Some(vec!["-euc".to_owned(), script.to_owned()]),
        user: Some("12345:12345".to_owned()),
        env: Some(vec!["HOME=/tmp".to_owned()]),
        working_dir: Some("/tmp".to_owned()),
        network_disabled: Some(true),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            tmpfs: Some(HashMap::from([("/tmp".to_owned(), "exec,mode=1777".to_owned())])),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let id = docker
        .create_container(None::<CreateContainerOptions>, body)
        .await
        .expect("creates")
        .id;
    docker
        .start_container(&id, None::<StartContainerOptions>)
        .await
        .expect("starts");
    let status = match docker.wait_container(&id, None::<WaitContainerOptions>).next().await {
        Some(Ok(done)) => done.status_code,
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
        other => panic!("{other:?}"),
    };
    let mut text = String::new();
    let mut logs = docker.logs(
        &id,
        Some(LogsOptionsBuilder::default().stdout(true).stderr(true).build()),
    );
    while let Some(part) = logs.next().await {
        text += &part.expect("logs").to_string();
    }
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(&id, Some(options)).await.expect("removes");
    (status, text)
}

/// The built image of a variant; `None`, with a word about it, where there is none outside CI.
async fn built(docker: &Docker, variant: Variant) -> Option<image::RunnerImage> {
    let images = image::list(docker).await.expect("lists");
    let found = images
        .into_iter()
        .find(|image| image.current && image.variant == variant);
    if found.is_none() {
        let why = format!("no {variant:?} image is built; run `opencode-fsm image build`");
        assert!(variant == Variant::Slim || std::env::var_os("CI").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
    }
    found
}

const TOOLS: &str = "
    git init -q repo && cd repo
    echo needle >file && git add file
    git -c user.name=a -c user.email=a@b commit -q -m one
    test \"$(rg --no-filename needle)\" = needle
    python3 -m venv venv
    venv/bin/pip --version
    venv/bin/python -c 'import ssl; assert ssl.create_default_context().cert_store_stats()[\"x509_ca\"] > 50'
    test -z \"$(find / -xdev -perm /6000 -type f 2>/dev/null)\"
    test ! -e /etc/apt/sources.list
    test -z \"$(ls /etc/apt/sources.list.d)\"
";
const FULL_TOOLS: &str = "
    cd /tmp
    echo 'int main(void) { return 42; }' >main.c
    printf 'main: main.c\\n\\tgcc -o $@ $<\\n' >Makefile
    make -s && { ./main && exit 1 || test $? = 42; }
    test \"$(node -e 'console.log(6 * 7)')\" = 42
    npm --version
    mkdir package && cd package && npm init -y >/dev/null && npm pkg get name
    npx --version
";

#[tokio::test]
async fn the_built_images_hold_what_they_promise() {
    let Some(docker) = engine().await else { return };
    for variant in Variant::ALL {
        let Some(image) = built(&docker, variant).await else {
            continue;
        };
        let (status, text) = inside(&docker, &image.id, TOOLS).await;
        assert_eq!(status, 0, "{variant:?}: {text}");
        let (status, text) = inside(&docker, &image.id, FULL_TOOLS).await;
        assert_eq!(status == 0, variant == Variant::Full, "{variant:?}: {text}");

        let (_, list) = inside(&docker, &image.id, &format!("cat {PACKAGES_FILE}")).await;
        assert!(list.lines().any(|line| line.starts_with("git 1:")), "{list}");
        assert_eq!(list.contains("\nnpm "), variant == Variant::Full, "{list}");
        let labels = docker
            .inspect_image(&image.id)
            .await
            .expect("there")
            .config
            .expect("a configuration")
            .labels
            .expect("labels");
        assert_eq!(
            labels[LABEL_PACKAGES],
            format!("blake3:{}", blake3::hash(list.as_bytes()).to_hex())
        );
        assert!(
            image
                .references
                .contains(&format!("{}:{}", variant.repository(), &labels[LABEL_RECIPE][..16]))
        );
        assert_eq!(labels["org.opencontainers.image.version"], labels[LABEL_RECIPE][..16]);
    }
}

#[tokio::test]
async fn what_is_built_is_found_and_not_built_again() {
    let Some(docker) = engine().await else { return };
    let Some(image) = built(&docker, Variant::Full).await else {
        return;
    };
    let tell = |told: image::Told<'_>| panic!("it builds: {told:?}");
    let found = image::ensure(&docker, Variant::Full, image::Progress(&tell)).await;
    assert_eq!(found.expect("found").id, image.id);
}

/// Ctrl-C in the middle of a build: nothing of it stays, no process and no file.
#[tokio::test]
async fn a_build_that_is_stopped_leaves_nothing() {
    if engine().await.is_none() {
        return;
    }
    if Command::new("mmdebstrap").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "mmdebstrap is missing");
        eprintln!("SKIPPED: mmdebstrap is missing");
        return;
    }
    let cache = tempfile::tempdir().expect("tempdir");
    let mut build = Command::new(PROGRAM)
        .args(["--json", "image", "build", "--slim", "--force"])
        .env("XDG_CACHE_HOME", cache.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(build.stdout.take().expect("piped")).lines();
    let mut next = |wanted: &str| {
        let line = lines.find(|line| line.as_ref().expect("text").contains(wanted));
        line.expect(wanted).expect("text")
    };
    let step: Value = serde_json::from_str(&next("making the slim image")).expect("JSON");
    let text = step["text"].as_str().expect("a text");
    let work = text
        .split(" in ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("a directory");
    let work = Path::new(work).to_path_buf();
    // Inside apt: processes, mounts and files are there.
    next("download");
    assert!(work.join("sources.list").exists() && mentions(&work) > 0);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(build.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("signals");
    assert_eq!(build.wait().expect("ends").code(), Some(130));
    assert!(!work.exists(), "{}", work.display());
    // The kernel ends the killed ones in its own time.
    let deadline = Instant::now() + Duration::from_secs(5);
    while mentions(&work) > 0 {
        assert!(Instant::now() < deadline, "{} is still in use", work.display());
        std::thread::yield_now();
    }
}

/// Processes that name a directory in their arguments.
fn mentions(dir: &Path) -> usize {
    let name = dir.to_str().expect("text").as_bytes();
    let arguments = std::fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    arguments
        .filter(|line| line.windows(name.len()).any(|part| part == name))
        .count()
}

#[test]
fn an_engine_elsewhere_or_none_is_refused_with_the_remedy() {
    for (host, exit, words) in [
        ("tcp://127.0.0.1:2375", 2, "a remote engine is not supported"),
        ("ssh://somebody@somewhere", 2, "a remote engine is not supported"),
        ("unix://relative", 2, "a remote engine is not supported"),
        ("unix:///nowhere/docker.sock", 7, "apt-get install docker.io"),
    ] {
        let done = Command::new(PROGRAM)
            .args(["image", "list"])
            .env("DOCKER_HOST", host)
            .output()
            .expect("runs");
        let text = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(exit), "{host}: {text}");
        assert!(text.contains(words), "{host}: {text}");
    }
}
