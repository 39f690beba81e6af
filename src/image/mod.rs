//! Runner images: what a container of the Docker back end begins with.
//!
//! `recipe`: what an image is made of, as data, and the digest that names it. `debian`: a
//! root file system from Debian packages, with no registry. `registry`: one on an image of
//! a registry. `archive`: from a root file system to the engine's image. `store`: what the
//! engine has, and its pruning. `work`: where an image is made, one at a time. `program`:
//! programs of the host.
#![forbid(unsafe_code)]

mod archive;
mod debian;
mod error;
mod program;
mod recipe;
mod registry;
mod store;
mod work;

use std::{future::Future, time::Instant};

use bollard::Docker;
use serde::Serialize;

pub use error::ImageError;
pub use recipe::{Base, LABEL_BASE, LABEL_PACKAGES, LABEL_RECIPE, LABEL_VARIANT, PACKAGES_FILE, Recipe, Variant};
pub use store::{Pruning, RunnerImage, find, list, prune};

/// An image that the engine has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageRef {
    /// Its name, `repository:tag`.
    pub reference: String,
    /// The engine's id, `sha256:` and hex: what a container is to be made of, because a
    /// name may move to another image.
    pub id: String,
}

/// What is told of a build while it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// A step begins.
    Step(&'a str),
    /// Something within it, which the next one replaces.
    Detail(&'a str),
}

/// Where a build tells what it does.
#[derive(Clone, Copy)]
pub struct Progress<'a>(pub &'a (dyn Fn(Told<'_>) + Sync));

impl Progress<'_> {
    fn step(self, text: &str) {
        (self.0)(Told::Step(text));
    }

    fn detail(self, text: &str) {
        (self.0)(Told::Detail(text));
    }
}

/// How to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Anew even when the engine has the image: the archive may have newer packages.
    pub force: bool,
    /// The network of the container that an image of a registry is built in, as the
    /// engine names networks.
    pub network: String,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            force: false,
            network: "bridge".to_owned(),
        }
    }
}

/// What a build came to.
#[derive(Clone, Debug, Serialize)]
pub struct Built {
    /// The image.
    pub image: ImageRef,
    /// What was made; `None` when the engine had it already.
    pub made: Option<Made>,
}

/// An image that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// SHA-256 of the root file system as a tar archive, hex: the same for the same recipe
    /// and the same packages.
    pub rootfs_sha256: String,
    /// That archive's size.
    pub rootfs_bytes: u64,
    /// How many packages are in it.
    pub packages: usize,
    /// How long it took, milliseconds.
    pub wall_ms: u64,
}

/// The image of today's recipe, if the engine has it; one that was built on an image of a
/// registry serves as well.
///
/// # Errors
/// When the engine fails.
pub async fn ready(docker: &Docker, variant: Variant) -> Result<Option<ImageRef>, ImageError> {
    let found = list(docker).await?;
    let image = found.iter().find(|image| image.current && image.variant == variant);
    Ok(image.map(RunnerImage::image_ref))
}

/// The image of today's recipe: found, else built from Debian packages.
///
/// # Errors
/// When the engine fails, or the host cannot build; each says what to do.
pub async fn ensure(docker: &Docker, variant: Variant, progress: Progress<'_>) -> Result<ImageRef, ImageError> {
    if let Some(image) = ready(docker, variant).await? {
        return Ok(image);
    }
    let recipe = Recipe::new(variant, Base::of_host()?)?;
    let built = build(
        docker,
        &recipe,
        &BuildOptions::default(),
        progress,
        std::future::pending(),
    )
    .await?;
    Ok(built.image)
}

/// Builds the image of a recipe unless the engine has it. Processes with the same cache
/// build one after the other. Once `stop` resolves, the build is ended and nothing of it left.
///
/// # Errors
/// When the engine fails, or the host cannot build; each says what to do.
pub async fn build(
    docker: &Docker,
    recipe: &Recipe,
    options: &BuildOptions,
    progress: Progress<'_>,
    stop: impl Future<Output = ()>,
) -> Result<Built, ImageError> {
    let begun = Instant::now();
    let made = tokio::select! {
        made = make(docker, recipe, options, progress) => made,
        () = stop => Err(ImageError::Stopped),
    };
    if matches!((&made, &recipe.base), (Err(ImageError::Stopped), Base::Image(_))) {
        registry::sweep(docker).await?;
    }
    let (image, measured) = made?;
    Ok(Built {
        image,
        made: measured.map(|measured| Made {
            rootfs_sha256: measured.sha256,
            rootfs_bytes: measured.bytes,
            packages: measured.count,
            wall_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }),
    })
}

async fn make(
    docker: &Docker,
    recipe: &Recipe,
    options: &BuildOptions,
    progress: Progress<'_>,
) -> Result<(ImageRef, Option<archive::Measured>), ImageError> {
    let _turn = work::Turn::wait(progress).await?;
    if !options.force
        && let Some(image) = find(docker, recipe).await?
    {
        return Ok((image.image_ref(), None));
    }
    let work = work::WorkDir::make()?;
    let rootfs = match &recipe.base {
        Base::Debian(release) => debian::build(recipe, release, &work, progress).await?,
        Base::Image(image) => registry::build(docker, recipe, image, &options.network, &work, progress).await?,
    };
    progress.step("giving the image to the engine");
    let measured = {
        let rootfs = rootfs.clone();
        let measuring = tokio::task::spawn_blocking(move || archive::measure(&rootfs));
        measuring
            .await
            .map_err(|why| ImageError::Malformed(why.to_string()))??
    };
    let image = archive::load(docker, recipe, &rootfs, &measured).await?;
    Ok((image, Some(measured)))
}
