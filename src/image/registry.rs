//! A root file system on an image of a registry, made in a container that apt runs in.

use std::{collections::HashMap, path::PathBuf, sync::Mutex};

use bollard::{
    Docker, body_full,
    container::LogOutput,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptions, CreateImageOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder, WaitContainerOptions,
    },
};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::{
    ImageError, Progress, archive, debian, program,
    recipe::{CONTAINER, EXCLUDES, Recipe},
    work::WorkDir,
};
use crate::report::escape;

/// Label of containers in which an image is being made; its value is the recipe's digest.
const LABEL_BUILD: &str = "dev.opencode-fsm.image-build";
/// Where the container finds what is put in; the recipe's scripts remove it.
const INPUTS: &str = "opencode-fsm-inputs";
/// How much of the container's last words is kept, bytes.
const WORDS: usize = 2_000;
/// Packages are fetched and unpacked for as long as this at most, seconds.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3600);

/// Makes the root file system on `image` as a tar archive in the work directory.
/// `network` is the container's, as the engine names networks.
pub(super) async fn build(
    docker: &Docker,
    recipe: &Recipe,
    image: &str,
    network: &str,
    work: &WorkDir,
    progress: Progress<'_>,
) -> Result<PathBuf, ImageError> {
    sweep(docker).await?;
    pull(docker, image, progress).await?;
    debian::inputs(recipe, work, progress).await?;
    progress.step(&format!(
        "making the {} image on {image} (a minute or more)",
        recipe.variant.as_str()
    ));
    let docker = docker.clone().with_timeout(PATIENCE);
    let created = docker
        .create_container(None::<CreateContainerOptions>, body(recipe, image, network))
        .await
        .map_err(ImageError::engine(format!("make a container of {image}")))?;
    let made = fill(&docker, &created.id, recipe, work, progress).await;
    let removed = remove(&docker, &created.id).await;
    let rootfs = made?;
    removed?;
    Ok(rootfs)
}

/// Removes containers that a build left which was cut off.
pub(super) async fn sweep(docker: &Docker) -> Result<(), ImageError> {
    let filters = HashMap::from([("label", vec![LABEL_BUILD])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let left = docker
        .list_containers(Some(options))
        .await
        .map_err(ImageError::engine("list containers"))?;
    for id in left.into_iter().filter_map(|container| container.id) {
        remove(docker, &id).await?;
    }
    Ok(())
}

async fn remove(docker: &Docker, id: &str) -> Result<(), ImageError> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    docker
        .remove_container(id, Some(options))
        .await
        .map_err(ImageError::engine("remove the container of the build"))
}

/// Fetches the base image unless the engine has it.
async fn pull(docker: &Docker, image: &str, progress: Progress<'_>) -> Result<(), ImageError> {
    if docker.inspect_image(image).await.is_ok() {
        return Ok(());
    }
    progress.step(&format!("pulling {image}"));
    // Without a tag the engine would fetch every one.
    let tagged = image.rsplit('/').next().is_some_and(|name| name.contains([':', '@']));
    let whole = if tagged {
        image.to_owned()
    } else {
        format!("{image}:latest")
    };
    let options = CreateImageOptionsBuilder::default().from_image(&whole).build();
    let mut answers = docker.create_image(Some(options), None, None);
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|why| ImageError::Pull {
            image: whole.clone(),
            why: escape(why.to_string().as_bytes(), 500),
        })?;
        let words = [answer.id.as_deref(), answer.status.as_deref()];
        let words: Vec<_> = words.into_iter().flatten().collect();
        progress.detail(&escape(words.join(" ").as_bytes(), 200));
    }
    Ok(())
}

fn body(recipe: &Recipe, image: &str, network: &str) -> ContainerCreateBody {
    let script = format!("/{INPUTS}/container.sh");
    let packages = recipe.packages().into_iter().map(str::to_owned);
    ContainerCreateBody {
        image: Some(image.to_owned()),
        // An image's own entry point and user have no say.
        entrypoint: Some(vec!["/bin/sh".to_owned()]),
        cmd: Some([script].into_iter().chain(packages).collect()),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        labels: Some(HashMap::from([(LABEL_BUILD.to_owned(), recipe.digest().to_owned())])),
        host_config: Some(HostConfig {
            network_mode: Some(network.to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

async fn fill(
    docker: &Docker,
    id: &str,
    recipe: &Recipe,
    work: &WorkDir,
    progress: Progress<'_>,
) -> Result<PathBuf, ImageError> {
    let mut inputs = Vec::new();
    let mut put = |name: &str, bytes: &[u8]| inputs.extend(archive::member(&format!("{INPUTS}/{name}"), bytes));
    put("container.sh", CONTAINER.as_bytes());
    put("excludes.txt", EXCLUDES.as_bytes());
    for name in ["finish.sh", "ca-certificates.crt"]
        .into_iter()
        .chain(recipe.npm().map(|_| "npm.tgz"))
    {
        let path = work.path().join(name);
        put(name, &std::fs::read(&path).map_err(ImageError::io("read", &path))?);
    }
    inputs.resize(inputs.len() + 1024, 0);
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    docker
        .upload_to_container(id, Some(options), body_full(inputs.into()))
        .await
        .map_err(ImageError::engine("copy the recipe into the container"))?;
    docker
        .start_container(id, None::<StartContainerOptions>)
        .await
        .map_err(ImageError::engine("start the container of the build"))?;
    let words = Mutex::new(Vec::new());
    let hear = |bytes: &[u8]| {
        if let Some(line) = bytes.trim_ascii().split(|byte| *byte == b'\n').next_back() {
            progress.detail(&escape(line, 200));
        }
        // The lock is poisoned by a panic alone, which is the end anyway.
        if let Ok(mut words) = words.lock() {
            words.extend_from_slice(bytes);
            let spare = words.len().saturating_sub(WORDS);
            words.drain(..spare);
        }
    };
    let status = follow(docker, id, &hear).await?;
    if status != 0 {
        return Err(ImageError::Build {
            what: format!("apt in a container of {}", recipe.base),
            status: format!("exit status: {status}"),
            remedy: "; its packages come from the archives that the base image names, through the network that \
                     --network names",
            words: program::last_words(&words.into_inner().unwrap_or_default()),
        });
    }
    progress.step("taking the root file system out of the container");
    let rootfs = work.path().join("rootfs.tar");
    let mut file = tokio::fs::File::create(&rootfs)
        .await
        .map_err(ImageError::io("make", &rootfs))?;
    let mut bytes = docker.export_container(id);
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.map_err(ImageError::engine("export the container"))?;
        file.write_all(&chunk).await.map_err(ImageError::io("write", &rootfs))?;
    }
    file.flush().await.map_err(ImageError::io("write", &rootfs))?;
    Ok(rootfs)
}

/// Hears a container to its end, and gives its exit status.
async fn follow(docker: &Docker, id: &str, hear: &(dyn Fn(&[u8]) + Sync)) -> Result<i64, ImageError> {
    let options = LogsOptionsBuilder::default()
        .follow(true)
        .stdout(true)
        .stderr(true)
        .build();
    let mut logs = docker.logs(id, Some(options));
    while let Some(part) = logs.next().await {
        match part.map_err(ImageError::engine("read what the container of the build prints"))? {
            LogOutput::StdErr { message } | LogOutput::StdOut { message } | LogOutput::Console { message } => {
                hear(&message);
            }
            LogOutput::StdIn { .. } => {}
        }
    }
    match docker.wait_container(id, None::<WaitContainerOptions>).next().await {
        Some(Ok(done)) => Ok(done.status_code),
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
        Some(Err(source)) => Err(ImageError::engine("wait for the container of the build")(source)),
        None => Err(ImageError::Malformed(
            "the engine did not say how the build ended".to_owned(),
        )),
    }
}
