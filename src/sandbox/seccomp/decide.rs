//! What the compiled filter says of one call: the program itself is run over it, with every
//! argument left open, and each way that it can end is an answer.

use std::{fmt, str::FromStr};

use serde_json::Value;
use syscalls::Sysno;

use super::{
    ALLOW, AND, ARCH, AUDIT_ARCH_X86_64, JA, JEQ, JGE, JSET, KILL, LD_W_ABS, NR, Network, RET, arg_low, compile,
    container,
};

/// Most ways that are followed through a program; ours have a few dozen at most.
const MANY_WAYS: usize = 1000;

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The kernel performs it, as far as other walls let it.
    Allow,
    /// It fails with this error number; 0 is a success that does nothing.
    Errno(i32),
    /// The process is killed.
    Kill,
}

impl Action {
    fn of(verdict: u32) -> Self {
        match verdict {
            ALLOW => Self::Allow,
            KILL => Self::Kill,
            // The data of SECCOMP_RET_ERRNO are its low 16 bits (seccomp(2)).
            other => Self::Errno(i32::from(other as u16)),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allowed"),
            Self::Kill => f.write_str("the process is killed"),
            Self::Errno(0) => f.write_str("does nothing and succeeds"),
            Self::Errno(number) => write!(f, "{:?}", nix::errno::Errno::from_raw(*number)),
        }
    }
}

/// One way to an end: what has to be so of the arguments, all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// For instance `argument 0 = 2`; nothing where no argument is looked at.
    pub when: Vec<Condition>,
    /// The end.
    pub action: Action,
}

/// What is asked of an argument, and whether it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which, from 0.
    pub argument: u32,
    /// Only these bits of its low half.
    pub mask: u32,
    /// The test.
    pub test: Test,
    /// Against what.
    pub value: u32,
    /// Whether it holds.
    pub holds: bool,
}

/// A test of classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Equal.
    Equal,
    /// Greater or equal.
    AtLeast,
    /// A common bit.
    AnyBit,
}

impl Condition {
    /// Whether it is so of arguments.
    pub fn fits(&self, args: &[u64; 6]) -> bool {
        // The low half of an argument is what the filter loads.
        let word = args[self.argument as usize] as u32 & self.mask;
        let found = match self.test {
            Test::Equal => word == self.value,
            Test::AtLeast => word >= self.value,
            Test::AnyBit => word & self.value != 0,
        };
        found == self.holds
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (test, value) = (self.test, self.value);
        write!(f, "argument {}", self.argument)?;
        if self.mask != u32::MAX {
            write!(f, " & {:#x}", self.mask)?;
        }
        match (test, self.holds) {
            (Test::Equal, true) => write!(f, " = {value:#x}"),
            (Test::Equal, false) => write!(f, " ≠ {value:#x}"),
            (Test::AtLeast, true) => write!(f, " ≥ {value:#x}"),
            (Test::AtLeast, false) => write!(f, " < {value:#x}"),
            (Test::AnyBit, true) => write!(f, " has a bit of {value:#x}"),
            (Test::AnyBit, false) => write!(f, " has no bit of {value:#x}"),
        }
    }
}

/// A system call of this architecture, by its name.
///
/// # Errors
/// Where there is none of that name.
pub fn named(name: &str) -> Result<Sysno, String> {
    Sysno::from_str(name).map_err(|_| "no system call of x86_64 has that name".to_owned())
}

/// Calls that newer kernels ask no filter about (kernel/seccomp.c, `seccomp_uprobe_exception`):
/// they are made by the trampoline of a probe, and from anywhere else they do nothing but
/// fail, or end the process.
pub fn is_unfiltered(call: Sysno) -> bool {
    matches!(call, Sysno::uretprobe | Sysno::uprobe)
}

/// What the filter of commands says of a call: every way through it.
pub fn decide(network: Network, call: Sysno) -> Vec<Case> {
    ways(&compile(network), call.id() as u32)
}

/// What stands in the accumulator.
#[derive(Clone, Copy)]
enum Word {
    Known(u32),
    Argument { index: u32, mask: u32 },
}

fn ways(program: &[u8], number: u32) -> Vec<Case> {
    let mut ends = Vec::new();
    let mut open = vec![(0usize, Word::Known(0), Vec::<Condition>::new())];
    while let Some((mut at, mut word, mut when)) = open.pop() {
        while let Some((code, yes, no, value)) = instruction(program, at) {
            let test = match code {
                LD_W_ABS => {
                    word = load(value, number);
                    at += 1;
                    continue;
                }
                AND => {
                    word = match word {
                        Word::Known(known) => Word::Known(known & value),
                        Word::Argument { index, mask } => Word::Argument {
                            index,
                            mask: mask & value,
                        },
                    };
                    at += 1;
                    continue;
                }
                JA => {
                    at += 1 + value as usize;
                    continue;
                }
                RET => {
                    ends.push(Case {
                        when,
                        action: Action::of(value),
                    });
                    break;
                }
                JEQ => Test::Equal,
                JGE => Test::AtLeast,
                JSET => Test::AnyBit,
                _ => break,
            };
            let next = |holds: bool| at + 1 + usize::from(if holds { yes } else { no });
            match word {
                Word::Known(known) => {
                    let condition = Condition {
                        argument: 0,
                        mask: u32::MAX,
                        test,
                        value,
                        holds: true,
                    };
                    at = next(condition.fits(&[u64::from(known); 6]));
                }
                Word::Argument { index, mask } => {
                    let condition = |holds| Condition {
                        argument: index,
                        mask,
                        test,
                        value,
                        holds,
                    };
                    if open.len() + ends.len() < MANY_WAYS {
                        let mut other = when.clone();
                        other.push(condition(false));
                        open.push((next(false), word, other));
                    }
                    when.push(condition(true));
                    at = next(true);
                }
            }
        }
    }
    ends
}

/// A word of `struct seccomp_data`. What is no number, architecture or low half of an
/// argument is never loaded by our programs.
fn load(offset: u32, number: u32) -> Word {
    match offset {
        NR => Word::Known(number),
        ARCH => Word::Known(AUDIT_ARCH_X86_64),
        offset => Word::Argument {
            index: offset.saturating_sub(arg_low(0)) / 8,
            mask: u32::MAX,
        },
    }
}

fn instruction(program: &[u8], at: usize) -> Option<(u16, u8, u8, u32)> {
    let bytes: [u8; 8] = program.get(8 * at..8 * at + 8)?.try_into().ok()?;
    let [a, b, yes, no, value @ ..] = bytes;
    Some((u16::from_ne_bytes([a, b]), yes, no, u32::from_ne_bytes(value)))
}

/// What the profile says that a container's engine loads in front of our filter: whether it
/// lets a call through, always or by its arguments.
pub fn engine_lets_through(call: Sysno) -> Through {
    let profile: Value = serde_json::from_str(&container::profile()).unwrap_or_default();
    let rules = profile["syscalls"].as_array().cloned().unwrap_or_default();
    let about = rules.iter().filter(|rule| {
        let names = rule["names"].as_array();
        rule["action"] == "SCMP_ACT_ALLOW" && names.is_some_and(|names| names.iter().any(|name| name == call.name()))
    });
    let mut found = Through::Never;
    for rule in about {
        if rule["args"].is_null() {
            return Through::Always;
        }
        found = Through::ByArguments;
    }
    found
}

/// Whether a profile lets a call through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// Whatever its arguments.
    Always,
    /// With some.
    ByArguments,
    /// Not at all.
    Never,
}

/// Where in this program's sources a call is decided, as `FILE:LINE`.
pub fn decided_at(call: Sysno) -> String {
    let source = include_str!("mod.rs");
    let name = format!("Sysno::{}", call.name());
    let whole_word = |line: &str| {
        let rest = line.split_once(&name).map(|(_, rest)| rest);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    };
    if let Some(line) = source.lines().position(whole_word) {
        return format!("src/sandbox/seccomp/mod.rs:{}", line + 1);
    }
    let listed = super::ALLOWED.lines().position(|line| line.trim() == call.name());
    if let Some(line) = listed {
        return format!("src/sandbox/seccomp/allow.txt:{}", line + 1);
    }
    // What nobody names: the last verdict of the program.
    let last = source
        .lines()
        .position(|line| line.trim() == "p.ret(errno(libc::ENOSYS));");
    format!("src/sandbox/seccomp/mod.rs:{}", last.map_or(1, |line| line + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::verdict, *};

    fn actions(call: Sysno) -> Vec<Action> {
        decide(Network::Private, call)
            .into_iter()
            .map(|case| case.action)
            .collect()
    }

    #[test]
    fn each_kind_of_call_has_its_answer() {
        assert_eq!(actions(Sysno::read), [Action::Allow]);
        assert_eq!(actions(Sysno::mount), [Action::Errno(libc::EPERM)]);
        assert_eq!(actions(Sysno::clone3), [Action::Errno(libc::ENOSYS)]);
        assert_eq!(actions(Sysno::lookup_dcookie), [Action::Errno(libc::ENOSYS)]);
        assert_eq!(actions(Sysno::sync), [Action::Errno(0)]);
        let clone = decide(Network::Private, Sysno::clone);
        let shown: Vec<String> = clone
            .iter()
            .map(|case| format!("{}: {}", case.when[0], case.action))
            .collect();
        assert_eq!(
            shown,
            [
                "argument 0 has a bit of 0x7e020080: EPERM",
                "argument 0 has no bit of 0x7e020080: allowed"
            ]
        );
        assert!(decided_at(Sysno::read).contains("allow.txt:"));
        assert!(decided_at(Sysno::mount).contains("mod.rs:"));
        assert_ne!(decided_at(Sysno::mount), decided_at(Sysno::mount_setattr));
        assert_eq!(engine_lets_through(Sysno::mount), Through::Never);
        assert_eq!(engine_lets_through(Sysno::read), Through::Always);
        assert_eq!(engine_lets_through(Sysno::socket), Through::ByArguments);
        assert!(named("mount").is_ok() && named("mounted").is_err());
    }

    /// What our filter lets through, the engine's profile does not stop: an answer about a
    /// container is one about the jail.
    #[test]
    fn the_engines_profile_is_never_the_narrower() {
        for call in Sysno::iter() {
            let ours = actions(call);
            match engine_lets_through(call) {
                Through::Always => {}
                Through::ByArguments => assert!(ours.len() > 1, "{call}"),
                Through::Never => assert!(!ours.contains(&Action::Allow), "{call}"),
            }
        }
    }

    proptest! {
        #[test]
        fn exactly_one_case_fits_any_arguments_and_it_is_the_kernels(
            call in prop::sample::select(Sysno::iter().collect::<Vec<_>>()),
            shared in any::<bool>(),
            args in prop::array::uniform6(prop_oneof![0..70u64, any::<u64>(), Just(0x7e02_0080), Just(0x5412)]),
        ) {
            let network = if shared { Network::Shared } else { Network::Private };
            let cases = decide(network, call);
            let fitting: Vec<_> = cases.iter().filter(|case| case.when.iter().all(|c| c.fits(&args))).collect();
            prop_assert_eq!(fitting.len(), 1);
            let kernels = verdict(network, AUDIT_ARCH_X86_64, call.id() as u32, args);
            prop_assert_eq!(fitting[0].action, Action::of(kernels));
        }
    }
}
