//! `image`: what containers begin with.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::{
    engine::{EngineError, Stop, told},
    image::{self, Base, BuildOptions, Built, ImageError, ImageRef, Progress, Pruning, Recipe, RunnerImage, Variant},
    report::Reporter,
    sandbox::{
        SandboxError,
        docker::{About, Engine},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum ImageVerb {
    /// Build the runner image from Debian packages, or on an image of a registry.
    Build(BuildArgs),
    /// List the engine's runner images.
    List,
    /// Remove runner images of older recipes that no container uses.
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// The slim variant: without node, npm, a compiler and make.
    #[arg(long)]
    slim: bool,
    /// An image with apt to build on, pulled if need be; without it no registry is needed.
    #[arg(long, value_name = "IMAGE")]
    from: Option<String>,
    /// The network of the container that --from builds in, as the engine names it.
    #[arg(long, value_name = "NETWORK", default_value = "bridge", requires = "from")]
    network: String,
    /// Build anew even when the engine has the image, for newer packages.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Say what would go; remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Performs the verb.
pub(super) async fn image(verb: &ImageVerb, reporter: &Reporter, stop: Stop) -> Result<u8, EngineError> {
    let docker = Engine::reach().await.map_err(SandboxError::from)?.client;
    match verb {
        ImageVerb::Build(args) => build(&docker, args, reporter, stop).await,
        ImageVerb::List => {
            let images = image::list(&docker).await?;
            reporter.result(&json!({"images": images}), &listed(&images));
            Ok(0)
        }
        ImageVerb::Prune(args) => {
            let pruning = image::prune(&docker, args.dry_run).await?;
            let value = json!({"dry_run": args.dry_run, "removed": pruning.removed, "kept": pruning.kept});
            reporter.result(&value, &pruned(&pruning, args.dry_run));
            Ok(0)
        }
    }
}

async fn build(
    docker: &bollard::Docker,
    args: &BuildArgs,
    reporter: &Reporter,
    mut stop: Stop,
) -> Result<u8, EngineError> {
    let variant = if args.slim { Variant::Slim } else { Variant::Full };
    let base = match &args.from {
        Some(image) => Base::Image(image.clone()),
        None => Base::of_host()?,
    };
    let recipe = Recipe::new(variant, base)?;
    let options = BuildOptions {
        force: args.force,
        network: args.network.clone(),
    };
    let tell = told(reporter);
    let mut signal = 0;
    let stopped = async { signal = stop.requested().await };
    let built = match image::build(docker, &recipe, &options, Progress(&tell), stopped).await {
        Err(ImageError::Stopped) => return Err(EngineError::Interrupted(signal)),
        built => built?,
    };
    reporter.result(&json!(built), &shown(&built));
    Ok(0)
}

fn shown(built: &Built) -> String {
    let mut text = format!("image {}\n  id       {}", built.image.reference, built.image.id);
    match &built.made {
        Some(made) => {
            let _ = write!(
                text,
                "\n  packages {}\n  rootfs   {} MB, sha256:{}\n  built in {} s",
                made.packages,
                made.rootfs_bytes / 1_000_000,
                made.rootfs_sha256,
                made.wall_ms / 1000
            );
        }
        None => text.push_str("\n  the engine had it already; --force builds it anew"),
    }
    text
}

fn listed(images: &[RunnerImage]) -> String {
    if images.is_empty() {
        return "no runner image; `opencode-fsm image build` makes one".to_owned();
    }
    let mut text = format!(
        "{:<42} {:<13} {:>7} {:>10}  built on",
        "image", "id", "MB", "containers"
    );
    for image in images {
        let state = if image.current { "" } else { "  (older)" };
        let _ = write!(text, "\n{}{state}", row(image));
    }
    text
}

fn row(image: &RunnerImage) -> String {
    let id = image.id.trim_start_matches("sha256:");
    let name = image.image_ref().reference;
    let name = if name == image.id { "(no name)" } else { &name };
    format!(
        "{:<42} {:<13} {:>7} {:>10}  {}",
        shortened(name, 120),
        shortened(id, 12),
        image.size_bytes / 1_000_000,
        image.containers,
        shortened(&image.base, 120)
    )
}

/// Labels and names are whoever's made the image.
fn shortened(text: &str, chars: usize) -> String {
    let text: String = text.chars().take(chars).collect();
    crate::report::escape(text.as_bytes(), 4 * chars)
}

fn pruned(pruning: &Pruning, dry_run: bool) -> String {
    let verb = if dry_run { "would remove" } else { "removed" };
    let mut lines: Vec<String> = pruning
        .removed
        .iter()
        .map(|image| format!("{verb} {}", row(image)))
        .collect();
    for (image, why) in &pruning.kept {
        lines.push(format!("kept {}: {}", row(image), shortened(why, 300)));
    }
    if lines.is_empty() {
        lines.push("no runner image of an older recipe".to_owned());
    }
    lines.join("\n")
}

/// What `doctor` says of Docker.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Seen {
    /// Why there is none.
    Absent(String),
    /// An engine, and the runner image that it has.
    Engine { about: About, image: Option<ImageRef> },
}

/// Looks for an engine and the runner image.
pub(super) async fn seen() -> Seen {
    match Engine::reach().await {
        Err(why) => Seen::Absent(why.to_string()),
        Ok(engine) => Seen::Engine {
            image: image::ready(&engine.client, Variant::Full).await.ok().flatten(),
            about: engine.about,
        },
    }
}

impl Seen {
    /// In one line.
    pub fn text(&self) -> String {
        match self {
            Self::Absent(why) => why.clone(),
            Self::Engine { about, image } => {
                let image = image.as_ref().map_or_else(
                    || "no runner image yet: opencode-fsm image build".to_owned(),
                    |image| format!("image {}", image.reference),
                );
                format!(
                    "engine {} (API {}, cgroup v{}), {image}",
                    about.version, about.api, about.cgroups
                )
            }
        }
    }
}
