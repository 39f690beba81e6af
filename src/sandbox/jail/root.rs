//! The jail's root file system, assembled from read-only pieces of the host.
//!
//! What every jail shows ([`assemble`]) is laid out before its plan is known:
//! detached copies of the host's pieces, a tmpfs as the new root, the pieces
//! attached, `/etc`, `/dev`, `/proc`. What one jail is made for ([`enter`]) comes
//! with the plan: private directories, read-only mounts, the workspace overlay,
//! `pivot_root(".", ".")`, the old root detached, `/` and `/dev` made read-only.

use std::{
    ffi::CString,
    fs,
    io::Write,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, symlink},
    },
    path::Path,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{
    mount::{self as api, NODEV, NOSUID, Opt, RDONLY},
    spec::{JailSpec, Step, StepError},
};
use crate::{
    policy::{GUEST_GID, GUEST_HOME, GUEST_UID, GUEST_WORKSPACE},
    probe::Layer,
    sandbox::etc,
};

/// Where the new root is assembled: a directory that exists everywhere and that no
/// layer lies below, because the new root hides it until `pivot_root`.
const NEW: &str = "/sys";
/// Where the layers of the workspace are attached while the overlay is made.
const STAGING: &str = "mnt";
/// Top-level pieces of the host's system, as links or directories.
const SYSTEM: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// What programs need of the host's `/etc`: no accounts, no secrets, no host names.
const ETC: [&str; 6] = [
    "alternatives",
    "ssl/certs",
    "ca-certificates.conf",
    "ld.so.cache",
    "mime.types",
    "localtime",
];
/// Character devices that are shown.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links beside them.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Files of `/proc` that tell about the host's kernel.
const MASKED: [&str; 6] = ["kcore", "keys", "kallsyms", "timer_list", "sched_debug", "kmsg"];

/// Detached mounts of what one jail is made for.
pub(super) struct Own {
    read_only: Vec<OwnedFd>,
    lowers: Vec<OwnedFd>,
    scratch: OwnedFd,
}

impl Own {
    /// Clones them; as root the launcher does so, because layers may lie where the
    /// jail's id could not go by itself.
    pub fn gather(spec: &JailSpec) -> Result<Self, StepError> {
        let read_only = spec
            .read_only
            .iter()
            .map(|(host, inside)| piece(host, inside, &spec.off))
            .collect::<Result<_, _>>()?;
        let lowers = spec
            .lowers
            .iter()
            .map(|lower| api::open_tree(lower).step(&format!("open_tree layer {}", lower.display())))
            .collect::<Result<_, _>>()?;
        let scratch = api::open_tree(&spec.scratch).step("open_tree scratch")?;
        Ok(Self {
            read_only,
            lowers,
            scratch,
        })
    }

    /// For the way to another process: [`Own::of`] takes them in the same order.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let all = self.read_only.iter().chain(&self.lowers).chain([&self.scratch]);
        all.map(AsFd::as_fd).collect()
    }

    /// What [`Own::fds`] sent.
    pub fn of(spec: &JailSpec, mut fds: Vec<OwnedFd>) -> Result<Self, StepError> {
        let missing = || StepError {
            step: "receive the layers".to_owned(),
            errno: libc::EBADF,
        };
        let scratch = fds.pop().ok_or_else(missing)?;
        if fds.len() != spec.read_only.len() + spec.lowers.len() {
            return Err(missing());
        }
        let lowers = fds.split_off(spec.read_only.len());
        Ok(Self {
            read_only: fds,
            lowers,
            scratch,
        })
    }
}

/// A detached copy of a host path, read-only.
fn piece(host: &Path, inside: &Path, off: &[Layer]) -> Result<OwnedFd, StepError> {
    let tree = api::open_tree(host).step(&format!("open_tree {}", inside.display()))?;
    let read_only = if off.contains(&Layer::ReadOnly) { 0 } else { RDONLY };
    api::set_attributes(&tree, read_only | NOSUID | NODEV, true).step("mount_setattr read-only")?;
    Ok(tree)
}

/// Lays out what every jail shows, and the mount points of the rest.
///
/// Returns `/proc/sys/user`, opened while it can be written.
pub(super) fn assemble(off: &[Layer]) -> Result<OwnedFd, StepError> {
    let new = Path::new(NEW);
    // What the host mounts until the plan comes still has to be found.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )
    .step("make mounts private")?;
    tmpfs(new, 64 << 20, 4096, 0o755).step("mount the new root")?;
    for name in SYSTEM {
        let host = Path::new("/").join(name);
        match fs::symlink_metadata(&host) {
            Ok(meta) if meta.is_dir() => show(&piece(&host, Path::new(name), off)?, new, Path::new(name))?,
            Ok(meta) if meta.is_symlink() => {
                let target = fs::read_link(&host).step("read a link of the host")?;
                symlink(target, new.join(name)).step("link a piece of the host")?;
            }
            _ => {}
        }
    }
    etc(new).step("write /etc")?;
    for name in ETC {
        let (host, inside) = (Path::new("/etc").join(name), Path::new("etc").join(name));
        if host.exists() {
            show(&piece(&host, &inside, off)?, new, &inside)?;
        }
    }
    devices(new)?;
    for path in [
        "dev/shm",
        "tmp",
        &GUEST_HOME[1..],
        "run",
        &GUEST_WORKSPACE[1..],
        STAGING,
    ] {
        directory(&new.join(path)).step("make a mount point")?;
    }
    proc(new, off)
}

/// Files of `/etc` that are written for every jail.
const WRITTEN: [&str; 6] = ["passwd", "group", "hosts", "hostname", "resolv.conf", "nsswitch.conf"];

/// Whether a jail's root can have a path (absolute, clean): the pieces that [`assemble`] and
/// [`enter`] show, whatever of them the host has.
pub(in crate::sandbox) fn shows(path: &str) -> bool {
    let below = |root: &str| {
        let rest = path.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let etc = ETC.iter().chain(&WRITTEN).any(|name| below(&format!("/etc/{name}")));
    let links = LINKS.iter().map(|(name, _)| name);
    let devices = DEVICES.iter().chain(links).any(|name| below(&format!("/dev/{name}")));
    let places = [
        "/dev/pts",
        "/dev/shm",
        "/tmp",
        GUEST_HOME,
        "/run",
        GUEST_WORKSPACE,
        "/proc",
    ];
    matches!(path, "/" | "/etc" | "/dev" | "/home")
        || etc
        || devices
        || SYSTEM.iter().any(|name| below(&format!("/{name}")))
        || places.iter().any(|place| below(place))
}

/// Completes the new root for `spec` and moves into it.
pub(super) fn enter(spec: &JailSpec, own: &Own) -> Result<(), StepError> {
    let new = Path::new(NEW);
    for (path, mode) in [
        ("dev/shm", 0o1777),
        ("tmp", 0o1777),
        (&GUEST_HOME[1..], 0o755),
        ("run", 0o755),
    ] {
        let private = tmpfs(&new.join(path), spec.scratch_bytes, spec.scratch_inodes, mode);
        private.step(&format!("mount /{path}"))?;
    }
    if spec.asks_for_names {
        names(new).step("write /etc")?;
    }
    for (tree, (_, inside)) in own.read_only.iter().zip(&spec.read_only) {
        show(tree, new, inside.strip_prefix("/").unwrap_or(inside))?;
    }
    workspace(new, own)?;
    nix::unistd::chdir(new).step("chdir to the new root")?;
    nix::unistd::pivot_root(".", ".").step("pivot_root")?;
    if !spec.off.contains(&Layer::Root) {
        umount2(".", MntFlags::MNT_DETACH).step("detach the old root")?;
    }
    nix::unistd::chdir("/").step("chdir /")?;
    if spec.off.contains(&Layer::ReadOnly) {
        return Ok(());
    }
    api::set_attributes_at(c"/", RDONLY).step("make / read-only")?;
    api::set_attributes_at(c"/dev", RDONLY).step("make /dev read-only")
}

/// Attaches a detached mount at `inside` of the new root.
fn show(tree: &OwnedFd, new: &Path, inside: &Path) -> Result<(), StepError> {
    let target = new.join(inside);
    let is_dir = nix::sys::stat::fstat(tree)
        .map(|s| s.st_mode & libc::S_IFMT == libc::S_IFDIR)
        .step("fstat a piece of the host")?;
    place(&target, is_dir).step("make a mount point")?;
    api::attach(tree, &target).step(&format!("attach /{}", inside.display()))
}

fn directory(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn place(target: &Path, is_dir: bool) -> std::io::Result<()> {
    if is_dir {
        return directory(target);
    }
    if let Some(parent) = target.parent() {
        directory(parent)?;
    }
    fs::File::create(target).map(|_| ())
}

fn tmpfs(target: &Path, bytes: u64, inodes: u64, mode: u32) -> nix::Result<()> {
    let options = format!("size={bytes},nr_inodes={inodes},mode={mode:o}");
    mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
}

fn etc(new: &Path) -> std::io::Result<()> {
    let etc = new.join("etc");
    directory(&etc)?;
    let write = |name: &str, text: String| fs::File::create(etc.join(name))?.write_all(text.as_bytes());
    write(
        "passwd",
        format!(
            "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nagent:x:{GUEST_UID}:{GUEST_GID}::{GUEST_HOME}:/bin/sh\n\
             nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"
        ),
    )?;
    write("group", format!("root:x:0:\nagent:x:{GUEST_GID}:\nnogroup:x:65534:\n"))?;
    write("hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n".to_owned())?;
    write("hostname", "sandbox\n".to_owned())?;
    write("resolv.conf", String::new())?;
    write("nsswitch.conf", etc::nsswitch(false))
}

/// In place of what every jail says about names.
fn names(new: &Path) -> std::io::Result<()> {
    let etc = new.join("etc");
    fs::write(etc.join("resolv.conf"), etc::RESOLV)?;
    fs::write(etc.join("nsswitch.conf"), etc::nsswitch(true))
}

fn devices(new: &Path) -> Result<(), StepError> {
    let dev = new.join("dev");
    directory(&dev).step("make /dev")?;
    mount(
        Some("tmpfs"),
        &dev,
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("size=64k,nr_inodes=64,mode=755"),
    )
    .step("mount /dev")?;
    for name in DEVICES {
        let (host, inside) = (Path::new("/dev").join(name), Path::new("dev").join(name));
        let tree = api::open_tree(&host).step(&format!("open_tree /dev/{name}"))?;
        api::set_attributes(&tree, NOSUID, false).step("mount_setattr device")?;
        show(&tree, new, &inside)?;
    }
    for (name, target) in LINKS {
        symlink(target, dev.join(name)).step("link a device")?;
    }
    directory(&dev.join("pts")).step("make /dev/pts")?;
    mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some("newinstance,ptmxmode=0666,mode=620"),
    )
    .step("mount /dev/pts")
}

/// The overlay; its layers are attached under neutral names so that
/// `/proc/mounts` inside tells nothing of the host, and detached again.
fn workspace(new: &Path, own: &Own) -> Result<(), StepError> {
    let staging = new.join(STAGING);
    tmpfs(&staging, 1 << 20, 64, 0o700).step("mount the staging place")?;
    let text = |path: &Path| CString::new(path.to_string_lossy().into_owned()).map_err(std::io::Error::from);
    let mut lowers = Vec::new();
    for (at, tree) in own.lowers.iter().enumerate() {
        let place = staging.join(format!("l{at}"));
        directory(&place).step("make a mount point")?;
        api::attach(tree, &place).step("attach a layer")?;
        lowers.push(text(&place).step("name a layer")?);
    }
    let scratch = staging.join("s");
    directory(&scratch).step("make a mount point")?;
    api::attach(&own.scratch, &scratch).step("attach the scratch directory")?;
    for name in ["upper", "work"] {
        directory(&scratch.join(name)).step("make the upper")?;
    }
    let (upper, work) = (
        text(&scratch.join("upper")).step("name the upper")?,
        text(&scratch.join("work")).step("name the work dir")?,
    );
    // overlayfs wants the topmost layer first.
    let mut options: Vec<Opt<'_>> = lowers
        .iter()
        .rev()
        .map(|lower| Opt::Text(c"lowerdir+", lower))
        .collect();
    options.push(Opt::Text(c"upperdir", &upper));
    options.push(Opt::Text(c"workdir", &work));
    options.push(Opt::Flag(c"userxattr"));
    options.push(Opt::Flag(c"volatile"));
    let overlay = api::make(c"overlay", &options, NOSUID | NODEV).step("mount the workspace overlay")?;
    api::attach(&overlay, &new.join(&GUEST_WORKSPACE[1..])).step("attach the workspace")?;
    umount2(&staging, MntFlags::MNT_DETACH).step("detach the layers")
}

fn proc(new: &Path, off: &[Layer]) -> Result<OwnedFd, StepError> {
    use nix::{
        fcntl::{OFlag, open},
        sys::stat::Mode,
    };
    let proc = new.join("proc");
    directory(&proc).step("make /proc")?;
    if off.contains(&Layer::PidNamespace) {
        // The host's: a new one can be made only in a pid namespace of one's own.
        let host = api::open_tree(Path::new("/proc")).step("open_tree /proc")?;
        api::attach(&host, &proc).step("attach /proc")?;
    } else {
        mount(
            Some("proc"),
            &proc,
            Some("proc"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            None::<&str>,
        )
        .step("mount /proc")?;
    }
    let sysctl_user = open(
        &proc.join("sys/user"),
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .step("open /proc/sys/user")?;
    // A System V segment goes with the last process that maps it, not with the
    // sandbox. Kernels before 5.19 keep this from us; the memory cap still holds.
    if !off.contains(&Layer::IpcNamespace) {
        let _ = fs::write(proc.join("sys/kernel/shm_rmid_forced"), "1");
    }
    let sys = api::open_tree(&proc.join("sys")).step("open_tree /proc/sys")?;
    api::set_attributes(&sys, RDONLY, false).step("make /proc/sys read-only")?;
    api::attach(&sys, &proc.join("sys")).step("attach /proc/sys")?;
    let masked = if off.contains(&Layer::ProcMasks) {
        &[][..]
    } else {
        &MASKED
    };
    for name in masked {
        let target = proc.join(name);
        if target.exists() {
            let null = api::open_tree(&new.join("dev/null")).step("open_tree /dev/null")?;
            api::attach(&null, &target).step(&format!("mask /proc/{name}"))?;
        }
    }
    Ok(sysctl_user)
}
