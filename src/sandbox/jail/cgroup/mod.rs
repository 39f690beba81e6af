//! Limits for all processes of a jail together (cgroups(7)): by the unified
//! hierarchy where it has the controller, by the old one where it has not.
//!
//! - `v1`, `v2`: where in each hierarchy our cgroups go;
//! - `name`: whose a cgroup is, so that those of the dead can be removed.

mod name;
mod v1;
mod v2;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use nix::unistd::{Pid, geteuid};

pub(super) use name::Owner;

use super::spec::{Bounds, JailSpec};

/// The directory under each hierarchy that holds our cgroups.
const PARENT: &str = "opencode-fsm";
/// The controllers whose limits a plan may set.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// How to get cgroups that take limits.
pub(super) fn remedy() -> &'static str {
    if geteuid().is_root() {
        "have the memory, pids and cpu controllers enabled (kernel command line: cgroup_enable=memory); \
         in a container, make /sys/fs/cgroup writable and its controllers available to it"
    } else {
        "run as root, or start it in a cgroup that is delegated to you: \
         systemd-run --user --scope -p \"Delegate=memory pids cpu\" opencode-fsm ..."
    }
}

/// A file of a cgroup and what to write there.
struct Setting {
    file: &'static str,
    value: String,
    /// Kernels without swap accounting lack the file.
    optional: bool,
}

impl Setting {
    fn new(file: &'static str, value: impl ToString) -> Self {
        Self {
            file,
            value: value.to_string(),
            optional: false,
        }
    }

    fn optional(file: &'static str, value: impl ToString) -> Self {
        Self {
            optional: true,
            ..Self::new(file, value)
        }
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        match fs::write(dir.join(self.file), &self.value) {
            // A file that is not there cannot be made in a cgroup.
            Err(e)
                if self.optional && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                Ok(())
            }
            other => other,
        }
    }
}

/// One controller's limits in the words of both hierarchies.
struct Limit {
    controller: &'static str,
    v1: Vec<Setting>,
    v2: Vec<Setting>,
}

/// `cgroup-v1/memory.rst`, `cgroup-v2.rst`.
fn limits(spec: &JailSpec) -> Vec<Limit> {
    // The jail's own supervisors need a few more than its commands.
    let processes = spec.processes.saturating_add(64);
    let mut limits = vec![
        Limit {
            controller: "memory",
            v1: vec![
                Setting::new("memory.limit_in_bytes", spec.memory_bytes),
                // Memory and swap together: no more than the memory alone.
                Setting::optional("memory.memsw.limit_in_bytes", spec.memory_bytes),
            ],
            v2: vec![
                Setting::new("memory.max", spec.memory_bytes),
                Setting::optional("memory.swap.max", 0),
            ],
        },
        Limit {
            controller: "pids",
            v1: vec![Setting::new("pids.max", processes)],
            v2: vec![Setting::new("pids.max", processes)],
        },
    ];
    if let Some(millis) = spec.cpu_millis {
        // Microseconds of CPU in each period of 100 ms.
        let quota = u64::from(millis) * 100;
        limits.push(Limit {
            controller: "cpu",
            v1: vec![
                Setting::new("cpu.cfs_period_us", 100_000),
                Setting::new("cpu.cfs_quota_us", quota),
            ],
            v2: vec![Setting::new("cpu.max", format!("{quota} 100000"))],
        });
    }
    limits
}

/// The cgroups of one jail.
#[derive(Debug, Default)]
pub(super) struct Cgroups(Vec<Cgroup>);

#[derive(Debug)]
struct Cgroup {
    dir: PathBuf,
    unified: bool,
    /// The controllers by which its processes can be bounded.
    controllers: BTreeSet<String>,
}

impl Cgroups {
    /// Makes a jail's cgroups and puts `pid` into them; what cannot be had is left out.
    pub fn join(owner: &Owner, name: &str, pid: Pid) -> Self {
        let name = owner.directory(name);
        let mut made = Self::default();
        if let Some((parent, offered)) = v2::parent(&CONTROLLERS) {
            made.enter(parent.join(&name), true, offered, pid);
        }
        let hierarchies = v1::hierarchies();
        for controller in CONTROLLERS {
            let had = made.0.iter().any(|cgroup| cgroup.controllers.contains(controller));
            if let Some(base) = hierarchies.get(controller)
                && !had
            {
                let controllers = BTreeSet::from([controller.to_owned()]);
                made.enter(base.join(PARENT).join(&name), false, controllers, pid);
            }
        }
        made
    }

    fn enter(&mut self, dir: PathBuf, unified: bool, offered: BTreeSet<String>, pid: Pid) {
        if fs::create_dir_all(&dir).is_err() {
            return;
        }
        let entered = fs::write(dir.join("cgroup.procs"), pid.to_string()).is_ok();
        self.0.push(Cgroup {
            dir,
            unified,
            controllers: if entered { offered } else { BTreeSet::new() },
        });
    }

    /// Sets a jail's limits; says which were taken.
    pub fn limit(&self, spec: &JailSpec) -> Bounds {
        let mut bounds = Bounds::default();
        for limit in limits(spec) {
            let takes = |cgroup: &&Cgroup| {
                let settings = if cgroup.unified { &limit.v2 } else { &limit.v1 };
                cgroup.controllers.contains(limit.controller)
                    && settings
                        .iter()
                        .try_for_each(|setting| setting.write(&cgroup.dir))
                        .is_ok()
            };
            let Some(cgroup) = self.0.iter().find(takes) else {
                continue;
            };
            if limit.controller == "memory" {
                let names = ["memory.events", "memory.oom_control"].map(|name| cgroup.dir.join(name));
                bounds.oom_events = names.into_iter().find(|file| file.exists());
            }
            if limit.controller == "pids" {
                bounds.fork_events = Some(cgroup.dir.join("pids.events")).filter(|file| file.exists());
            }
            bounds.controllers.push(limit.controller.to_owned());
        }
        bounds
    }

    /// Removes them; only possible when nothing lives in them any more.
    pub fn remove(&mut self) -> bool {
        self.0.retain(|cgroup| match fs::remove_dir(&cgroup.dir) {
            Ok(()) => false,
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                // The jail is dead: whatever is still leaving goes at once (v2 only).
                let _ = fs::write(cgroup.dir.join("cgroup.kill"), "1");
                true
            }
            Err(e) => e.kind() != io::ErrorKind::NotFound,
        });
        self.0.is_empty()
    }
}

/// Removes the cgroups of launchers that are dead; how many stay. Nothing is killed: the
/// kernel keeps a cgroup that something lives in.
pub(super) fn remove_stale() -> usize {
    let mut left = 0;
    let mut parents: BTreeSet<PathBuf> = v1::hierarchies().into_values().collect();
    parents.extend(v2::ancestors());
    for parent in parents {
        let Ok(entries) = fs::read_dir(parent.join(PARENT)) else {
            continue;
        };
        for entry in entries.flatten() {
            if Owner::of(&entry.file_name()).is_some_and(|owner| !owner.alive()) {
                let removed = fs::remove_dir(entry.path());
                left += usize::from(removed.is_err_and(|why| why.kind() != io::ErrorKind::NotFound));
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(cpu_millis: Option<u32>) -> JailSpec {
        JailSpec {
            lowers: Vec::new(),
            scratch: PathBuf::new(),
            read_only: Vec::new(),
            asks_for_names: false,
            scratch_bytes: 0,
            scratch_inodes: 0,
            memory_bytes: 1 << 30,
            processes: 100,
            cpu_millis,
            off: Vec::new(),
            confinement: crate::wire::Confinement {
                identity: crate::wire::Identity::Nested,
                uid: 1000,
                gid: 1000,
                workspace: String::new(),
                rlimits: Vec::new(),
                landlock: None,
                seccomp: None,
                pid1: true,
                memory_bytes: None,
                off: Vec::new(),
            },
        }
    }

    #[test]
    fn limits_in_the_kernels_words() {
        let dir = tempfile::tempdir().expect("tempdir");
        for limit in limits(&spec(Some(1500))) {
            for setting in limit.v2.iter().chain(&limit.v1) {
                setting.write(dir.path()).expect("write");
            }
        }
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).expect(file);
        assert_eq!(read("memory.max"), "1073741824");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("pids.max"), "164");
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("cpu.cfs_quota_us"), "150000");
        assert!(limits(&spec(None)).iter().all(|limit| limit.controller != "cpu"));
    }

    #[test]
    fn only_what_is_optional_may_be_missing() {
        let nowhere = Path::new("/nonexistent");
        assert!(Setting::optional("memory.swap.max", 0).write(nowhere).is_ok());
        assert!(Setting::new("memory.max", 0).write(nowhere).is_err());
    }
}
