//! The single values of a policy: what each is called, what it may be, and which of two
//! values is the narrower.

use std::{fmt, sync::Arc};

use serde_json::{Value, json};

use super::{
    document::Document,
    units::{Cap, UNLIMITED, show_size},
};
use crate::{
    document::Located,
    policy::{BackendChoice, BashMode, Isolation, NetworkMode, SecurityMode, Tier, shell::WhenUndecided},
};

/// A single value's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingName {
    MinTier,
    Backend,
    Memory,
    Processes,
    Cpu,
    Disk,
    FileSize,
    OpenFiles,
    Command,
    Stage,
    Turn,
    Run,
    Silence,
    ContractMayRaise,
    Network,
    ContractMode,
    Undecided,
    Isolation,
    Bytes,
    Files,
    ChangesBytes,
    ChangesFiles,
    Bash,
    Outside,
    Turns,
    Calls,
    Tokens,
    TurnCalls,
    TurnTokens,
}

use SettingName as N;

/// What is known of a name: its place in a document, the flag that says the same (as a key
/// of the configuration), and what is said of its value.
struct About {
    place: &'static str,
    flag: Option<&'static str>,
    words: &'static str,
}

impl SettingName {
    /// All of them, in the order of the sections.
    pub const ALL: [SettingName; 29] = [
        N::MinTier,
        N::Backend,
        N::Memory,
        N::Processes,
        N::Cpu,
        N::Disk,
        N::FileSize,
        N::OpenFiles,
        N::Command,
        N::Stage,
        N::Turn,
        N::Run,
        N::Silence,
        N::ContractMayRaise,
        N::Network,
        N::ContractMode,
        N::Undecided,
        N::Isolation,
        N::Bytes,
        N::Files,
        N::ChangesBytes,
        N::ChangesFiles,
        N::Bash,
        N::Outside,
        N::Turns,
        N::Calls,
        N::Tokens,
        N::TurnCalls,
        N::TurnTokens,
    ];

    const fn about(self) -> About {
        let (place, flag, words) = match self {
            N::MinTier => ("sandbox.min_tier", Some("min_tier"), "the weakest acceptable walls"),
            N::Backend => ("sandbox.backend", Some("sandbox"), "what builds the walls"),
            N::Memory => ("sandbox.limits.memory", Some("memory"), "memory of a sandbox"),
            N::Processes => ("sandbox.limits.processes", Some("processes"), "processes of a sandbox"),
            N::Cpu => ("sandbox.limits.cpu", None, "processors of a sandbox"),
            N::Disk => ("sandbox.limits.disk", Some("disk"), "what a sandbox may write"),
            N::FileSize => ("sandbox.limits.file_size", None, "the largest file"),
            N::OpenFiles => ("sandbox.limits.open_files", None, "open files of a process"),
            N::Command => ("time.command", Some("max_cmd"), "seconds of a command"),
            N::Stage => ("time.stage", Some("max_total"), "seconds of a stage"),
            N::Turn => ("time.turn", Some("turn_timeout"), "seconds of a turn"),
            N::Run => ("time.run", Some("max_run"), "seconds of a run"),
            N::Silence => ("time.silence", Some("max_silence"), "seconds of silence of a command"),
            N::ContractMayRaise => (
                "time.contract_may_raise",
                None,
                "a contract may ask for longer commands and stages",
            ),
            N::Network => (
                "network.mode",
                Some("network"),
                "what of the network programs inside may reach",
            ),
            N::ContractMode => (
                "commands.contract_mode",
                None,
                "the widest mode that a contract may ask for",
            ),
            N::Undecided => (
                "commands.undecided",
                None,
                "commands that nobody can decide by their text",
            ),
            N::Isolation => ("verify.isolation", Some("isolation"), "where a verification measures"),
            N::Bytes => ("artifacts.bytes", None, "bytes that a verification may bring out"),
            N::Files => ("artifacts.files", None, "files that a verification may bring out"),
            N::ChangesBytes => ("artifacts.changes_bytes", None, "bytes of the changed files of a run"),
            N::ChangesFiles => ("artifacts.changes_files", None, "changed files of a run"),
            N::Bash => ("agent.bash", Some("opencode_bash"), "the agent's shell"),
            N::Outside => ("agent.outside", None, "the agent may work outside every sandbox"),
            N::Turns => ("agent.turns", None, "turns of a run"),
            N::Calls => ("agent.calls", Some("max_calls"), "model calls of a run"),
            N::Tokens => ("agent.tokens", Some("max_tokens"), "tokens of a run"),
            N::TurnCalls => ("agent.turn_calls", Some("turn_max_calls"), "model calls of a turn"),
            N::TurnTokens => ("agent.turn_tokens", Some("turn_max_tokens"), "tokens of a turn"),
        };
        About { place, flag, words }
    }

    /// Its place in a document, for instance `sandbox.limits.memory`.
    pub const fn place(self) -> &'static str {
        self.about().place
    }

    /// The flag of `run` that says the same, as a key of the host's configuration.
    pub const fn flag(self) -> Option<&'static str> {
        self.about().flag
    }

    /// What its value is, in words.
    pub const fn words(self) -> &'static str {
        self.about().words
    }
}

impl fmt::Display for SettingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.place())
    }
}

/// A single value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingValue {
    Tier(Tier),
    Backend(BackendChoice),
    Bash(BashMode),
    Network(NetworkMode),
    Mode(SecurityMode),
    Undecided(WhenUndecided),
    Isolation(Isolation),
    /// Bytes.
    Bytes(u64),
    /// A number of things, or of seconds.
    Number(u64),
    /// Thousandths of a processor.
    Millis(u32),
    Switch(bool),
    /// No cap.
    Unlimited,
}

use SettingValue as V;

impl SettingValue {
    /// Whether this value allows nothing that `wide` does not.
    pub fn is_within(self, wide: SettingValue) -> bool {
        match (self, wide) {
            // A stronger wall is the narrower one.
            (V::Tier(this), V::Tier(wide)) => this >= wide,
            (V::Backend(this), V::Backend(wide)) => this == wide || wide == BackendChoice::Auto,
            (V::Bash(this), V::Bash(wide)) => this <= wide,
            (V::Network(this), V::Network(wide)) => this <= wide,
            (V::Mode(this), V::Mode(wide)) => this <= wide,
            (V::Undecided(this), V::Undecided(wide)) => this == wide || wide == WhenUndecided::Allow,
            // What is sealed is the narrower one.
            (V::Isolation(this), V::Isolation(wide)) => this >= wide,
            (V::Switch(this), V::Switch(wide)) => this <= wide,
            (V::Bytes(this), V::Bytes(wide)) | (V::Number(this), V::Number(wide)) => this <= wide,
            (V::Millis(this), V::Millis(wide)) => this <= wide,
            (_, V::Unlimited) => true,
            _ => false,
        }
    }

    /// As a document spells it.
    pub fn json(self) -> Value {
        match self {
            V::Tier(tier) => json!(tier),
            V::Backend(backend) => json!(backend),
            V::Bash(bash) => json!(bash),
            V::Network(mode) => json!(mode),
            V::Mode(mode) => json!(mode),
            V::Undecided(verdict) => json!(verdict),
            V::Isolation(isolation) => json!(isolation),
            V::Bytes(number) | V::Number(number) => json!(number),
            V::Millis(millis) => json!(f64::from(millis) / 1000.0),
            V::Switch(switch) => json!(switch),
            V::Unlimited => json!(UNLIMITED),
        }
    }

    /// The number of a cap; `None` where there is no cap.
    pub fn number(self) -> Option<u64> {
        match self {
            V::Bytes(number) | V::Number(number) => Some(number),
            V::Millis(millis) => Some(u64::from(millis)),
            _ => None,
        }
    }

    /// Whether a switch is on.
    pub fn is_on(self) -> bool {
        self == V::Switch(true)
    }
}

/// As a person, or a flag, says it.
impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            V::Tier(tier) => tier.fmt(f),
            V::Backend(backend) => backend.fmt(f),
            V::Bash(bash) => bash.fmt(f),
            V::Network(mode) => mode.fmt(f),
            V::Mode(mode) => mode.fmt(f),
            V::Undecided(WhenUndecided::Allow) => f.write_str("allow"),
            V::Undecided(WhenUndecided::Deny) => f.write_str("deny"),
            V::Isolation(isolation) => isolation.fmt(f),
            V::Bytes(bytes) => f.write_str(&show_size(*bytes)),
            V::Number(number) => number.fmt(f),
            V::Millis(millis) => write!(f, "{}", f64::from(*millis) / 1000.0),
            V::Switch(switch) => f.write_str(if *switch { "yes" } else { "no" }),
            V::Unlimited => f.write_str(UNLIMITED),
        }
    }
}

/// A value that a document gives.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub name: SettingName,
    pub value: Located<SettingValue>,
    pub because: Option<Arc<str>>,
}

/// Every single value that a document gives.
pub(super) fn given(document: &Document) -> Vec<Given> {
    let mut all = Vec::new();
    let mut add = |name, because: &Option<String>, value: Option<Located<SettingValue>>| {
        if let Some(value) = value {
            all.push(Given {
                name,
                value,
                because: because.as_deref().map(Arc::from),
            });
        }
    };
    fn of<T: Copy>(given: Option<Located<T>>, value: impl Fn(T) -> SettingValue) -> Option<Located<SettingValue>> {
        given.map(|found| Located {
            value: value(found.value),
            at: found.at,
        })
    }
    fn cap<T>(cap: Cap<T>, value: impl Fn(T) -> SettingValue) -> SettingValue {
        match cap {
            Cap::Most(most) => value(most),
            Cap::Unlimited => V::Unlimited,
        }
    }
    if let Some(sandbox) = &document.sandbox {
        let because = &sandbox.because;
        add(N::MinTier, because, of(sandbox.min_tier, V::Tier));
        add(N::Backend, because, of(sandbox.backend, V::Backend));
        if let Some(limits) = &sandbox.limits {
            let because = &limits.because;
            add(N::Memory, because, of(limits.memory, |size| V::Bytes(size.0)));
            add(N::Processes, because, of(limits.processes, |count| V::Number(count.0)));
            add(
                N::Cpu,
                because,
                of(limits.cpu, |most| cap(most, |cpu| V::Millis(cpu.0))),
            );
            add(N::Disk, because, of(limits.disk, |size| V::Bytes(size.0)));
            add(N::FileSize, because, of(limits.file_size, |size| V::Bytes(size.0)));
            add(N::OpenFiles, because, of(limits.open_files, |count| V::Number(count.0)));
        }
    }
    if let Some(time) = &document.time {
        let because = &time.because;
        for (name, value) in [
            (N::Command, time.command),
            (N::Stage, time.stage),
            (N::Turn, time.turn),
            (N::Run, time.run),
            (N::Silence, time.silence),
        ] {
            add(name, because, of(value, |seconds| V::Number(seconds.0)));
        }
        add(N::ContractMayRaise, because, of(time.contract_may_raise, V::Switch));
    }
    if let Some(network) = &document.network {
        add(N::Network, &network.because, of(network.mode, V::Network));
    }
    if let Some(commands) = &document.commands {
        add(N::ContractMode, &commands.because, of(commands.contract_mode, V::Mode));
        add(N::Undecided, &commands.because, of(commands.undecided, V::Undecided));
    }
    if let Some(verify) = &document.verify {
        add(N::Isolation, &verify.because, of(verify.isolation, V::Isolation));
    }
    if let Some(artifacts) = &document.artifacts {
        let because = &artifacts.because;
        add(N::Bytes, because, of(artifacts.bytes, |size| V::Bytes(size.0)));
        add(N::Files, because, of(artifacts.files, |count| V::Number(count.0)));
        add(
            N::ChangesBytes,
            because,
            of(artifacts.changes_bytes, |size| V::Bytes(size.0)),
        );
        add(
            N::ChangesFiles,
            because,
            of(artifacts.changes_files, |count| V::Number(count.0)),
        );
    }
    if let Some(agent) = &document.agent {
        let because = &agent.because;
        let count = |most| cap(most, |count: super::units::Count| V::Number(count.0));
        add(N::Bash, because, of(agent.bash, V::Bash));
        add(N::Outside, because, of(agent.outside, V::Switch));
        add(N::Turns, because, of(agent.turns, count));
        add(N::Calls, because, of(agent.calls, |calls| V::Number(calls.0)));
        add(N::Tokens, because, of(agent.tokens, count));
        add(N::TurnCalls, because, of(agent.turn_calls, |calls| V::Number(calls.0)));
        add(N::TurnTokens, because, of(agent.turn_tokens, count));
    }
    all
}
