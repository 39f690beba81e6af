//! A plan compiled for the engine.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountType, ResourcesUlimits,
};

use super::{files, image::Image, label::GUEST, overlay};
use crate::{
    policy::{GUEST_HOME, GUEST_WORKSPACE, NAMES_PORT, NetworkMode, SandboxPlan},
    probe::Layer,
    sandbox::seccomp,
};

/// Ours inside: a directory that only the guest may enter.
const OURS: &str = "/.opencode-fsm";
/// The directory of the host's socket ([`crate::guest::DOOR`]).
const DOOR: &str = "/.opencode-fsm/door";
/// The overlay's work directory ([`crate::wire::Admission::leave_empty`]).
pub(super) const WORK: &str = "/.opencode-fsm/work";

/// What the guest needs, and commands do not keep: to read what belongs to them and
/// to change the workspace as they (`DAC_OVERRIDE`), to end them (`KILL`), to become
/// them (`SETGID`, `SETUID`), to take the rest from them (`SETPCAP`), and to see which
/// of their threads stand still (`SYS_PTRACE`, `/proc/PID/task/TID/syscall`).
pub(super) const CAPABILITIES: [(&str, u32); 6] = [
    ("DAC_OVERRIDE", 1),
    ("KILL", 5),
    ("SETGID", 6),
    ("SETUID", 7),
    ("SETPCAP", 8),
    ("SYS_PTRACE", 19),
];

/// What `/proc` tells and takes of the host's kernel: an engine's own list leaves some out.
const MASKED: [&str; 12] = [
    "acpi",
    "asound",
    "kallsyms",
    "kcore",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "scsi",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
];
/// What of `/proc` acts on the kernel.
const READ_ONLY: [&str; 4] = ["bus", "fs", "irq", "sys"];

/// Settings of the container's own namespaces.
fn sysctls(network: NetworkMode, parts: &Parts<'_>) -> HashMap<String, String> {
    // The kernel's own default, which engines take down to 0; the guest, who has no
    // capability for that, takes the port of names for the egress door.
    let first_port = match network {
        NetworkMode::Allow => NAMES_PORT,
        _ => 1024,
    };
    [
        // A System V segment goes with the last process that maps it.
        ("kernel.shm_rmid_forced", "1".to_owned()),
        ("net.ipv4.ip_unprivileged_port_start", first_port.to_string()),
    ]
    .into_iter()
    // What the host's own namespaces are set to is nobody's to say here.
    .filter(|(name, _)| match name.split('.').next() {
        Some("net") => parts.on(Layer::NetworkNamespace),
        _ => parts.on(Layer::IpcNamespace),
    })
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The guest and its wardens, which are counted with the commands.
const SUPERVISORS: u64 = 16;

/// What a container is made of besides its plan.
pub(super) struct Parts<'a> {
    pub image: &'a Image,
    /// This very program.
    pub program: &'a Path,
    pub runtime: Option<&'a str>,
    pub labels: HashMap<String, String>,
    /// Pieces of the host's C library that the image lacks.
    pub libraries: &'a [PathBuf],
    /// The ids that commands run as.
    pub ids: (u32, u32),
    /// Layers that are left off (tests of the others only).
    pub off: &'a [Layer],
}

impl Parts<'_> {
    fn on(&self, layer: Layer) -> bool {
        !self.off.contains(&layer)
    }
}

/// The engine's order.
///
/// # Errors
/// What cannot be said to an engine, in one line.
pub(super) fn order(plan: &SandboxPlan, parts: Parts<'_>) -> Result<ContainerCreateBody, String> {
    let scratch = &plan.workspace.scratch;
    let labels = parts.labels.clone();
    let volumes = volumes(parts.image)?;
    let mut mounts = vec![
        overlay::volume(GUEST_WORKSPACE, &plan.workspace.lowers, scratch, labels)?,
        bound(parts.program, Path::new(GUEST), true),
        bound(&scratch.join("door"), Path::new(DOOR), true),
        bound(&scratch.join("work"), Path::new(WORK), false),
    ];
    mounts.extend(files::NAMES.map(|name| bound(&scratch.join("etc").join(name), &Path::new("/etc").join(name), true)));
    mounts.extend(parts.libraries.iter().map(|path| bound(path, path, true)));
    let read_only = parts.on(Layer::ReadOnly);
    mounts.extend(plan.read_only.iter().map(|m| bound(&m.host, &m.guest, read_only)));
    Ok(ContainerCreateBody {
        image: Some(parts.image.id.clone()),
        // Everything that an image could choose is chosen here.
        user: Some("0:0".to_owned()),
        entrypoint: Some(vec![GUEST.to_owned(), "guest".to_owned()]),
        cmd: Some(Vec::new()),
        // An engine adds the image's variables to an order's; a name without a value takes
        // one away again. The C library in the guest reads some.
        env: Some(parts.image.variables.clone()),
        working_dir: Some("/".to_owned()),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        stop_signal: Some("SIGKILL".to_owned()),
        hostname: parts.on(Layer::UtsNamespace).then(|| "sandbox".to_owned()),
        tty: Some(false),
        open_stdin: Some(false),
        attach_stdin: Some(false),
        attach_stdout: Some(false),
        attach_stderr: Some(false),
        network_disabled: Some(parts.on(Layer::NetworkNamespace)),
        host_config: Some(host_config(plan, &parts, volumes, mounts)),
        labels: Some(parts.labels),
        ..ContainerCreateBody::default()
    })
}

fn host_config(plan: &SandboxPlan, parts: &Parts<'_>, volumes: Vec<String>, mounts: Vec<Mount>) -> HostConfig {
    let limits = &plan.limits;
    let most = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let ulimit = |name: &str, value: u64| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(most(value)),
        hard: Some(most(value)),
    };
    let host = || "host".to_owned();
    let bounded = |value| parts.on(Layer::Cgroup).then_some(value);
    let masked = if parts.on(Layer::ProcMasks) { &MASKED[..] } else { &[] };
    let filter = if parts.on(Layer::Seccomp) {
        seccomp::profile()
    } else {
        "unconfined".to_owned()
    };
    HostConfig {
        mounts: Some(mounts),
        tmpfs: Some(private(plan, volumes, parts.ids)),
        readonly_rootfs: Some(parts.on(Layer::ReadOnly)),
        network_mode: Some(if parts.on(Layer::NetworkNamespace) {
            "none".to_owned()
        } else {
            host()
        }),
        // A private namespace; /dev/shm is ours, with a cap on its inodes too.
        ipc_mode: Some(if parts.on(Layer::IpcNamespace) {
            "none".to_owned()
        } else {
            host()
        }),
        uts_mode: (!parts.on(Layer::UtsNamespace)).then(host),
        cgroupns_mode: Some(if parts.on(Layer::CgroupNamespace) {
            HostConfigCgroupnsModeEnum::PRIVATE
        } else {
            HostConfigCgroupnsModeEnum::HOST
        }),
        cap_drop: parts.on(Layer::Capabilities).then(|| vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(|(name, _)| name.to_owned()).to_vec()),
        security_opt: Some(vec!["no-new-privileges".to_owned(), format!("seccomp={filter}")]),
        privileged: Some(false),
        devices: Some(Vec::new()),
        group_add: Some(Vec::new()),
        memory: bounded(most(limits.memory_bytes)),
        memory_swap: bounded(most(limits.memory_bytes)),
        pids_limit: bounded(most(limits.processes.saturating_add(SUPERVISORS))),
        nano_cpus: limits.cpu.and_then(|millis| bounded(i64::from(millis) * 1_000_000)),
        ulimits: parts
            .on(Layer::Rlimits)
            .then(|| vec![ulimit("nofile", limits.open_files), ulimit("core", 0)]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        init: Some(false),
        // The end of the guest, however it comes, is the end of all that was made for it.
        auto_remove: Some(true),
        runtime: parts.runtime.map(str::to_owned),
        masked_paths: Some(masked.iter().map(|name| format!("/proc/{name}")).collect()),
        readonly_paths: Some(READ_ONLY.map(|name| format!("/proc/{name}")).to_vec()),
        sysctls: Some(sysctls(plan.network, parts)),
        ..HostConfig::default()
    }
}

/// The private file systems in memory, by path.
fn private(plan: &SandboxPlan, volumes: Vec<String>, (uid, gid): (u32, u32)) -> HashMap<String, String> {
    let (bytes, inodes) = (plan.limits.scratch_bytes, plan.limits.scratch_inodes);
    let sized =
        |mode: &str, owner: String| format!("rw,exec,nosuid,nodev,size={bytes},nr_inodes={inodes},mode={mode}{owner}");
    let own = || format!(",uid={uid},gid={gid}");
    let mut mounts: HashMap<String, String> = [
        ("/tmp", sized("1777", String::new())),
        ("/dev/shm", sized("1777", String::new())),
        ("/run", sized("755", own())),
        (GUEST_HOME, sized("755", own())),
        (OURS, "rw,exec,nosuid,nodev,size=64k,nr_inodes=32,mode=700".to_owned()),
    ]
    .map(|(path, options)| (path.to_owned(), options))
    .into();
    // The host's hardware is nothing to whoever is inside.
    mounts.insert("/sys".to_owned(), "ro,noexec,nosuid,nodev,size=4k,mode=555".to_owned());
    // An image's volume would be a directory of the engine's disk, without a cap.
    for path in volumes {
        mounts.entry(path).or_insert_with(|| sized("755", String::new()));
    }
    mounts
}

/// The places for which an image wants volumes, each as the engine will name it; without the
/// workspace, which is one already.
///
/// # Errors
/// A place that would hide something of ours.
fn volumes(image: &Image) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for wanted in &image.volumes {
        let place = clean(wanted);
        if place == Path::new(GUEST_WORKSPACE) {
            continue;
        }
        let shown = crate::report::escape(wanted.as_bytes(), 200);
        if place == Path::new("/") || [GUEST_WORKSPACE, OURS].iter().any(|ours| place.starts_with(ours)) {
            return Err(format!(
                "the image `{}` wants a volume at `{shown}`, which would hide what is put there; use another image",
                crate::report::escape(image.reference.as_bytes(), 200)
            ));
        }
        let place = place.into_os_string().into_string();
        found.push(place.map_err(|_| format!("the image wants a volume at `{shown}`, which is not UTF-8"))?);
    }
    Ok(found)
}

/// A path as the engine understands it: absolute, without `.`, `..` and empty names.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                clean.pop();
            }
            name => clean.push(name),
        }
    }
    clean
}

fn bound(host: &Path, inside: &Path, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(host.to_string_lossy().into_owned()),
        target: Some(inside.to_string_lossy().into_owned()),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            // What is mounted below on the host is not shown.
            non_recursive: Some(true),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
