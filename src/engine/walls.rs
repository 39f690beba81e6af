//! What builds the walls of a run: the user's choice, else what this machine has.

use std::path::Path;

use serde_json::json;

use crate::{
    engine::{EngineError, WallOptions},
    image::{self, Progress, Told, Variant},
    policy::BackendChoice,
    record::RunDir,
    report::{Happening, Reporter},
    sandbox::{
        Backend, SandboxError,
        docker::{self, Docker, Engine, Start},
        jail::Jail,
    },
};

/// Chooses, says so, and has what dead runs left with the engine removed.
/// `scratch` is a directory for a trial.
pub(super) async fn choose(
    options: &WallOptions,
    scratch: &Path,
    run: &RunDir,
    reporter: &Reporter,
) -> Result<Backend, EngineError> {
    let kernel = Backend::of_this_kernel(options.min_tier, scratch);
    let (backend, why) = match options.backend {
        _ if let Some(trial) = &options.trial => {
            let jail = Jail::with_launcher(&trial.program)?.without(&trial.without);
            (Backend::Jail(jail), "a test of the walls".to_owned())
        }
        BackendChoice::Jail => (kernel.await?, "as asked".to_owned()),
        BackendChoice::Docker => (container(options, reporter).await?, "as asked".to_owned()),
        BackendChoice::Auto => match found(options).await {
            Ok(docker) => (docker, "an engine answers and has the image".to_owned()),
            Err(why) => (kernel.await?, why),
        },
    };
    let about = match &backend {
        Backend::Jail(_) => json!({}),
        Backend::Bare(bare) => json!({"refusal": bare.refusal()}),
        Backend::Docker(docker) => {
            let engine = docker.engine().clone();
            let about = json!({"engine": engine.about, "image": docker.image_id()});
            tokio::spawn(async move {
                if let Err(why) = docker::collect(&engine, false).await {
                    tracing::debug!("{why}");
                }
            });
            about
        }
    };
    let name = backend.name();
    run.journal("sandbox", &json!({"backend": name, "why": why, "about": about}))?;
    reporter.say(Happening::Note {
        text: format!("  sandbox   {name} ({why})"),
    });
    Ok(backend)
}

/// The engine that was asked for, and an image: the user's, else the runner image, which
/// is built where it is missing.
async fn container(options: &WallOptions, reporter: &Reporter) -> Result<Backend, EngineError> {
    let engine = Engine::reach().await.map_err(SandboxError::from)?;
    let image = match &options.image {
        Some(image) => image.clone(),
        None => {
            let tell = told(reporter);
            image::ensure(&engine.client, Variant::Full, Progress(&tell)).await?.id
        }
    };
    Ok(start(engine, options, image).await?)
}

/// What stands ready, or why nothing does; nothing is built or fetched.
async fn found(options: &WallOptions) -> Result<Backend, String> {
    let engine = Engine::reach().await.map_err(|why| why.to_string())?;
    let image = match &options.image {
        Some(image) => image.clone(),
        None => {
            image::ready(&engine.client, Variant::Full)
                .await
                .map_err(|why| why.to_string())?
                .ok_or("the runner image is not built: opencode-fsm image build")?
                .reference
        }
    };
    start(engine, options, image).await.map_err(|why| why.to_string())
}

/// What a build tells, as happenings.
pub fn told(reporter: &Reporter) -> impl Fn(Told<'_>) + Sync {
    move |told| {
        reporter.say(match told {
            Told::Step(text) => Happening::Note { text: text.to_owned() },
            Told::Detail(text) => Happening::Working { text: text.to_owned() },
        });
    }
}

async fn start(engine: Engine, options: &WallOptions, image: String) -> Result<Backend, SandboxError> {
    let program = std::env::current_exe().map_err(|source| SandboxError::Io {
        what: "find this program".to_owned(),
        source,
    })?;
    let start = Start {
        program,
        image,
        runtime: options.docker_runtime.clone(),
    };
    Ok(Backend::Docker(Box::new(Docker::new(engine, start).await?)))
}
