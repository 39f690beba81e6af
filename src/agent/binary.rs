//! The OpenCode executable: found, or installed with npm.

use std::{
    env, fs,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{AgentError, OPENCODE_VERSION};
use crate::record::default_cache_dir;

/// The npm package that holds the executable for this machine.
const PLATFORM_PACKAGE: &str = if cfg!(target_arch = "aarch64") {
    "opencode-linux-arm64"
} else {
    "opencode-linux-x64"
};

/// Finds the executable: `explicit`, `$OPENCODE_BIN`, `PATH`, `~/.opencode/bin`, the
/// tool's own cache. npm's launcher script stands for the executable beside it.
///
/// # Errors
/// [`AgentError::NotFound`] with the remedy; when it is named and is no such executable, too.
pub fn find_binary(explicit: Option<&Path>) -> Result<PathBuf, AgentError> {
    if let Some(path) = explicit {
        return executable(path).ok_or_else(|| not_one("--opencode-bin", path));
    }
    if let Some(path) = env::var_os("OPENCODE_BIN")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    {
        return executable(&path).ok_or_else(|| not_one("OPENCODE_BIN", &path));
    }
    let on_path = env::var_os("PATH").unwrap_or_default();
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".opencode/bin"));
    let installed = installed_at()?;
    env::split_paths(&on_path)
        .chain(home)
        .map(|dir| dir.join("opencode"))
        .chain([executable_in(&installed)])
        .find_map(|path| executable(&path))
        .ok_or_else(|| {
            AgentError::NotFound(
                "OpenCode is not installed; run `opencode-fsm setup`, or name it with --opencode-bin".to_owned(),
            )
        })
}

/// The version of the executable, as the npm package that it lies in names it; it is
/// not started to ask. `None` where there is no such package.
pub fn version_of(binary: &Path) -> Option<String> {
    let manifest = binary.parent()?.parent()?.join("package.json");
    let mut text = String::new();
    fs::File::open(manifest)
        .ok()?
        .take(1 << 20)
        .read_to_string(&mut text)
        .ok()?;
    let package: serde_json::Value = serde_json::from_str(&text).ok()?;
    let ours = package["name"].as_str()? == PLATFORM_PACKAGE;
    ours.then(|| package["version"].as_str().map(str::to_owned))?
}

fn not_one(what: &str, path: &Path) -> AgentError {
    AgentError::NotFound(format!(
        "{what} {}: no OpenCode executable (an ELF file) there",
        path.display()
    ))
}

/// The ELF file that `path` is, or that the npm launcher script at `path` would start.
fn executable(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    if is_elf(&real) {
        return Some(real);
    }
    real.ancestors()
        .skip(1)
        .flat_map(|dir| {
            [
                dir.join("node_modules").join(PLATFORM_PACKAGE),
                dir.join(PLATFORM_PACKAGE),
            ]
        })
        .map(|package| package.join("bin/opencode"))
        .find(|path| is_elf(path))
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
        && fs::File::open(path)
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok()
        && magic == *b"\x7fELF"
}

fn installed_at() -> Result<PathBuf, AgentError> {
    Ok(default_cache_dir()?.join(format!("opencode-{OPENCODE_VERSION}")))
}

fn executable_in(prefix: &Path) -> PathBuf {
    prefix.join("node_modules").join(PLATFORM_PACKAGE).join("bin/opencode")
}

/// Installs the pinned version with the machine's npm into the tool's own cache,
/// whole or not at all. npm checks it against the registry's integrity digests; no
/// script of any package runs.
///
/// # Errors
/// [`AgentError::NotFound`] when there is no npm or it fails, with its last words.
pub async fn install(progress: &(dyn Fn(&str) + Sync)) -> Result<PathBuf, AgentError> {
    let target = installed_at()?;
    let cache = target.parent().unwrap_or(Path::new("/")).to_path_buf();
    let io = |what: &str| {
        let what = format!("{what} {}", cache.display());
        move |source| AgentError::Io { what, source }
    };
    fs::create_dir_all(&cache).map_err(io("make"))?;
    let partial = tempfile::Builder::new()
        .prefix(".installing-")
        .tempdir_in(&cache)
        .map_err(io("make a directory in"))?;
    progress(&format!(
        "installing opencode-ai@{OPENCODE_VERSION} with npm (about 190 MB)"
    ));
    let npm = tokio::process::Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--no-save",
            "--loglevel=error",
            "--prefix",
        ])
        .arg(partial.path())
        .arg(format!("opencode-ai@{OPENCODE_VERSION}"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    let output = npm.map_err(|why| {
        AgentError::NotFound(format!(
            "npm cannot be started ({why}); install it (on Debian: apt-get install npm)"
        ))
    })?;
    let binary = executable_in(partial.path());
    if !output.status.success() || !is_elf(&binary) {
        let words = crate::report::escape(&output.stderr[output.stderr.len().saturating_sub(2_000)..], 2_000);
        return Err(AgentError::NotFound(format!(
            "npm could not install opencode-ai@{OPENCODE_VERSION}: {words}"
        )));
    }
    fs::set_permissions(partial.path(), fs::Permissions::from_mode(0o755)).map_err(io("open up"))?;
    match fs::rename(partial.keep(), &target) {
        Ok(()) => {}
        // Somebody else was quicker; theirs is the same.
        Err(_) if is_elf(&executable_in(&target)) => {}
        Err(why) => return Err(io("install into")(why)),
    }
    executable(&executable_in(&target)).ok_or_else(|| not_one("installed", &target))
}

/// The executable where everybody may read it: sandboxes run as another user, who
/// may not enter, for instance, root's home. It is copied into the cache if need be.
///
/// # Errors
/// When it cannot be copied.
pub fn reachable(binary: &Path) -> Result<PathBuf, AgentError> {
    let io = |source| AgentError::Io {
        what: format!("copy {}", binary.display()),
        source,
    };
    let meta = fs::metadata(binary).map_err(io)?;
    let open = binary
        .ancestors()
        .skip(1)
        .all(|dir| fs::metadata(dir).is_ok_and(|dir| dir.mode() & 0o001 != 0));
    if !nix::unistd::geteuid().is_root() || (open && meta.mode() & 0o005 == 0o005) {
        return Ok(binary.to_path_buf());
    }
    let version = format!("opencode-copy-{:x}-{:x}-{:x}", meta.ino(), meta.mtime(), meta.size());
    let copy = default_cache_dir()?.join(version);
    if !is_elf(&copy) {
        let dir = copy.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir).map_err(io)?;
        let partial = tempfile::NamedTempFile::new_in(dir).map_err(io)?;
        fs::copy(binary, partial.path()).map_err(io)?;
        fs::set_permissions(partial.path(), fs::Permissions::from_mode(0o755)).map_err(io)?;
        partial.persist(&copy).map_err(|why| io(why.error))?;
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, bytes: &[u8]) {
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::write(path, bytes).expect("write");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }

    #[test]
    fn npms_launcher_script_leads_to_the_executable() {
        let dir = tempfile::tempdir().expect("tempdir");
        let script = dir.path().join("lib/node_modules/opencode-ai/bin/opencode");
        write(&script, b"#!/usr/bin/env node\n");
        assert_eq!(executable(&script), None);
        let elf = dir
            .path()
            .join("lib/node_modules")
            .join(PLATFORM_PACKAGE)
            .join("bin/opencode");
        write(&elf, b"\x7fELF and so on");
        let link = dir.path().join("bin/opencode");
        fs::create_dir_all(dir.path().join("bin")).expect("mkdir");
        std::os::unix::fs::symlink(&script, &link).expect("link");
        assert_eq!(executable(&link), Some(fs::canonicalize(&elf).expect("real")));
        assert_eq!(version_of(&elf), None);
        let package = elf
            .parent()
            .and_then(Path::parent)
            .expect("package")
            .join("package.json");
        write(
            &package,
            format!(r#"{{"name": "{PLATFORM_PACKAGE}", "version": "1.2.3"}}"#).as_bytes(),
        );
        assert_eq!(version_of(&elf).as_deref(), Some("1.2.3"));
        let why = find_binary(Some(&dir.path().join("nothing")))
            .expect_err("nothing there")
            .to_string();
        assert!(why.contains("--opencode-bin") && why.contains("nothing"), "{why}");
    }
}
