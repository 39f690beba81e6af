//! The walls between a warden and the command: this order is the documentation.
//!
//!  1. `setsid(2)`: no terminal, a process group of its own; no signal ignored; `setpriority(2)`
//!     behind its supervisors
//!  2. descriptors: everything but stdio close-on-exec
//!  3. `setns(2)` into the nested user namespace, where there is one: no capability outside it
//!  4. ids (`setresgid`, `setresuid`), unless they are the guest's ([`Identity`]): one pair
//!  5. rlimits (`setrlimit(2)`), counted in the nested namespace
//!  6. `PR_SET_PDEATHSIG`, after the ids because changing them clears it
//!  7. capabilities: ambient, bounding, permitted and effective sets emptied, and read back as empty
//!  8. `PR_SET_NO_NEW_PRIVS`
//!  9. landlock(7)
//! 10. seccomp(2)
//! 11. the command arrives: all of the above is done before it is known
//! 12. stdio in place, `oom_score_adj`, `chdir(2)`, `execve(2)`; or a copy of this process with
//!     memory of its own, which tries what is forbidden, for a witness, or reads rows of a file
//!
//! Until it executes the command it shares its warden's memory ([`super::vfork`]).
#![allow(unsafe_code)]

use std::{
    ffi::{CString, c_char},
    fs::{File, OpenOptions},
    io::Write,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
    unistd::{Gid, Pid, Uid, chdir, getpid, setgroups, setresgid, setresuid, setsid},
};

use super::{
    Failure,
    capabilities::{drop_bounding, drop_capabilities, keep_override},
    land::restrict,
    vfork::{PANICKED, sibling},
};
use crate::{
    dataset::{self, RowsAsk},
    probe::{self, Layer},
    wire::{self, Argv, Confinement, ExecRequest, Identity, Reach, Request},
};

/// How far a command's nice value is behind that of its supervisors, who would else
/// have to share the processor evenly with every process that they are to end.
pub(crate) const BEHIND: i32 = 10;

/// What a reader of data files may take of memory, in bytes.
const READER_MEMORY: u64 = 1 << 30;
/// What a main process leaves in the memory that it shares with its warden ([`vfork`]). Where
/// nothing is in it, the main process was killed half-way, and may have been in the allocator.
#[derive(Default)]
pub(super) struct Left {
    /// What it was asked.
    request: Option<Box<ExecRequest>>,
    /// What it executes: no memory is had or given back from here to the end of that.
    command: Option<Command>,
    /// The process that does what is no program.
    pub stand_in: Option<Pid>,
    /// Why it is neither.
    pub failure: Option<Failure>,
}

impl Left {
    /// Whether the main process came to where it leaves that memory alone.
    pub fn whole(&self) -> bool {
        self.command.is_some() || self.stand_in.is_some() || self.failure.is_some()
    }
}

/// Builds the walls around the calling process, waits for a command, and becomes it. Where none
/// comes it says so, as a failure. Answers the exit code of a process that became nothing.
pub(super) fn become_next(
    confinement: &Confinement,
    nested: Option<BorrowedFd<'_>>,
    reach: Reach,
    orders: BorrowedFd<'_>,
    left: &mut Left,
) -> i32 {
    match become_or_stand_in(confinement, nested, reach, orders, left) {
        Ok(stand_in) => {
            left.stand_in = Some(stand_in);
            0
        }
        Err(failure) => {
            left.failure = Some(failure);
            127
        }
    }
}

/// The pid of what does in its place what is no program.
fn become_or_stand_in(
    confinement: &Confinement,
    nested: Option<BorrowedFd<'_>>,
    reach: Reach,
    orders: BorrowedFd<'_>,
    left: &mut Left,
) -> Result<Pid, Failure> {
    let tell = |pid: Pid| {
        wire::send(orders, &pid.as_raw(), &[]).map_err(|why| Failure::plain("tell the supervisor of the stage", why))
    };
    tell(getpid())?;
    SigSet::all()
        .thread_unblock()
        .map_err(|e| Failure::new("sigprocmask", e))?;
    let offer = build_walls(confinement, reach, nested)?;
    let (request, fds) = wire::recv::<Request>(orders).map_err(|why| Failure::plain("wait for the command", why))?;
    let Request::Exec(request) = request else {
        return Err(Failure::plain("read the request", "it is no command"));
    };
    let stdio: [OwnedFd; 3] = fds
        .try_into()
        .map_err(|_| Failure::plain("read the request", "three descriptors are needed"))?;
    place(&stdio)?;
    offer.make();
    let request = left.request.insert(request);
    chdir(request.cwd.as_str()).map_err(|e| Failure::new(&format!("chdir {:?}", request.cwd), e))?;
    match &request.argv {
        Argv::Witness(marks) => stand_in(tell, |out| {
            let text = serde_json::to_vec(&probe::testify(marks)).unwrap_or_default();
            i32::from(out.write_all(&text).and_then(|()| out.flush()).is_err())
        }),
        Argv::Rows(ask) => stand_in(tell, |out| print_rows(ask, out)),
        Argv::Shell(script) => execute(&["/bin/sh", "-c", script], &request.env, &mut left.command),
        Argv::Direct(words) => execute(words, &request.env, &mut left.command),
    }
}

/// Has something done in a process of its own, which ends with the exit code that comes of it: what
/// looks at hostile bytes must not do that in its warden's memory. Gives its pid, and tells it.
fn stand_in(
    tell: impl Fn(Pid) -> Result<(), Failure>,
    act: impl FnOnce(&mut std::io::Stdout) -> i32,
) -> Result<Pid, Failure> {
    if let Some(pid) = sibling()? {
        return tell(pid).map(|()| pid);
    }
    // A copy does not have its original's (PR_SET_PDEATHSIG(2const)); numbers cannot fail.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    // SAFETY: plain numbers (close_range(2)). As an execution would: nothing that is closed
    // here is used, or dropped, any more.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    // A panic must not go on as the warden that this process is a copy of.
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&mut std::io::stdout())));
    // SAFETY: leaves without running anything of the warden's, or closing what is closed (_exit(2)).
    unsafe { libc::_exit(code.unwrap_or(PANICKED)) }
}

/// Becomes a program, or says why not.
fn execute<S: AsRef<str>>(
    words: &[S],
    env: &[(String, String)],
    executed: &mut Option<Command>,
) -> Result<Pid, Failure> {
    let why = executed.insert(Command::new(words, env)?).execute();
    *executed = None;
    let name = words.first().map_or("", AsRef::as_ref);
    Err(Failure::new(&format!("execve {name:?}"), why))
}

/// Rows of a data file, which may be made to break their reader: what it takes of memory is
/// bounded apart, so that a deployment beside it does not pay for it.
fn print_rows(ask: &RowsAsk, out: &mut std::io::Stdout) -> i32 {
    let limit = libc::rlimit {
        rlim_cur: READER_MEMORY,
        rlim_max: READER_MEMORY,
    };
    // SAFETY: `limit` outlives the call (setrlimit(2)).
    let bounded = Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_DATA, &limit) });
    let printed = match bounded {
        Ok(_) => dataset::print_rows(ask, out.lock()),
        Err(why) => Err(format!("setrlimit: {why}")),
    };
    match printed {
        Ok(()) => 0,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "{}", why.escape_debug());
            1
        }
    }
}

/// Steps 1 to 10.
fn build_walls(confinement: &Confinement, reach: Reach, nested: Option<BorrowedFd<'_>>) -> Result<OomOffer, Failure> {
    setsid().map_err(|e| Failure::new("setsid", e))?;
    // Others are heeded by its warden already. This program ignores the one that ends the left
    // side of a pipeline.
    heed([libc::SIGPIPE].into_iter())?;
    fall_behind()?;
    let offer = OomOffer::open();
    close_on_exec()?;
    let off = |layer| confinement.off.contains(&layer);
    if confinement.identity == Identity::Changed && !off(Layer::Capabilities) {
        // Giving root's id up takes the capability that this needs.
        drop_bounding()?;
    }
    drop_identity(confinement, nested)?;
    for limit in &confinement.rlimits {
        let value = libc::rlimit {
            rlim_cur: limit.value,
            rlim_max: limit.value,
        };
        // SAFETY: `value` outlives the call (setrlimit(2)).
        Errno::result(unsafe { libc::setrlimit(limit.resource as _, &value) })
            .map_err(|e| Failure::new(&format!("setrlimit {}", limit.resource), e))?;
    }
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| Failure::new("PR_SET_PDEATHSIG", e))?;
    match (off(Layer::Capabilities), off(Layer::NoNewPrivs)) {
        (true, _) => {}
        // A filter asks for a capability then, which the execution itself takes away.
        (_, true) => drop_bounding()?,
        _ => drop_capabilities()?,
    }
    if !off(Layer::NoNewPrivs) {
        set_no_new_privs()?;
    }
    if let Some(rules) = &confinement.landlock {
        // Without a pid namespace there are others than ours to signal.
        let scoped = reach == Reach::Own || !confinement.pid1;
        restrict(rules, scoped, !off(Layer::NoNewPrivs))?;
    }
    if let Some(program) = &confinement.seccomp {
        install_filter(program)?;
    }
    Ok(offer)
}

/// A command as `execve(2)` takes it, so that nothing needs memory any more.
struct Command {
    programs: Vec<CString>,
    argv: Strings,
    env: Strings,
}

/// Strings as C lists them.
struct Strings {
    /// Each into `held`, with the null at their end.
    pointers: Vec<*const c_char>,
    _held: Vec<CString>,
}

impl Strings {
    fn new(strings: impl Iterator<Item = Result<CString, Failure>>) -> Result<Self, Failure> {
        let held: Vec<CString> = strings.collect::<Result<_, _>>()?;
        let pointers = held.iter().map(|string| string.as_ptr());
        Ok(Self {
            pointers: pointers.chain([std::ptr::null()]).collect(),
            _held: held,
        })
    }
}

impl Command {
    /// Checks and prepares a command.
    fn new<S: AsRef<str>>(words: &[S], env: &[(String, String)]) -> Result<Self, Failure> {
        let c = |text: &str| CString::new(text).map_err(|_| Failure::plain("read the request", "a NUL byte in it"));
        let program = words
            .first()
            .ok_or_else(|| Failure::plain("read the request", "an empty command"))?
            .as_ref();
        let path = env
            .iter()
            .find(|(k, _)| k == "PATH")
            .map_or("/usr/bin:/bin", |(_, v)| v);
        let programs = if program.contains('/') {
            vec![c(program)?]
        } else {
            path.split(':')
                .filter(|d| !d.is_empty())
                .map(|d| c(&format!("{d}/{program}")))
                .collect::<Result<_, _>>()?
        };
        Ok(Self {
            programs,
            argv: Strings::new(words.iter().map(|word| c(word.as_ref())))?,
            env: Strings::new(env.iter().map(|(k, v)| c(&format!("{k}={v}"))))?,
        })
    }

    /// Becomes it, or answers why not.
    fn execute(&self) -> Errno {
        let (argv, env) = (self.argv.pointers.as_ptr(), self.env.pointers.as_ptr());
        let mut last = Errno::ENOENT;
        for program in &self.programs {
            // SAFETY: both lists end with a null and point into strings that `self` holds and
            // nobody changes (execve(2)).
            unsafe { libc::execve(program.as_ptr(), argv, env) };
            match Errno::last() {
                Errno::ENOENT | Errno::ENOTDIR => {}
                errno => last = errno,
            }
        }
        last
    }
}

/// Gives signals their default action: what is ignored stays so over `execve(2)`.
pub(super) fn heed(signals: impl Iterator<Item = libc::c_int>) -> Result<(), Failure> {
    /// As the kernel takes it (rt_sigaction(2)): the C library keeps two signals to itself.
    #[repr(C)]
    struct Action {
        action: usize,
        flags: libc::c_ulong,
        restorer: usize,
        mask: u64,
    }
    let default = Action {
        action: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    for signal in signals {
        // SAFETY: `default` outlives the call and is laid out as the kernel's; the size is its mask's.
        let set = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                std::ptr::null::<Action>(),
                8usize,
            )
        };
        Errno::result(set).map_err(|e| Failure::new("rt_sigaction", e))?;
    }
    Ok(())
}

pub(super) fn set_no_new_privs() -> Result<(), Failure> {
    prctl::set_no_new_privs().map_err(|e| Failure::new("PR_SET_NO_NEW_PRIVS", e))
}

/// Where the sandbox's memory is used up, the kernel is to choose a command, and none of
/// its supervisors: of many small processes they may be the largest, and memory that no
/// process owns (memory files) would make it choose any (proc_pid_oom_score_adj(5)).
/// What waits for its command is no choice yet: the command would be taken for killed.
struct OomOffer(Option<File>);

impl OomOffer {
    /// Opens the file while that is allowed.
    fn open() -> Self {
        // It is its process's own only while that may be looked into; what could look has
        // no more rights over this process than over its supervisor.
        let _ = prctl::set_dumpable(true);
        let file = OpenOptions::new().write(true).open("/proc/self/oom_score_adj").ok();
        let _ = prctl::set_dumpable(false);
        Self(file)
    }

    /// From the command's first moment, since all that it forks inherits it.
    fn make(self) {
        if let Some(mut file) = self.0 {
            let _ = file.write_all(b"1000");
        }
    }
}

fn fall_behind() -> Result<(), Failure> {
    // SAFETY: numbers only (getpriority(2), setpriority(2)); no error looks like a nice
    // value, since asking for one's own cannot fail.
    let set = unsafe {
        let nice = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, nice + BEHIND)
    };
    Errno::result(set).map_err(|e| Failure::new("setpriority", e))?;
    Ok(())
}

/// Becomes the workspace's owner, who may read and change what belongs to it at any mode.
/// In a nested user namespace that is the capability that comes with it; a guest that gives
/// its own ids up keeps this one.
pub(super) fn become_owner(confinement: &Confinement, nested: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    if confinement.identity != Identity::Changed {
        return drop_identity(confinement, nested);
    }
    prctl::set_keepcaps(true).map_err(|e| Failure::new("PR_SET_KEEPCAPS", e))?;
    drop_identity(confinement, nested)?;
    keep_override()
}

/// Steps 3 and 4.
fn drop_identity(confinement: &Confinement, nested: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    match confinement.identity {
        Identity::Kept => return Ok(()),
        Identity::Nested => {
            let nested = nested.ok_or_else(|| Failure::plain("setns user", "no user namespace was made"))?;
            setns(nested, CloneFlags::CLONE_NEWUSER).map_err(|e| Failure::new("setns user", e))?;
        }
        Identity::Changed => setgroups(&[]).map_err(|e| Failure::new("setgroups", e))?,
    }
    let (uid, gid) = (Uid::from_raw(confinement.uid), Gid::from_raw(confinement.gid));
    setresgid(gid, gid, gid).map_err(|e| Failure::new("setresgid", e))?;
    setresuid(uid, uid, uid).map_err(|e| Failure::new("setresuid", e))
}

/// Everything above stdio becomes close-on-exec.
fn close_on_exec() -> Result<(), Failure> {
    // SAFETY: plain numbers (close_range(2)).
    let closed = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
        )
    };
    Errno::result(closed).map_err(|e| Failure::new("close_range", e))?;
    Ok(())
}

/// Puts stdio in place; the descriptors themselves are close-on-exec, as whatever a
/// frame brings is.
fn place(stdio: &[OwnedFd; 3]) -> Result<(), Failure> {
    for (target, fd) in (0..).zip(stdio) {
        // SAFETY: both are descriptor numbers; 0 to 2 are replaced on purpose (dup2(2)).
        Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), target) }).map_err(|e| Failure::new("dup2 stdio", e))?;
    }
    Ok(())
}

/// Installs `struct sock_filter[]` given as bytes (seccomp(2)).
fn install_filter(program: &[u8]) -> Result<(), Failure> {
    let filters: Vec<libc::sock_filter> = program
        .chunks_exact(8)
        .map(|b| libc::sock_filter {
            code: u16::from_ne_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        })
        .collect();
    let length = u16::try_from(filters.len()).map_err(|_| Failure::plain("seccomp", "the program is too long"))?;
    let program = libc::sock_fprog {
        len: length,
        filter: filters.as_ptr().cast_mut(),
    };
    // SAFETY: `program` and `filters` outlive the call; the kernel copies them.
    let set = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0u32, &program) };
    Errno::result(set).map_err(|e| Failure::new("seccomp", e))?;
    Ok(())
}
