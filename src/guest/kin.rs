//! Proof that nobody is left, and that all stand still.
//!
//! To go over `/proc` is to look at one process after the other: whoever forks and leaves, again
//! and again, can be missed by every pass, and a pass that finds nobody proves nothing. But
//! whom they leave behind is adopted by its subreaper, and the kernel tells the list of a
//! process's children (proc_pid_task_children(5)): a list that is the same before and after
//! all that is on it was looked at has missed nobody. Kernels without that list
//! (CONFIG_PROC_CHILDREN) have to be taken at the word of the passes.

use std::{collections::HashSet, fs};

use super::process;

/// The children of a process, those of each of its threads; `None` where the kernel does not
/// tell.
fn children(pid: i32) -> Option<Vec<i32>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = match fs::read_to_string(task.path().join("children")) {
            Ok(text) => text,
            // The thread has ended; or there are no such files.
            Err(_) if task.path().exists() => return None,
            Err(_) => continue,
        };
        all.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Some(all)
}

/// Whether a subreaper has no child that lives, but for those in `spare`.
pub(super) fn childless(pid: i32, spare: &HashSet<i32>) -> bool {
    let Some(before) = children(pid) else { return true };
    let gone = |child: &i32| spare.contains(child) || process::one(*child).is_none_or(|child| child.gone());
    // Who is dead has left its own children to the subreaper before.
    before.iter().all(gone) && children(pid).as_ref() == Some(&before)
}

/// Whether everybody below a subreaper stands still, but for the subreapers in `spare`, below
/// whom it is asked as well, and those in `apart`, below whom it is not.
pub(super) fn all_still(root: i32, spare: &HashSet<i32>, apart: &HashSet<i32>) -> bool {
    let subreapers: Vec<i32> = spare.iter().copied().chain([root]).collect();
    let adopted = || subreapers.iter().map(|pid| children(*pid)).collect::<Option<Vec<_>>>();
    let Some(before) = adopted() else { return true };
    let mut todo: Vec<i32> = before.iter().flatten().copied().collect();
    let mut seen = HashSet::new();
    while let Some(pid) = todo.pop() {
        if spare.contains(&pid) || apart.contains(&pid) || !seen.insert(pid) {
            continue;
        }
        match process::one(pid) {
            Some(process) if !process.stopped() => return false,
            // Who stands still has no more children than now.
            Some(_) => todo.extend(children(pid).unwrap_or_default()),
            None => {}
        }
    }
    adopted().as_ref() == Some(&before)
}
