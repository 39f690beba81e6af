//! A root file system from Debian packages, without any registry.
//!
//! mmdebstrap(1) makes it with the host's own apt sources. As root it runs in namespaces
//! of its own, so that nothing of it, no mount and no process, outlives its end.

use std::path::PathBuf;

use nix::{sys::signal::Signal, unistd::geteuid};
use ring::digest::{Context, SHA256};

use super::{
    ImageError, Progress, program,
    recipe::{EPOCH, EXCLUDES, FINISH, Npm, Recipe, architecture, entries},
    work::WorkDir,
};

/// What the host's package tools may be missing when it fails.
const UNPRIVILEGED: &str = "; as an ordinary user it needs user namespaces, the package uidmap and a range for you in \
                            /etc/subuid and /etc/subgid, else run `opencode-fsm image build` as root";
const AS_ROOT: &str = "; it needs the rights of a real root (CAP_SYS_ADMIN), and archives that can be reached";

/// Writes what both ways of building put into an image: certificates, npm, the last touches.
pub(super) async fn inputs(recipe: &Recipe, work: &WorkDir, progress: Progress<'_>) -> Result<(), ImageError> {
    work.write("ca-certificates.crt", &recipe.certificates)?;
    work.write("finish.sh", FINISH.as_bytes())?;
    if let Some(npm) = recipe.npm() {
        let archive = fetch_npm(&npm, work, progress).await?;
        work.write("npm.tgz", &archive)?;
    }
    Ok(())
}

/// npm's archive, by the host's own npm, from the registry that it is set to.
async fn fetch_npm(npm: &Npm, work: &WorkDir, progress: Progress<'_>) -> Result<Vec<u8>, ImageError> {
    program::find("npm", "npm", "fetches the image's npm")?;
    let what = format!("npm@{}", npm.version);
    progress.step(&format!("fetching {what}"));
    let mut command = program::command("npm");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
        .args(["pack", "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(work.path())
        .arg(&what)
        .current_dir(work.path());
    program::run(command, &format!("npm pack {what}"), "", &|_| {}).await?;
    let path = work.path().join(format!("npm-{}.tgz", npm.version));
    let bytes = tokio::fs::read(&path).await.map_err(ImageError::io("read", &path))?;
    let mut context = Context::new(&SHA256);
    context.update(&bytes);
    let found = super::archive::hex(context.finish().as_ref());
    if found != npm.digest {
        return Err(ImageError::WrongDigest {
            what,
            found,
            pinned: npm.digest.to_owned(),
        });
    }
    Ok(bytes)
}

/// Makes the root file system of `release` as a tar archive in the work directory.
pub(super) async fn build(
    recipe: &Recipe,
    release: &str,
    work: &WorkDir,
    progress: Progress<'_>,
) -> Result<PathBuf, ImageError> {
    program::find("mmdebstrap", "mmdebstrap", "makes the image from Debian packages")?;
    let sources = sources(release).await?;
    inputs(recipe, work, progress).await?;
    let sources = work.write("sources.list", sources.as_bytes())?;
    let rootfs = work.path().join("rootfs.tar");
    progress.step(&format!(
        "making the {} image from packages of Debian {release} in {} (a minute or more)",
        recipe.variant.as_str(),
        work.path().display()
    ));
    let root = geteuid().is_root();
    let mut command = program::command("setpriv");
    if root {
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
        ]);
        command.args(["--mount-proc", "mmdebstrap", "--mode=root"]);
    } else {
        command.args(["--pdeathsig", "TERM", "mmdebstrap", "--mode=unshare"]);
    }
    command
        .args(["--variant=minbase", "--format=tar", "--skip=output/dev"])
        .arg(format!("--architectures={}", architecture()))
        .arg(format!("--include={}", recipe.packages().join(",")))
        .args(entries(EXCLUDES).iter().map(|entry| format!("--dpkgopt={entry}")))
        .args(proxies().await)
        .arg(r#"--customize-hook=sh "$OPENCODE_FSM_INPUTS/finish.sh" "$1" "$OPENCODE_FSM_INPUTS""#)
        .arg(release)
        .arg(&rootfs)
        .arg(&sources)
        .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
        .env("OPENCODE_FSM_INPUTS", work.path())
        .env("TMPDIR", work.path())
        .current_dir("/");
    // As root the namespaces take everything along; without, mmdebstrap removes what other ids own.
    let (remedy, end) = match root {
        true => (AS_ROOT, Signal::SIGKILL),
        false => (UNPRIVILEGED, Signal::SIGTERM),
    };
    let hear = |line: &str| progress.detail(line.strip_prefix("I: ").unwrap_or(line));
    program::run_until(command, "mmdebstrap", remedy, &hear, end).await?;
    Ok(rootfs)
}

/// The host's own sources of a release's archive, one line each, as apt reads them.
async fn sources(release: &str) -> Result<String, ImageError> {
    program::find("apt-get", "apt", "names the archives that packages come from")?;
    let mut command = program::command("apt-get");
    command.args([
        "indextargets",
        "--format",
        "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)",
        "Created-By: Packages",
    ]);
    let found = chosen(
        &program::run(command, "apt-get indextargets", "", &|_| {}).await?,
        release,
    );
    if found.is_empty() {
        return Err(ImageError::NoArchive(format!(
            "apt on this host knows no archive of Debian {release}; run `apt-get update` as root"
        )));
    }
    Ok(found)
}

/// Of all that apt knows: Debian's own archives of the release, its updates and its
/// security fixes, with what is free software.
fn chosen(targets: &str, release: &str) -> String {
    let suites = [
        release.to_owned(),
        format!("{release}-updates"),
        format!("{release}-security"),
    ];
    let mut lines: Vec<String> = targets
        .lines()
        .filter_map(|line| {
            let [origin, suite, component, uri] = line.split('|').collect::<Vec<_>>().try_into().ok()?;
            let ours = origin == "Debian" && component == "main" && suites.iter().any(|name| name == suite);
            // What apt would read as something else than an address is not written.
            let plain = uri.bytes().all(|b| b.is_ascii_graphic() && b != b'[');
            (ours && plain).then(|| format!("deb {uri} {suite} {component}\n"))
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    lines.concat()
}

/// The proxies that apt is set to on this host; the image does not keep them.
async fn proxies() -> Vec<String> {
    let mut found = Vec::new();
    for key in ["Acquire::http::Proxy", "Acquire::https::Proxy"] {
        let mut command = program::command("apt-config");
        command.args(["dump", "--format", "%v%n", key]);
        // apt without a word about proxies is apt without proxies.
        let Ok(value) = program::run(command, "apt-config", "", &|_| {}).await else {
            continue;
        };
        let value = value.lines().next().unwrap_or_default();
        if !value.is_empty() && !value.contains(['"', ';']) {
            found.push(format!("--aptopt={key} \"{value}\""));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_own_archives_of_the_release_are_taken() {
        let targets = "Debian|bookworm|main|http://mirror.example/debian/\n\
                       Debian|bookworm|main|http://mirror.example/debian/\n\
                       Debian|bookworm|non-free|http://mirror.example/debian/\n\
                       Debian|trixie|main|http://mirror.example/debian/\n\
                       Debian|bookworm-security|main|http://mirror.example/security/\n\
                       Somebody|bookworm|main|http://other.example/\n\
                       Debian|bookworm|main|[trusted=yes] http://x/\n\
                       nonsense\n";
        assert_eq!(
            chosen(targets, "bookworm"),
            "deb http://mirror.example/debian/ bookworm main\n\
             deb http://mirror.example/security/ bookworm-security main\n"
        );
    }
}
