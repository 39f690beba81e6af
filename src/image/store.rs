//! The engine's store: which runner images there are, and which have had their day.

use std::collections::HashMap;

use bollard::{
    Docker,
    query_parameters::{ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder},
};
use serde::Serialize;

use super::{
    Base, ImageError, ImageRef, Recipe, Variant,
    recipe::{LABEL_BASE, LABEL_PACKAGES, LABEL_RECIPE, LABEL_VARIANT},
};

/// A runner image in the engine's store.
#[derive(Clone, Debug, Serialize)]
pub struct RunnerImage {
    /// The engine's id, `sha256:` and hex.
    pub id: String,
    /// Its names, `repository:tag`.
    pub references: Vec<String>,
    /// Which it is.
    pub variant: Variant,
    /// The digest of its recipe.
    pub recipe: String,
    /// What it was built on.
    pub base: String,
    /// The digest of its package list.
    pub packages: String,
    /// Bytes, as the engine counts them.
    pub size_bytes: i64,
    /// Containers that were made of it, running or not.
    pub containers: usize,
    /// Whether this program would use it on this host.
    pub current: bool,
}

impl RunnerImage {
    /// A name that is no runner's: somebody keeps the image for a purpose of their own.
    pub fn foreign_name(&self) -> Option<&str> {
        let ours = |name: &str| {
            name.rsplit_once(':')
                .is_some_and(|(repository, _)| Variant::ALL.iter().any(|v| v.repository() == repository))
        };
        self.references.iter().map(String::as_str).find(|name| !ours(name))
    }

    /// The name to use it by.
    pub fn image_ref(&self) -> ImageRef {
        let tagged = self.references.iter().find(|name| !name.ends_with(":latest"));
        ImageRef {
            reference: tagged.unwrap_or(&self.id).clone(),
            id: self.id.clone(),
        }
    }
}

/// Every runner image, the current ones first.
///
/// # Errors
/// When the engine fails.
pub async fn list(docker: &Docker) -> Result<Vec<RunnerImage>, ImageError> {
    let filters = HashMap::from([("label", vec![LABEL_RECIPE])]);
    let images = docker
        .list_images(Some(ListImagesOptionsBuilder::default().filters(&filters).build()))
        .await
        .map_err(ImageError::engine("list images"))?;
    let containers = docker
        .list_containers(Some(ListContainersOptionsBuilder::default().all(true).build()))
        .await
        .map_err(ImageError::engine("list containers"))?;
    let mut found: Vec<RunnerImage> = images
        .into_iter()
        .filter_map(|image| {
            let label = |name: &str| image.labels.get(name).cloned();
            let variant = label(LABEL_VARIANT)?;
            let variant = Variant::ALL.into_iter().find(|v| v.as_str() == variant)?;
            let (recipe, base) = (label(LABEL_RECIPE)?, label(LABEL_BASE).unwrap_or_default());
            let references: Vec<String> = image
                .repo_tags
                .iter()
                .filter(|name| *name != "<none>:<none>")
                .cloned()
                .collect();
            let current = is_current(variant, &base, &recipe, &references);
            let of_it = |id: &Option<String>| id.as_deref() == Some(image.id.as_str());
            Some(RunnerImage {
                containers: containers.iter().filter(|container| of_it(&container.image_id)).count(),
                packages: label(LABEL_PACKAGES).unwrap_or_default(),
                id: image.id,
                references,
                variant,
                recipe,
                base,
                size_bytes: image.size,
                current,
            })
        })
        .collect();
    found.sort_by(|a, b| {
        let key = |image: &RunnerImage| (!image.current, image.variant, image.base.clone(), image.id.clone());
        key(a).cmp(&key(b))
    });
    Ok(found)
}

/// Whether a recipe is today's on this host and the image has its name: an image that
/// was built anew takes the name from the one before it.
fn is_current(variant: Variant, base: &str, recipe: &str, references: &[String]) -> bool {
    let Some(base) = Base::parse(base) else {
        return false;
    };
    // Another release's packages are another recipe's, however it was labelled.
    if matches!(base, Base::Debian(_)) && !Base::of_host().is_ok_and(|own| own == base) {
        return false;
    }
    Recipe::new(variant, base).is_ok_and(|today| today.digest() == recipe && references.contains(&today.reference()))
}

/// The image of a recipe, if the engine has it.
///
/// # Errors
/// When the engine fails.
pub async fn find(docker: &Docker, recipe: &Recipe) -> Result<Option<RunnerImage>, ImageError> {
    let found = list(docker).await?;
    Ok(found
        .into_iter()
        .find(|image| image.current && image.recipe == recipe.digest()))
}

/// What a pruning does, or would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pruning {
    /// Images that went.
    pub removed: Vec<RunnerImage>,
    /// Images of older recipes that stay, and why.
    pub kept: Vec<(RunnerImage, String)>,
}

/// Removes the runner images of older recipes that no container uses and nobody else has
/// given a name; with `dry_run` only says which.
///
/// # Errors
/// When the engine fails; what it refuses to remove is among the kept.
pub async fn prune(docker: &Docker, dry_run: bool) -> Result<Pruning, ImageError> {
    let mut pruning = Pruning::default();
    for image in list(docker).await?.into_iter().filter(|image| !image.current) {
        let why = if image.containers > 0 {
            Some(format!("{} containers were made of it", image.containers))
        } else if let Some(name) = image.foreign_name() {
            Some(format!("it has the name {name}, too"))
        } else if dry_run {
            None
        } else {
            remove(docker, &image).await?
        };
        match why {
            Some(why) => pruning.kept.push((image, why)),
            None => pruning.removed.push(image),
        }
    }
    Ok(pruning)
}

/// Removes an image by its names, or by its id when it has none; never with force, so an
/// image that a container took meanwhile stays. Gives why it stays.
async fn remove(docker: &Docker, image: &RunnerImage) -> Result<Option<String>, ImageError> {
    let names = match image.references.as_slice() {
        [] => std::slice::from_ref(&image.id),
        names => names,
    };
    for name in names {
        let options = RemoveImageOptionsBuilder::default().build();
        match docker.remove_image(name, Some(options), None).await {
            Ok(_) => {}
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {}
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 409,
                message,
            }) => return Ok(Some(crate::report::escape(message.as_bytes(), 300))),
            Err(source) => return Err(ImageError::engine(format!("remove {name}"))(source)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_current_by_its_recipe_and_its_name_alone() {
        let Ok(base) = Base::of_host() else {
            eprintln!("SKIPPED: this host is no Debian");
            return;
        };
        let recipe = Recipe::new(Variant::Slim, base.clone()).expect("a recipe");
        let (base, digest) = (base.to_string(), recipe.digest());
        let named = [recipe.reference()];
        assert!(is_current(Variant::Slim, &base, digest, &named));
        assert!(!is_current(Variant::Full, &base, digest, &named));
        assert!(!is_current(Variant::Slim, "debian sarge", digest, &named));
        assert!(!is_current(
            Variant::Slim,
            &base,
            &digest.replace(&digest[..1], "x"),
            &named
        ));
        assert!(!is_current(Variant::Slim, &base, digest, &["other:latest".to_owned()]));
        let image = Recipe::new(Variant::Slim, Base::Image("debian:12".to_owned())).expect("a recipe");
        assert!(is_current(
            Variant::Slim,
            "image debian:12",
            image.digest(),
            &[image.reference()]
        ));
    }
}
