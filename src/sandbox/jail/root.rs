//! The jail's root file system, assembled from read-only pieces of the host.
//!
//! Order: detached copies of every piece (while host paths still resolve), a
//! tmpfs as the new root, the pieces attached, the workspace overlay, `/proc`,
//! `pivot_root(".", ".")`, the old root detached, `/` and `/dev` made read-only.

use std::{
    ffi::CString,
    fs,
    io::Write,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, symlink},
    },
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{
    mount::{self as api, NODEV, NOSUID, Opt, RDONLY},
    spec::{JailSpec, Step, StepError},
};
use crate::policy::{GUEST_GID, GUEST_HOME, GUEST_UID, GUEST_WORKSPACE};

/// Where the new root is assembled: a directory that exists everywhere.
const NEW: &str = "/tmp";
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
/// Files of `/proc` that tell about the host's kernel.
const MASKED: [&str; 6] = ["kcore", "keys", "kallsyms", "timer_list", "sched_debug", "kmsg"];

/// Detached mounts of everything that the new root will hide.
pub(super) struct Pieces {
    system: Vec<(PathBuf, OwnedFd)>,
    devices: Vec<(PathBuf, OwnedFd)>,
    lowers: Vec<OwnedFd>,
    scratch: OwnedFd,
}

impl Pieces {
    /// Clones the pieces; as root this happens before the ids are dropped, so
    /// that layers may lie where the jail's id could not go by itself.
    pub fn gather(spec: &JailSpec) -> Result<Self, StepError> {
        let mut system = Vec::new();
        let mut piece = |host: &Path, inside: PathBuf| -> Result<(), StepError> {
            let tree = api::open_tree(host).step(&format!("open_tree {}", inside.display()))?;
            api::set_attributes(&tree, RDONLY | NOSUID | NODEV, true).step("mount_setattr read-only")?;
            system.push((inside, tree));
            Ok(())
        };
        for name in SYSTEM {
            let host = Path::new("/").join(name);
            if fs::symlink_metadata(&host).is_ok_and(|m| m.is_dir()) {
                piece(&host, name.into())?;
            }
        }
        for name in ETC {
            let host = Path::new("/etc").join(name);
            if host.exists() {
                piece(&host, Path::new("etc").join(name))?;
            }
        }
        for (host, inside) in &spec.read_only {
            piece(host, inside.strip_prefix("/").unwrap_or(inside).to_owned())?;
        }
        let mut devices = Vec::new();
        for name in DEVICES {
            let tree = api::open_tree(&Path::new("/dev").join(name)).step(&format!("open_tree /dev/{name}"))?;
            api::set_attributes(&tree, NOSUID, false).step("mount_setattr device")?;
            devices.push((Path::new("dev").join(name), tree));
        }
        let lowers = spec
            .lowers
            .iter()
            .map(|lower| api::open_tree(lower).step(&format!("open_tree layer {}", lower.display())))
            .collect::<Result<_, _>>()?;
        let scratch = api::open_tree(&spec.scratch).step("open_tree scratch")?;
        Ok(Self {
            system,
            devices,
            lowers,
            scratch,
        })
    }
}

/// Builds the new root and moves into it.
///
/// Returns `/proc/sys/user`, opened while it can be written.
pub(super) fn enter(spec: &JailSpec, pieces: Pieces) -> Result<OwnedFd, StepError> {
    let new = Path::new(NEW);
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .step("make mounts private")?;
    tmpfs(new, 64 << 20, 4096, 0o755).step("mount the new root")?;
    for (inside, tree) in &pieces.system {
        let target = new.join(inside);
        let is_dir = nix::sys::stat::fstat(tree)
            .map(|s| s.st_mode & libc::S_IFMT == libc::S_IFDIR)
            .step("fstat a piece of the host")?;
        place(&target, is_dir).step("make a mount point")?;
        api::attach(tree, &target).step(&format!("attach /{}", inside.display()))?;
    }
    for name in SYSTEM {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            symlink(target, new.join(name)).step("link a piece of the host")?;
        }
    }
    etc(new).step("write /etc")?;
    devices(spec, new, &pieces)?;
    for (path, mode) in [("tmp", 0o1777), (&GUEST_HOME[1..], 0o755), ("run", 0o755)] {
        let target = new.join(path);
        directory(&target).step("make a mount point")?;
        tmpfs(&target, spec.scratch_bytes, spec.scratch_inodes, mode).step(&format!("mount /{path}"))?;
    }
    workspace(new, &pieces)?;
    let sysctl_user = proc(new)?;
    nix::unistd::chdir(new).step("chdir to the new root")?;
    nix::unistd::pivot_root(".", ".").step("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).step("detach the old root")?;
    nix::unistd::chdir("/").step("chdir /")?;
    api::set_attributes_at(c"/", RDONLY).step("make / read-only")?;
    api::set_attributes_at(c"/dev", RDONLY).step("make /dev read-only")?;
    Ok(sysctl_user)
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
    write(
        "nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n".to_owned(),
    )
}

fn devices(spec: &JailSpec, new: &Path, pieces: &Pieces) -> Result<(), StepError> {
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
    for (inside, tree) in &pieces.devices {
        let target = new.join(inside);
        place(&target, false).step("make a device's mount point")?;
        api::attach(tree, &target).step(&format!("attach /{}", inside.display()))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
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
    .step("mount /dev/pts")?;
    directory(&dev.join("shm")).step("make /dev/shm")?;
    tmpfs(&dev.join("shm"), spec.scratch_bytes, spec.scratch_inodes, 0o1777).step("mount /dev/shm")
}

/// The overlay; its layers are attached under neutral names so that
/// `/proc/mounts` inside tells nothing of the host, and detached again.
fn workspace(new: &Path, pieces: &Pieces) -> Result<(), StepError> {
    let staging = new.join("mnt");
    directory(&staging).step("make a mount point")?;
    tmpfs(&staging, 1 << 20, 64, 0o700).step("mount the staging place")?;
    let text = |path: &Path| CString::new(path.to_string_lossy().into_owned()).map_err(std::io::Error::from);
    let mut lowers = Vec::new();
    for (at, tree) in pieces.lowers.iter().enumerate() {
        let place = staging.join(format!("l{at}"));
        directory(&place).step("make a mount point")?;
        api::attach(tree, &place).step("attach a layer")?;
        lowers.push(text(&place).step("name a layer")?);
    }
    let scratch = staging.join("s");
    directory(&scratch).step("make a mount point")?;
    api::attach(&pieces.scratch, &scratch).step("attach the scratch directory")?;
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
    let target = new.join(&GUEST_WORKSPACE[1..]);
    directory(&target).step("make the workspace")?;
    api::attach(&overlay, &target).step("attach the workspace")?;
    umount2(&staging, MntFlags::MNT_DETACH).step("detach the layers")
}

fn proc(new: &Path) -> Result<OwnedFd, StepError> {
    use nix::{
        fcntl::{OFlag, open},
        sys::stat::Mode,
    };
    let proc = new.join("proc");
    directory(&proc).step("make /proc")?;
    mount(
        Some("proc"),
        &proc,
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )
    .step("mount /proc")?;
    let sysctl_user = open(
        &proc.join("sys/user"),
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .step("open /proc/sys/user")?;
    // A System V segment goes with the last process that maps it, not with the
    // sandbox. Kernels before 5.19 keep this from us; the memory cap still holds.
    let _ = fs::write(proc.join("sys/kernel/shm_rmid_forced"), "1");
    let sys = api::open_tree(&proc.join("sys")).step("open_tree /proc/sys")?;
    api::set_attributes(&sys, RDONLY, false).step("make /proc/sys read-only")?;
    api::attach(&sys, &proc.join("sys")).step("attach /proc/sys")?;
    for name in MASKED {
        let target = proc.join(name);
        if target.exists() {
            let null = api::open_tree(&new.join("dev/null")).step("open_tree /dev/null")?;
            api::attach(&null, &target).step(&format!("mask /proc/{name}"))?;
        }
    }
    Ok(sysctl_user)
}
