//! What becomes of a system call.

use syscalls::Sysno;

use super::{Answer, CaseLine, in_each};
use crate::{
    document::shown,
    engine::EngineError,
    sandbox::seccomp::{Action, Case, Network, Through, decide, decided_at, engine_lets_through, is_unfiltered, named},
};

/// What becomes of a system call of a command inside, by the filters that it runs under.
///
/// # Errors
/// [`EngineError::Usage`] for a name that no call has.
pub fn explain_syscall(name: &str) -> Result<Answer, EngineError> {
    let call = named(name).map_err(|why| EngineError::Usage(format!("--syscall {}: {why}", shown(name))))?;
    if is_unfiltered(call) {
        return Ok(probes_own(call));
    }
    let (private, shared) = (decide(Network::Private, call), decide(Network::Shared, call));
    let verdict = match (judged(&private), judged(&shared)) {
        (Some(one), Some(other)) if one == other => word(one),
        _ => "depends",
    };
    let because = match private.as_slice() {
        [Case { action, .. }] if judged(&shared) == Some(*action) => reason(*action),
        [_] => "the tier without namespaces is stricter, because it shares the host's",
        _ => "its arguments decide",
    };
    let both = [("jail and docker", &private), ("landlock", &shared)];
    let several = both.iter().any(|(_, cases)| cases.len() > 1) || verdict == "depends";
    let cases = both.iter().filter(|_| several).flat_map(|(backend, cases)| {
        cases.iter().map(move |case| CaseLine {
            when: when(backend, case),
            verdict: case.action.to_string(),
            because: None,
            at: None,
        })
    });
    let enforced_by = in_each(|backend| match backend {
        "docker" => {
            let profile = match engine_lets_through(call) {
                Through::Always => "the engine's profile lets it through",
                Through::ByArguments => "the engine's profile looks at its arguments, too",
                Through::Never => "the engine's profile refuses it as well",
            };
            let mechanism = format!("seccomp: the filter of every command; {profile}");
            (in_short(&private), mechanism)
        }
        "jail" => (in_short(&private), "seccomp: the filter of every command".to_owned()),
        _ => (
            in_short(&shared),
            "seccomp: the filter of every command, stricter where the host's objects could be reached".to_owned(),
        ),
    });
    Ok(Answer {
        subject: format!("system call {call} ({})", call.id()),
        verdict,
        rule: "seccomp filter".to_owned(),
        because: because.to_owned(),
        at: decided_at(call),
        cases: cases.collect(),
        enforced_by,
    })
}

/// A call that the kernel keeps for the trampolines of its probes.
fn probes_own(call: Sysno) -> Answer {
    Answer {
        subject: format!("system call {call} ({})", call.id()),
        verdict: "deny",
        rule: "the kernel".to_owned(),
        because: "newer kernels ask no filter about it: it is for the trampolines of probes, and anybody else who \
                  makes it gets an error or is killed; older ones ask the filter, which does not know it"
            .to_owned(),
        at: decided_at(call),
        cases: Vec::new(),
        enforced_by: in_each(|_| {
            (
                "fails, or the process is killed".to_owned(),
                "the kernel itself".to_owned(),
            )
        }),
    }
}

/// The one end that all cases have.
fn judged(cases: &[Case]) -> Option<Action> {
    let first = cases.first()?.action;
    cases.iter().all(|case| case.action == first).then_some(first)
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Errno(_) | Action::Kill => "deny",
    }
}

fn reason(action: Action) -> &'static str {
    match action {
        Action::Allow => "programs need it, and it reaches nothing outside; other walls hold all the same",
        Action::Errno(0) => "it would wait for the disks of the whole host",
        Action::Errno(libc::ENOSYS) => {
            "the filter does not know it as needed: it is answered as by a kernel without it"
        }
        Action::Errno(_) => "it is refused by name, whatever its arguments",
        Action::Kill => "no program of this architecture makes it",
    }
}

fn in_short(cases: &[Case]) -> String {
    match judged(cases) {
        Some(action) => action.to_string(),
        None => "by its arguments".to_owned(),
    }
}

/// A case in words: what has to hold; without any such thing, all others.
fn when(backend: &str, case: &Case) -> String {
    let held: Vec<String> = case.when.iter().filter(|c| c.holds).map(ToString::to_string).collect();
    match (case.when.is_empty(), held.is_empty()) {
        (true, _) => backend.to_owned(),
        (false, true) => format!("{backend}: otherwise"),
        (false, false) => format!("{backend}: {}", held.join(", ")),
    }
}
