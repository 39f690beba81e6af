//! What a container starts from.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use bollard::{
    models::ContainerCreateBody,
    query_parameters::{ContainerArchiveInfoOptions, CreateContainerOptions},
};

use super::{
    connection::{Engine, shown},
    label::NOTHING,
    teardown::remove,
};
use crate::sandbox::SandboxError;

/// The label of runner images (`image`, the recipe's).
const RUNNER: &str = "dev.opencode-fsm.recipe";
/// Where programs of the GNU C library ask for its loader (x86-64 ABI).
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// Where the loader looks without being told (ld.so(8)), Debian's places first.
const LIBRARIES: [&str; 4] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
];
/// What OpenCode's executable is linked to.
const NEEDED: [&str; 5] = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"];

/// An image that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// As the user gave it.
    pub reference: String,
    /// Its digest: what containers are made of, whatever the name comes to mean.
    pub id: String,
    /// Paths for which it wants volumes.
    pub volumes: Vec<String>,
    /// Names of the variables that it wants set.
    pub variables: Vec<String>,
    /// Whether it has the certificates of [`crate::policy::CERTIFICATES`]: a runner image does.
    pub certificates: bool,
}

impl Image {
    /// Looks it up; nothing is pulled.
    pub async fn find(engine: &Engine, reference: &str) -> Result<Self, SandboxError> {
        let failed = |why: String, remedy: &str| SandboxError::Engine {
            what: format!("find the image `{}`", crate::report::escape(reference.as_bytes(), 200)),
            why,
            remedy: remedy.to_owned(),
        };
        let remedy =
            "fetch it (docker pull), or leave --image out and have the runner image built: opencode-fsm image build";
        let found = engine.client.inspect_image(reference).await;
        let found = found.map_err(|why| failed(shown(&why), remedy))?;
        let id = found.id.ok_or_else(|| failed("it has no id".to_owned(), remedy))?;
        if let Some(os) = found.os.filter(|os| os != "linux") {
            return Err(failed(format!("it is made for {os}"), "name a Linux image"));
        }
        let arch = found.architecture.unwrap_or_default();
        if arch != "amd64" {
            return Err(failed(
                format!("it is made for the architecture `{arch}`"),
                "name an image for amd64",
            ));
        }
        let config = found.config.unwrap_or_default();
        let name = |variable: String| variable.split('=').next().unwrap_or_default().to_owned();
        let variables = config.env.unwrap_or_default().into_iter().map(name);
        Ok(Self {
            certificates: config.labels.is_some_and(|labels| labels.contains_key(RUNNER)),
            reference: reference.to_owned(),
            id,
            volumes: config.volumes.unwrap_or_default(),
            variables: variables.filter(|name| !name.is_empty()).collect(),
        })
    }

    /// Pieces of this host's C library that the image lacks and OpenCode needs, each to be
    /// shown at its own path. `labels` are for the container that this takes.
    pub async fn missing_libraries(
        &self,
        engine: &Engine,
        labels: HashMap<String, String>,
    ) -> Result<Vec<PathBuf>, SandboxError> {
        let failed = |why: bollard::errors::Error| SandboxError::Engine {
            what: format!("look into the image `{}`", self.reference),
            why: shown(&why),
            remedy: "run `opencode-fsm doctor`".to_owned(),
        };
        // It is never started: a name for the image's files, which the engine reads.
        let body = ContainerCreateBody {
            image: Some(self.id.clone()),
            entrypoint: Some(vec![NOTHING.to_owned()]),
            network_disabled: Some(true),
            labels: Some(labels),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptions::default();
        let made = engine
            .client
            .create_container(Some(options), body)
            .await
            .map_err(failed)?;
        let options = ContainerArchiveInfoOptions {
            path: LOADER.to_owned(),
        };
        let loader = engine.client.get_container_archive_info(&made.id, Some(options)).await;
        remove(&engine.client, &made.id).await.map_err(failed)?;
        Ok(if loader.is_ok() { Vec::new() } else { host_libraries() })
    }
}

fn host_libraries() -> Vec<PathBuf> {
    let libraries = NEEDED.iter().filter_map(|name| {
        let mut places = LIBRARIES.iter().map(|dir| Path::new(dir).join(name));
        places.find(|path| path.exists())
    });
    std::iter::once(PathBuf::from(LOADER)).chain(libraries).collect()
}
