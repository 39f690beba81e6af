//! What dead hosts have left with an engine, found by label and lease, never by name.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bollard::{
    errors::Error,
    models::ContainerSummaryStateEnum,
    query_parameters::{ListContainersOptions, ListVolumesOptions, RemoveVolumeOptions},
};
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::{
    connection::{Engine, shown},
    label::{self, Orphaned},
    teardown::{remove, until_removed},
};
use crate::sandbox::SandboxError;

/// Removals that an engine is given at once; more only queue up in it.
const AT_ONCE: usize = 8;
/// What a guest whose host is gone gets to end by itself, and the engine to remove its
/// container: only the guest takes the kernel's files out of the workspace's layers, which
/// an ordinary user cannot.
const BY_ITSELF: Duration = Duration::from_secs(10);
/// Between two tries to remove a volume that is still held.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest time that the removal of one container or volume may take.
const REMOVAL: Duration = Duration::from_secs(60);
const REMEDY: &str = "see what the engine's log says of it";

/// A container or a volume that is provably nobody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// `container` or `volume`.
    pub kind: &'static str,
    /// The engine's id or name.
    pub id: String,
    /// The sandbox's label.
    pub sandbox: String,
    /// The proof.
    pub why: Orphaned,
}

/// Finds what is orphaned and, unless it is a dry run, removes it. What lives, and what
/// cannot be proven dead, is left alone.
///
/// # Errors
/// When the engine does not answer, or cannot remove something; the rest is removed all the same.
pub async fn collect(engine: &Engine, dry_run: bool) -> Result<Vec<Leftover>, SandboxError> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(ours()),
        ..ListContainersOptions::default()
    };
    let containers = engine
        .client
        .list_containers(Some(options))
        .await
        .map_err(|why| failed("list containers", &why))?;
    let (mut found, mut ending) = (Vec::new(), Vec::new());
    for container in containers {
        let (Some(id), Some(labels)) = (container.id, container.labels) else {
            continue;
        };
        // An image may carry our labels, and a user's own container of it then has them.
        if !container.command.as_deref().is_some_and(label::runs_ours) {
            continue;
        }
        if let Some(orphan) = leftover("container", id, &labels) {
            let running = container.state == Some(ContainerSummaryStateEnum::RUNNING);
            ending.push((orphan.id.clone(), running));
            found.push(orphan);
        }
    }
    // What one container costs is no reason to leave the others.
    let mut first_failure = None;
    if !dry_run {
        let removals = stream::iter(ending).map(|(id, running)| removed(engine, id, running));
        let mut removals = removals.buffer_unordered(AT_ONCE);
        while let Some(done) = removals.next().await {
            first_failure = first_failure.or(done.err());
        }
    }
    // A volume goes with its container; one is left where that was removed without it.
    for volume in volumes(engine, dry_run).await? {
        if !dry_run {
            first_failure = first_failure.or(unused(engine, &volume.id).await.err());
        }
        found.push(volume);
    }
    first_failure.map_or(Ok(found), Err)
}

/// One container, bounded: an engine under load takes seconds for each.
async fn removed(engine: &Engine, id: String, running: bool) -> Result<(), SandboxError> {
    if running && let Ok(Ok(())) = tokio::time::timeout(BY_ITSELF, until_removed(&engine.client, &id)).await {
        return Ok(());
    }
    match tokio::time::timeout(REMOVAL, remove(&engine.client, &id)).await {
        Ok(done) => done.map_err(|why| failed("remove a container", &why)),
        Err(_) => Err(SandboxError::Engine {
            what: "remove a container".to_owned(),
            why: format!("{id} is still there after {} s", REMOVAL.as_secs()),
            remedy: REMEDY.to_owned(),
        }),
    }
}

/// Orphaned volumes. A dry run leaves those out that a container has: they would go with it.
async fn volumes(engine: &Engine, dry_run: bool) -> Result<Vec<Leftover>, SandboxError> {
    let mut filters = ours();
    if dry_run {
        filters.insert("dangling".to_owned(), vec!["true".to_owned()]);
    }
    let options = ListVolumesOptions { filters: Some(filters) };
    let volumes = engine
        .client
        .list_volumes(Some(options))
        .await
        .map_err(|why| failed("list volumes", &why))?;
    let volumes = volumes.volumes.unwrap_or_default().into_iter();
    Ok(volumes
        .filter_map(|volume| leftover("volume", volume.name, &volume.labels))
        .collect())
}

/// Removes one volume. The engine forgets a container a moment before it lets go of the
/// container's volumes: so long it is waited for.
async fn unused(engine: &Engine, name: &str) -> Result<(), SandboxError> {
    let give_up = Instant::now() + REMOVAL;
    loop {
        let options = RemoveVolumeOptions { force: true };
        match engine.client.remove_volume(name, Some(options)).await {
            Ok(()) => return Ok(()),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
            Err(Error::DockerResponseServerError { status_code: 409, .. }) if Instant::now() < give_up => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(why) => return Err(failed("remove a volume", &why)),
        }
    }
}

fn ours() -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label::OURS.to_owned()])])
}

fn failed(what: &str, why: &Error) -> SandboxError {
    SandboxError::Engine {
        what: what.to_owned(),
        why: shown(why),
        remedy: REMEDY.to_owned(),
    }
}

fn leftover(kind: &'static str, id: String, labels: &HashMap<String, String>) -> Option<Leftover> {
    let why = label::orphaned(labels)?;
    let sandbox = labels.get(label::OURS).cloned().unwrap_or_default();
    Some(Leftover { kind, id, sandbox, why })
}
