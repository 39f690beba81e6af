//! What runs below a process, as `/proc` tells it (proc_pid_stat(5)).

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::WaitStatus,
    },
    unistd::Pid,
};

use super::kin;
use crate::wire::LeakedProcess;

/// How long a tree that keeps changing is gone through again and again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Passes that follow one another at once; later ones leave the processor to those
/// that have still to be scheduled for their signal.
const HASTY_PASSES: u32 = 64;

/// Passes over `/proc` until a time is up.
pub(super) struct Passes {
    end: Instant,
    made: u32,
}

impl Passes {
    pub fn begin() -> Self {
        Self {
            end: Instant::now() + PATIENCE,
            made: 0,
        }
    }

    /// Between two passes; `false` when the time is up.
    pub fn again(&mut self) -> bool {
        self.made += 1;
        if self.made < HASTY_PASSES {
            std::thread::yield_now();
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
        Instant::now() < self.end
    }
}

/// One line of `/proc`.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub pid: i32,
    pub parent: i32,
    /// Its process group.
    group: i32,
    state: u8,
    threads: u32,
    pub comm: String,
}

impl Process {
    /// Dead, or about to be. A process whose first thread has ended reads as a
    /// zombie though its other threads run on.
    pub fn gone(&self) -> bool {
        over(self.state) && self.threads <= 1
    }

    /// Every thread is: a stop reaches them one after the other.
    pub fn stopped(&self) -> bool {
        self.gone() || self.tasks().all(|task| halted(self.pid, &task))
    }

    /// The directory of every thread below `/proc`.
    pub fn tasks(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid));
        threads.into_iter().flatten().flatten().map(|entry| entry.path())
    }

    /// Pid, name and state, in one word.
    pub fn shown(&self) -> String {
        format!("{} {:?} ({})", self.pid, self.comm, char::from(self.state))
    }

    /// For the report.
    pub fn leaked(&self) -> LeakedProcess {
        LeakedProcess {
            pid: self.pid.unsigned_abs(),
            comm: self.comm.clone(),
        }
    }
}

fn over(state: u8) -> bool {
    matches!(state, b'Z' | b'X')
}

/// A thread that runs no code of its own until it is continued. One that waits for
/// its vforked child cannot be stopped before that child, and does no more meanwhile.
fn halted(pid: i32, task: &Path) -> bool {
    let Some(thread) = fs::read(task.join("stat")).ok().and_then(|stat| parse(pid, &stat)) else {
        return true;
    };
    match thread.state {
        b'T' | b't' => true,
        b'D' => {
            let call = fs::read_to_string(task.join("syscall")).unwrap_or_default();
            let number = call.split(' ').next().and_then(|number| number.parse().ok());
            number.is_some_and(|number| [libc::SYS_vfork, libc::SYS_clone, libc::SYS_clone3].contains(&number))
        }
        state => over(state),
    }
}

/// Every process that this `/proc` shows.
pub(super) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(one)
        .collect()
}

/// One process, if it is there.
pub(super) fn one(pid: i32) -> Option<Process> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// `comm` may hold anything, parentheses included: the last `)` ends it.
fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|b| *b == b'(')?;
    let close = stat.iter().rposition(|b| *b == b')')?;
    let comm = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let mut rest = stat.get(close + 2..)?.split(|b| *b == b' ');
    let state = *rest.next()?.first()?;
    let mut number = |skip| std::str::from_utf8(rest.nth(skip)?).ok();
    let parent = number(0)?.parse().ok()?;
    let group = number(0)?.parse().ok()?;
    // `num_threads` is field 20; the group was field 5.
    let threads = number(14)?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        group,
        state,
        threads,
        comm,
    })
}

/// Every process below `root` (not itself), those below a pid in `spare` left
/// out together with it.
pub(super) fn below(root: Pid, spare: &HashSet<i32>) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all() {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut roots = vec![root.as_raw()];
    while let Some(parent) = roots.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            if !spare.contains(&process.pid) {
                roots.push(process.pid);
                found.push(process);
            }
        }
    }
    found
}

/// Kills processes, however they fork: takes away the right to, stops, kills. Whole groups
/// first, because the kernel does that between two forks (kill(2)): one that forks and
/// leaves, again and again, is gone from where it was seen before its own turn comes. A
/// command begins a session, so whoever is in its groups is its own; a group with one of
/// `spared` in it is left alone as such.
pub(super) fn kill_all(victims: &[Process], spared: &[i32]) {
    let ours = nix::unistd::getpgrp().as_raw();
    let spared: HashSet<i32> = spared.iter().filter_map(|pid| Some(one(*pid)?.group)).collect();
    let groups: HashSet<i32> = victims.iter().map(|victim| victim.group).collect();
    for group in groups
        .into_iter()
        .filter(|group| *group > 1 && *group != ours && !spared.contains(group))
    {
        let _ = kill(Pid::from_raw(-group), Signal::SIGKILL);
    }
    for victim in victims {
        forbid_forks(victim.pid);
        let _ = kill(Pid::from_raw(victim.pid), Signal::SIGSTOP);
    }
    for victim in victims {
        let _ = kill(Pid::from_raw(victim.pid), Signal::SIGKILL);
    }
}

/// Rounds over the children of a process, which are done before a pass over `/proc` would be.
const ADOPTED_ROUNDS: u32 = 200;

/// Kills what `root` has for children, but `spare`. Whoever forks and leaves, each time in a
/// session of its own, is a child of the subreaper at every moment: to look there takes less
/// time than it lives (proc_pid_task_children(5)).
fn kill_adopted(root: Pid, spare: &HashSet<i32>, reaped: &mut dyn FnMut(&Dead)) {
    let list = format!("/proc/{root}/task/{root}/children");
    for _ in 0..ADOPTED_ROUNDS {
        reap(reaped);
        let children = fs::read_to_string(&list).unwrap_or_default();
        let mut found = false;
        for child in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
            if !spare.contains(&child) {
                found = true;
                forbid_forks(child);
                let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
            }
        }
        if !found {
            return;
        }
    }
}

/// Kills everything below `root` that is not in `spare`, however it forks,
/// detaches or ignores ([`kill_all`]); the loop ends when a pass finds nothing alive. Reaps our own children,
/// handing every status to `reaped`. Returns what was alive in the first pass that met anybody.
pub(super) fn kill_below(root: Pid, spare: &HashSet<i32>, reaped: &mut dyn FnMut(&Dead)) -> Vec<Process> {
    let mut first = None;
    let mut passes = Passes::begin();
    loop {
        let alive: Vec<Process> = below(root, spare).into_iter().filter(|p| !p.gone()).collect();
        kill_all(&alive, &[]);
        kill_adopted(root, spare, reaped);
        let done = alive.is_empty() && kin::childless(root.as_raw(), spare);
        if !alive.is_empty() || done {
            first.get_or_insert(alive);
        }
        if done || !passes.again() {
            return first.unwrap_or_default();
        }
    }
}

/// Stops everything below `root` but `spare`, and but `apart` and all below those, and proves
/// it, or returns what still ran when the time was up.
pub(super) fn stop_below(root: Pid, spare: &HashSet<i32>, apart: &HashSet<i32>) -> Result<(), Vec<Process>> {
    let mut passes = Passes::begin();
    loop {
        let running: Vec<Process> = all_below_but(root, spare, apart)
            .into_iter()
            .filter(|p| !p.stopped())
            .collect();
        if running.is_empty() && kin::all_still(root.as_raw(), spare, apart) {
            return Ok(());
        }
        for process in &running {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGSTOP);
        }
        if !passes.again() {
            return Err(running);
        }
    }
}

/// Continues what [`stop_below`] stops.
pub(super) fn continue_below(root: Pid, spare: &HashSet<i32>, apart: &HashSet<i32>) {
    for process in all_below_but(root, spare, apart) {
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGCONT);
    }
}

/// Unlike [`below`], looks below the spared ones too: wardens are spared, their stages not.
fn all_below_but(root: Pid, spare: &HashSet<i32>, apart: &HashSet<i32>) -> Vec<Process> {
    below(root, apart)
        .into_iter()
        .filter(|p| !spare.contains(&p.pid))
        .collect()
}

/// What a process and those that it has waited for have used.
#[derive(Clone, Copy, Default)]
pub(super) struct Used {
    pub user: Duration,
    pub system: Duration,
    /// The largest resident set of one of them, bytes.
    pub max_rss_bytes: u64,
}

impl Used {
    pub fn add(&mut self, more: &Self) {
        self.user += more.user;
        self.system += more.system;
        self.max_rss_bytes = self.max_rss_bytes.max(more.max_rss_bytes);
    }
}

impl From<libc::rusage> for Used {
    fn from(usage: libc::rusage) -> Self {
        let time = |time: libc::timeval| {
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
        };
        Self {
            user: time(usage.ru_utime),
            system: time(usage.ru_stime),
            max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        }
    }
}

/// A child that was waited for.
pub(super) struct Dead {
    pub pid: Pid,
    pub status: WaitStatus,
    pub used: Used,
}

/// Reaps every dead child without waiting; `false` when none is left at all. A tracee of ours
/// that stops is told of like one that died, and has used nothing (wait4(2)).
pub(super) fn reap(reaped: &mut dyn FnMut(&Dead)) -> bool {
    loop {
        match wait_for_one() {
            Ok(None) => return true,
            Ok(Some(dead)) => reaped(&dead),
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// One whose state has changed, if there is one.
#[allow(unsafe_code)]
fn wait_for_one() -> Result<Option<Dead>, Errno> {
    let mut status = 0;
    // SAFETY: every field is a number, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both outlive the call, which fills them (wait4(2)).
    let pid = Errno::result(unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) })?;
    if pid == 0 {
        return Ok(None);
    }
    let pid = Pid::from_raw(pid);
    let status = WaitStatus::from_raw(pid, status)?;
    let over = matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
    let used = if over { usage.into() } else { Used::default() };
    Ok(Some(Dead { pid, status, used }))
}

#[allow(unsafe_code)]
fn forbid_forks(pid: i32) {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `none` outlives the call and the old limit is not asked for (prlimit(2)).
    unsafe { libc::prlimit(pid, libc::RLIMIT_NPROC, &none, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_comm_does_not_shift_the_fields() {
        let process = parse(7, b"7 (a) S 1 (b) R 42 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 5").expect("parses");
        assert_eq!(
            (
                process.state,
                process.parent,
                process.group,
                process.threads,
                process.comm.as_str()
            ),
            (b'R', 42, 7, 3, "a) S 1 (b")
        );
        for short in ["7 (x", "7 (x) R 42 7 7 0"] {
            assert!(parse(7, short.as_bytes()).is_none());
        }
    }

    #[test]
    fn a_zombie_with_threads_left_is_alive() {
        let process = |threads| {
            parse(
                7,
                format!("7 (x) Z 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 5").as_bytes(),
            )
            .expect("parses")
        };
        assert!(process(1).gone() && !process(2).gone());
    }
}
