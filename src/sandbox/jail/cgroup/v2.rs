//! Our place in the unified hierarchy (`cgroup-v2.rst`).
//!
//! Controllers can be handed down only from a cgroup that no process lives in
//! (the root is exempt), and a process can be moved only by who may write
//! `cgroup.procs` of the common ancestor. So our cgroups go below the nearest
//! ancestor of our own cgroup where both hold: for an ordinary user that is one
//! that was delegated to him.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use super::PARENT;

/// A directory whose children can be bounded, and by which of the wanted controllers.
pub(super) fn parent(wanted: &[&str]) -> Option<(PathBuf, BTreeSet<String>)> {
    let mut candidates: Vec<(PathBuf, Vec<&str>)> = ancestors()
        .into_iter()
        .map(|base| {
            let has = words(&base.join("cgroup.controllers"));
            let offered = wanted.iter().copied().filter(|c| has.contains(*c)).collect();
            (base, offered)
        })
        .collect();
    // The sort is stable: among equals the nearest comes first.
    candidates.sort_by_key(|(_, offered): &(_, Vec<&str>)| std::cmp::Reverse(offered.len()));
    candidates.iter().find_map(|(base, offered)| open(base, offered))
}

/// Our own cgroup and those above it, nearest first; empty without the hierarchy.
pub(super) fn ancestors() -> Vec<PathBuf> {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    locate(&read("mountinfo"), &read("cgroup")).unwrap_or_default()
}

/// From `/proc/self/mountinfo` and `/proc/self/cgroup` (proc_pid_mountinfo(5), cgroups(7)).
fn locate(mountinfo: &str, membership: &str) -> Option<Vec<PathBuf>> {
    let (root, mount) = mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        after.starts_with("cgroup2 ").then_some((root, mount))
    })?;
    let own = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    // Where only a part of the hierarchy is mounted we may live outside it.
    let below = Path::new(own).strip_prefix(root).ok()?;
    if below.components().any(|part| !matches!(part, Component::Normal(_))) {
        return None;
    }
    let mount = Path::new(mount);
    Some(
        mount
            .join(below)
            .ancestors()
            .take_while(|dir| dir.starts_with(mount))
            .map(|dir| dir.components().collect())
            .collect(),
    )
}

/// Makes our directory below `base` and hands down what can be handed down.
fn open(base: &Path, offered: &[&str]) -> Option<(PathBuf, BTreeSet<String>)> {
    if offered.is_empty() || hand_down(base, offered).is_empty() {
        return None;
    }
    let parent = base.join(PARENT);
    fs::create_dir_all(&parent).ok()?;
    let given = hand_down(&parent, offered);
    (!given.is_empty()).then_some((parent, given))
}

/// Switches controllers on for the children of `dir`; says which of them are on.
fn hand_down(dir: &Path, controllers: &[&str]) -> BTreeSet<String> {
    let file = dir.join("cgroup.subtree_control");
    let on = words(&file);
    for controller in controllers.iter().filter(|c| !on.contains(**c)) {
        // One by one: a controller that cannot be had must not cost the others.
        let _ = fs::write(&file, format!("+{controller}"));
    }
    let mut on = words(&file);
    on.retain(|c| controllers.contains(&c.as_str()));
    on
}

fn words(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "29 22 0:26 / /sys rw - sysfs sysfs rw\n\
                        30 29 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

    fn paths(list: &[&str]) -> Option<Vec<PathBuf>> {
        Some(list.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn our_place_is_sought_upwards_from_our_own_cgroup() {
        assert_eq!(
            locate(HOST, "0::/user.slice/a.scope\n"),
            paths(&[
                "/sys/fs/cgroup/user.slice/a.scope",
                "/sys/fs/cgroup/user.slice",
                "/sys/fs/cgroup"
            ])
        );
        assert_eq!(locate(HOST, "5:memory:/x\n0::/\n"), paths(&["/sys/fs/cgroup"]));
    }

    #[test]
    fn a_mounted_part_is_reckoned_from_its_own_root() {
        let part = HOST.replace("0:27 / ", "0:27 /box ");
        assert_eq!(
            locate(&part, "0::/box/in\n"),
            paths(&["/sys/fs/cgroup/in", "/sys/fs/cgroup"])
        );
        assert_eq!(locate(&part, "0::/elsewhere\n"), None);
    }

    #[test]
    fn a_place_outside_our_namespace_or_no_hierarchy_is_none() {
        assert_eq!(locate(HOST, "0::/../other\n"), None);
        assert_eq!(locate("29 22 0:26 / /sys rw - sysfs sysfs rw\n", "0::/\n"), None);
    }
}
