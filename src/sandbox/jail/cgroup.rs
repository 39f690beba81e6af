//! cgroup limits, v1 and v2, where we are root (cgroups(7)).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::unistd::Pid;

use super::spec::JailSpec;

/// The directory under each hierarchy that holds our cgroups.
const PARENT: &str = "opencode-fsm";

/// The cgroups of one jail.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    dirs: Vec<PathBuf>,
    /// Controllers that took their limit.
    pub bounded: Vec<String>,
}

impl Cgroups {
    /// Makes the jail's cgroups and puts `pid` into them; what cannot be had is left out.
    pub fn join(spec: &JailSpec, pid: Pid) -> Self {
        let mut made = Self::default();
        let hierarchies = hierarchies();
        let wanted: [(&str, Vec<(&str, String)>); 3] = [
            ("memory", vec![("memory.limit_in_bytes", spec.memory_bytes.to_string())]),
            ("pids", vec![("pids.max", (spec.processes + 64).to_string())]),
            (
                "cpu",
                spec.cpu_millis
                    .map(|millis| {
                        vec![
                            ("cpu.cfs_period_us", "100000".to_owned()),
                            ("cpu.cfs_quota_us", (u64::from(millis) * 100).to_string()),
                        ]
                    })
                    .unwrap_or_default(),
            ),
        ];
        for (controller, limits) in wanted {
            let Some(base) = hierarchies
                .iter()
                .find(|(name, _)| name == controller)
                .map(|(_, dir)| dir)
            else {
                continue;
            };
            if limits.is_empty() {
                continue;
            }
            let dir = base.join(PARENT).join(&spec.label);
            if fs::create_dir_all(&dir).is_err() {
                continue;
            }
            made.dirs.push(dir.clone());
            let set = limits
                .iter()
                .try_for_each(|(file, value)| fs::write(dir.join(file), value));
            if set
                .and_then(|()| fs::write(dir.join("cgroup.procs"), pid.to_string()))
                .is_ok()
            {
                made.bounded.push(controller.to_owned());
            }
        }
        made
    }

    /// Removes them; only possible when nothing lives in them any more.
    pub fn remove(&mut self) -> bool {
        self.dirs.retain(|dir| match fs::remove_dir(dir) {
            Err(e) => e.kind() != io::ErrorKind::NotFound,
            Ok(()) => false,
        });
        self.dirs.is_empty()
    }
}

/// v1 hierarchies by controller (`/proc/self/mounts`, proc_pid_mounts(5)).
fn hierarchies() -> Vec<(String, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, dir, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            (kind == "cgroup").then(|| (dir.to_owned(), options.to_owned()))
        })
        .flat_map(|(dir, options)| {
            options
                .split(',')
                .map(|option| (option.to_owned(), Path::new(&dir).to_owned()))
                .collect::<Vec<_>>()
        })
        .collect()
}
