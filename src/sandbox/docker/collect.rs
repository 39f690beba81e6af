//! What dead hosts have left with an engine, found by label and lease, never by name.

use std::collections::HashMap;

use bollard::query_parameters::{
    ListContainersOptions, ListVolumesOptions, RemoveContainerOptions, RemoveVolumeOptions,
};
use serde::Serialize;

use super::{
    connection::{Engine, shown},
    label::{self, Orphaned},
    teardown::gone,
};
use crate::sandbox::SandboxError;

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
/// When the engine does not answer or cannot remove something.
pub async fn collect(engine: &Engine, dry_run: bool) -> Result<Vec<Leftover>, SandboxError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |why: bollard::errors::Error| SandboxError::Engine {
            what,
            why: shown(&why),
            remedy: "see what the engine's log says of it".to_owned(),
        }
    };
    let ours = HashMap::from([("label".to_owned(), vec![label::OURS.to_owned()])]);
    let options = ListContainersOptions {
        all: true,
        filters: Some(ours.clone()),
        ..ListContainersOptions::default()
    };
    let containers = engine
        .client
        .list_containers(Some(options))
        .await
        .map_err(failed("list containers"))?;
    let mut found = Vec::new();
    for container in containers {
        let (Some(id), Some(labels)) = (container.id, container.labels) else {
            continue;
        };
        found.extend(leftover("container", id, &labels));
    }
    if !dry_run {
        for container in &found {
            let options = RemoveContainerOptions {
                force: true,
                v: true,
                ..RemoveContainerOptions::default()
            };
            match engine.client.remove_container(&container.id, Some(options)).await {
                Err(why) if !gone(&why) => return Err(failed("remove a container")(why)),
                _ => {}
            }
        }
    }
    // Volumes go with their container; one is left where that was removed without them.
    let mut unused = ours;
    unused.insert("dangling".to_owned(), vec!["true".to_owned()]);
    let options = ListVolumesOptions { filters: Some(unused) };
    let volumes = engine
        .client
        .list_volumes(Some(options))
        .await
        .map_err(failed("list volumes"))?;
    for volume in volumes.volumes.unwrap_or_default() {
        let Some(volume) = leftover("volume", volume.name, &volume.labels) else {
            continue;
        };
        if !dry_run {
            let options = RemoveVolumeOptions { force: true };
            match engine.client.remove_volume(&volume.id, Some(options)).await {
                Err(why) if !gone(&why) => return Err(failed("remove a volume")(why)),
                _ => {}
            }
        }
        found.push(volume);
    }
    Ok(found)
}

fn leftover(kind: &'static str, id: String, labels: &HashMap<String, String>) -> Option<Leftover> {
    let why = label::orphaned(labels)?;
    let sandbox = labels.get(label::OURS).cloned().unwrap_or_default();
    Some(Leftover { kind, id, sandbox, why })
}
