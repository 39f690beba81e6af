//! What an image is made of, and the digest that names it.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::ImageError;

/// Rises when this code makes another image of the same files.
const VERSION: &str = "1";
/// Every file's time in an image, at the latest: 2025-01-01 (`SOURCE_DATE_EPOCH`, seconds).
pub(super) const EPOCH: u64 = 1_735_689_600;
/// The same for the image's configuration (RFC 3339).
pub(super) const CREATED: &str = "2025-01-01T00:00:00Z";
/// Where an image lists what is in it.
pub const PACKAGES_FILE: &str = "/usr/share/opencode-fsm/packages.txt";

/// Label: the recipe's digest (BLAKE3, hex). An image with it is a runner image.
pub const LABEL_RECIPE: &str = "dev.opencode-fsm.recipe";
/// Label: the variant.
pub const LABEL_VARIANT: &str = "dev.opencode-fsm.variant";
/// Label: what it was built on, as [`Base`] is written.
pub const LABEL_BASE: &str = "dev.opencode-fsm.base";
/// Label: the digest of [`PACKAGES_FILE`] (`blake3:` and hex).
pub const LABEL_PACKAGES: &str = "dev.opencode-fsm.packages";

pub(super) const FINISH: &str = include_str!("../../images/finish.sh");
pub(super) const CONTAINER: &str = include_str!("../../images/container.sh");
pub(super) const EXCLUDES: &str = include_str!("../../images/excludes.txt");
const PACKAGES: &str = include_str!("../../images/packages.txt");
const PACKAGES_FULL: &str = include_str!("../../images/packages.full.txt");
const ENVIRONMENT: &str = include_str!("../../images/environment.txt");
const NPM: &str = include_str!("../../images/npm.txt");

/// Where systems keep the certificates that they trust, in one file.
const CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Which image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// git, ripgrep, Python with venv and pip, node and npm, a C compiler and make.
    Full,
    /// git, ripgrep, Python with venv and pip.
    Slim,
}

impl Variant {
    /// Both.
    pub const ALL: [Variant; 2] = [Variant::Full, Variant::Slim];

    /// The repository of its images' names.
    pub fn repository(self) -> &'static str {
        match self {
            Variant::Full => "opencode-fsm/runner",
            Variant::Slim => "opencode-fsm/runner-slim",
        }
    }

    /// The variant's word in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Variant::Full => "full",
            Variant::Slim => "slim",
        }
    }
}

/// What an image is built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Packages of the host's own Debian release, by its code name.
    Debian(String),
    /// An image of a registry.
    Image(String),
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Base::Debian(release) => write!(f, "debian {release}"),
            Base::Image(image) => write!(f, "image {image}"),
        }
    }
}

impl Base {
    /// As a label has it; `None` for what no label of ours says.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ')? {
            ("debian", release) => Some(Base::Debian(release.to_owned())),
            ("image", image) => Some(Base::Image(image.to_owned())),
            _ => None,
        }
    }

    /// The host's own release.
    ///
    /// # Errors
    /// [`ImageError::NoArchive`] when the host is no Debian.
    pub fn of_host() -> Result<Self, ImageError> {
        let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(|value| value.trim_matches('"').to_owned())
        };
        match (value("ID").as_deref(), value("VERSION_CODENAME")) {
            (Some("debian"), Some(release)) if !release.is_empty() => Ok(Base::Debian(release)),
            _ => Err(ImageError::NoArchive(
                "this host is no Debian, whose packages the image could be made of".to_owned(),
            )),
        }
    }
}

/// Everything that decides what an image is, but for the state of the package archive.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Which image.
    pub variant: Variant,
    /// What it is built on.
    pub base: Base,
    /// The certificates that the host trusts, PEM.
    pub(super) certificates: Vec<u8>,
    digest: String,
}

impl Recipe {
    /// The recipe with this host's certificates.
    ///
    /// # Errors
    /// When the host has no list of certificates.
    pub fn new(variant: Variant, base: Base) -> Result<Self, ImageError> {
        let found = CERTIFICATES.iter().map(Path::new).find(|path| path.is_file());
        let path = found.ok_or(ImageError::ToolMissing {
            tool: CERTIFICATES[0],
            package: "ca-certificates",
            purpose: "is copied into the image",
        })?;
        let certificates = fs::read(path).map_err(ImageError::io("read", path))?;
        Ok(Self::of(variant, base, certificates))
    }

    fn of(variant: Variant, base: Base, certificates: Vec<u8>) -> Self {
        let mut recipe = Self {
            variant,
            base,
            certificates,
            digest: String::new(),
        };
        recipe.digest = digest(&recipe.inputs());
        recipe
    }

    /// By name, all that the digest is of.
    fn inputs(&self) -> Vec<(&'static str, Vec<u8>)> {
        let lines = |lines: &[&str]| lines.join("\n").into_bytes();
        vec![
            ("version", VERSION.into()),
            ("epoch", EPOCH.to_string().into()),
            ("architecture", architecture().into()),
            ("variant", self.variant.as_str().into()),
            ("base", self.base.to_string().into()),
            ("packages", lines(&self.packages())),
            ("npm", self.npm().map_or_else(String::new, |npm| npm.to_string()).into()),
            ("excludes", lines(&entries(EXCLUDES))),
            ("environment", lines(&self.environment())),
            ("finish.sh", FINISH.into()),
            ("container.sh", CONTAINER.into()),
            ("certificates", self.certificates.clone()),
        ]
    }

    /// The digest of all of it (BLAKE3, hex).
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// `repository:tag`; the tag is the digest's first 16 digits.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.variant.repository(), &self.digest[..16])
    }

    /// Packages beside those of every Debian.
    pub fn packages(&self) -> Vec<&'static str> {
        let mut all = entries(PACKAGES);
        if self.variant == Variant::Full {
            all.extend(entries(PACKAGES_FULL));
        }
        all
    }

    /// The npm to put in, where there is node.
    pub(super) fn npm(&self) -> Option<Npm> {
        if self.variant == Variant::Slim {
            return None;
        }
        let (version, digest) = entries(NPM).first()?.split_once(" sha256:")?;
        Some(Npm { version, digest })
    }

    /// `NAME=VALUE` of the image's configuration.
    pub fn environment(&self) -> Vec<&'static str> {
        entries(ENVIRONMENT)
    }

    /// The image's labels, but for what only the built image tells.
    pub(super) fn labels(&self, packages: &str) -> BTreeMap<String, String> {
        let title = match self.variant {
            Variant::Full => "opencode-fsm runner",
            Variant::Slim => "opencode-fsm runner, slim",
        };
        let mut labels: BTreeMap<_, _> = [
            ("org.opencontainers.image.title", title),
            (
                "org.opencontainers.image.description",
                "What agents and stages find in their sandbox",
            ),
            ("org.opencontainers.image.version", &self.digest[..16]),
            ("org.opencontainers.image.created", CREATED),
            (LABEL_RECIPE, &self.digest),
            (LABEL_VARIANT, self.variant.as_str()),
            (LABEL_PACKAGES, packages),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        labels.insert(LABEL_BASE.to_owned(), self.base.to_string());
        if let Base::Image(image) = &self.base {
            labels.insert("org.opencontainers.image.base.name".to_owned(), image.clone());
        }
        labels
    }
}

/// npm as a registry publishes it.
pub(super) struct Npm {
    pub version: &'static str,
    /// SHA-256 of its archive, hex.
    pub digest: &'static str,
}

impl fmt::Display for Npm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.digest)
    }
}

/// This machine's architecture, as Debian and the engine call it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The lines of a list that are neither blank nor comments.
pub(super) fn entries(list: &'static str) -> Vec<&'static str> {
    list.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// Each name and value with its length before it, so that no two lists look the same.
fn digest(inputs: &[(&str, Vec<u8>)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in inputs.iter().flat_map(|(name, value)| [name.as_bytes(), value]) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(variant: Variant, base: &str, certificates: &str) -> Recipe {
        Recipe::of(variant, Base::parse(base).expect("a base"), certificates.into())
    }

    #[test]
    fn the_digest_is_stable_and_names_the_image() {
        let (one, other) = (
            recipe(Variant::Full, "debian bookworm", "pem"),
            recipe(Variant::Full, "debian bookworm", "pem"),
        );
        assert_eq!(one.digest(), other.digest());
        assert_eq!(one.reference(), format!("opencode-fsm/runner:{}", &one.digest()[..16]));
        assert_eq!(one.labels("blake3:0")[LABEL_RECIPE], one.digest());
    }

    #[test]
    fn every_input_changes_the_digest() {
        let one = recipe(Variant::Full, "debian bookworm", "pem");
        for other in [
            recipe(Variant::Slim, "debian bookworm", "pem"),
            recipe(Variant::Full, "debian trixie", "pem"),
            recipe(Variant::Full, "image bookworm", "pem"),
            recipe(Variant::Full, "debian bookworm", "pem\n"),
        ] {
            assert_ne!(one.digest(), other.digest(), "{other:?}");
        }
        let inputs = one.inputs();
        assert_eq!(digest(&inputs), one.digest());
        for index in 0..inputs.len() {
            let mut changed = inputs.clone();
            changed[index].1.push(b'x');
            assert_ne!(digest(&changed), one.digest(), "{}", inputs[index].0);
        }
    }

    #[test]
    fn bytes_that_move_from_one_input_to_the_next_change_the_digest() {
        let (one, other) = ([("a", b"bc".to_vec())], [("ab", b"c".to_vec())]);
        assert_ne!(digest(&one), digest(&other));
    }

    #[test]
    fn the_lists_hold_what_the_image_promises() {
        let full = recipe(Variant::Full, "debian bookworm", "");
        let slim = recipe(Variant::Slim, "debian bookworm", "");
        for package in ["git", "ripgrep", "python3-venv", "python3-pip", "ca-certificates"] {
            assert!(slim.packages().contains(&package), "{package}");
        }
        for package in ["gcc", "make", "libc6-dev", "nodejs"] {
            assert!(full.packages().contains(&package) && !slim.packages().contains(&package));
        }
        let npm = full.npm().expect("pinned");
        assert_eq!((npm.digest.len(), slim.npm().is_none()), (64, true));
        assert!(full.environment().iter().all(|entry| entry.contains('=')));
        assert!(entries(EXCLUDES).iter().all(|entry| entry.starts_with("path-")));
    }

    #[test]
    fn a_base_is_read_as_it_is_written() {
        for text in ["debian bookworm", "image registry.example/debian:12"] {
            assert_eq!(Base::parse(text).expect("a base").to_string(), text);
        }
        assert_eq!(Base::parse("bookworm"), None);
    }
}
