//! What commands may touch where they share the host's files and network.

use std::path::Path;

use crate::{
    policy::{Inside, Role, SandboxPlan},
    wire::{LandlockRules, PathAccess},
};

/// The host's system.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// What programs need of `/etc`: no accounts, no secrets.
const ETC: [&str; 20] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates.conf",
    "debian_version",
    "gai.conf",
    "host.conf",
    "hosts",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "perl",
    "profile",
    "protocols",
    "services",
    "ssl/certs",
];
/// Beginnings of further names there: interpreters keep parts of themselves in them.
const ETC_BEGINNINGS: [&str; 2] = ["python", "java"];
/// Character devices. No terminal: those that can be opened are the user's own.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// The kernel that mediates all that this tier stands on: files, TCP ports, and who may
/// be signalled (landlock(7), ABI 6: Linux 6.12).
pub(super) const MIN_ABI: u32 = 6;

/// The rules for a sandbox of `plan`.
pub(super) fn of(plan: &SandboxPlan, inside: &Inside) -> LandlockRules {
    let own = |path: &String| (path.clone(), PathAccess::ReadWrite);
    let mut paths: Vec<_> = [&inside.workspace, &inside.home, &inside.tmp].map(own).to_vec();
    paths.extend(system());
    // By their host paths: rules are about files, whatever leads to them.
    for piece in &plan.read_only {
        paths.push((piece.host.to_string_lossy().into_owned(), PathAccess::ReadExecute));
    }
    let connect = match plan.role {
        // Not to its own server, whose password its shell can read.
        Role::Agent => inside.model_port,
        Role::Judge => inside.server_port,
    };
    LandlockRules {
        paths,
        restrict_tcp: true,
        bind_ports: vec![inside.server_port],
        connect_ports: [connect]
            .into_iter()
            .chain(inside.proxy.as_ref().map(|proxy| proxy.port))
            .collect(),
        min_abi: MIN_ABI,
    }
}

/// What every sandbox may read of the host.
pub(in crate::sandbox) fn system() -> Vec<(String, PathAccess)> {
    let mut paths = SYSTEM.map(|path| (path.to_owned(), PathAccess::ReadExecute)).to_vec();
    paths.extend(etc().into_iter().map(|path| (path, PathAccess::Read)));
    paths.extend(DEVICES.map(|name| (format!("/dev/{name}"), PathAccess::Device)));
    paths.push(("/proc".to_owned(), PathAccess::Read));
    paths
}

fn etc() -> Vec<String> {
    let etc = Path::new("/etc");
    let listed = std::fs::read_dir(etc).into_iter().flatten().flatten();
    listed
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| ETC_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning)))
        .chain(ETC.map(str::to_owned))
        .map(|name| etc.join(name).to_string_lossy().into_owned())
        .collect()
}
