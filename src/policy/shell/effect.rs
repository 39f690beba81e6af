//! What a command does, as far as its text tells.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One class of effects. Recognising it is this program's matter; whether it is allowed
/// is the matter of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Removes, overwrites or makes unusable what lies outside the workspace, or a device.
    DestroysOutsideWorkspace,
    /// Writes a file outside the workspace that nothing vital depends on, or removes one
    /// that can be had again.
    WritesOutsideWorkspace,
    /// Changes what a later login, boot or clock tick runs.
    ChangesWhatStartsLater,
    /// Asks for another user's rights, or does what only an administrator may.
    RaisesPrivilege,
    /// Ends or restarts the machine, or every process on it.
    PowersOff,
    /// Takes processes or memory without end.
    ExhaustsHost,
    /// Runs what it fetches.
    DownloadsAndExecutes,
    /// Gives a shell to somebody elsewhere.
    OpensReverseShell,
    /// Reads keys, passwords or tokens, or sends out what may hold them.
    ReadsSecrets,
    /// Changes the contract, the plan, or what proves what happened.
    TampersWithEvidence,
    /// Throws away whatever is not committed, which may be the contract's or the evidence.
    DiscardsWork,
    /// Talks to a container engine or a cluster.
    TalksToContainerEngine,
    /// Reaches the host, or what others keep, through a container engine or a cluster.
    ReachesHostThroughEngine,
    /// Destroys what is kept elsewhere: buckets, machines, repositories.
    DestroysRemotely,
    /// Waits for a person at the terminal.
    WaitsForPerson,
    /// Cannot be told: which program runs is not in the text.
    RunsUnknownProgram,
    /// Cannot be told: what runs is decoded first.
    RunsDecodedText,
    /// Cannot be told: no shell script, as far as this program can read one.
    CannotBeParsed,
    /// Cannot be told: too long or too deeply nested to be followed.
    CannotBeFollowed,
}

impl Effect {
    /// All of them, gravest first.
    pub const ALL: [Effect; 19] = [
        Effect::DestroysOutsideWorkspace,
        Effect::PowersOff,
        Effect::ExhaustsHost,
        Effect::OpensReverseShell,
        Effect::DownloadsAndExecutes,
        Effect::ReadsSecrets,
        Effect::ReachesHostThroughEngine,
        Effect::RaisesPrivilege,
        Effect::TampersWithEvidence,
        Effect::ChangesWhatStartsLater,
        Effect::WritesOutsideWorkspace,
        Effect::DiscardsWork,
        Effect::DestroysRemotely,
        Effect::WaitsForPerson,
        Effect::RunsUnknownProgram,
        Effect::RunsDecodedText,
        Effect::CannotBeParsed,
        Effect::CannotBeFollowed,
        Effect::TalksToContainerEngine,
    ];

    /// Whether it stands for what cannot be told from the text.
    pub fn is_uncertain(self) -> bool {
        matches!(
            self,
            Effect::RunsUnknownProgram | Effect::RunsDecodedText | Effect::CannotBeParsed | Effect::CannotBeFollowed
        )
    }

    /// Its name in policy files.
    pub fn name(self) -> &'static str {
        match self {
            Effect::DestroysOutsideWorkspace => "destroys-outside-workspace",
            Effect::WritesOutsideWorkspace => "writes-outside-workspace",
            Effect::ChangesWhatStartsLater => "changes-what-starts-later",
            Effect::RaisesPrivilege => "raises-privilege",
            Effect::PowersOff => "powers-off",
            Effect::ExhaustsHost => "exhausts-host",
            Effect::DownloadsAndExecutes => "downloads-and-executes",
            Effect::OpensReverseShell => "opens-reverse-shell",
            Effect::ReadsSecrets => "reads-secrets",
            Effect::TampersWithEvidence => "tampers-with-evidence",
            Effect::DiscardsWork => "discards-work",
            Effect::TalksToContainerEngine => "talks-to-container-engine",
            Effect::ReachesHostThroughEngine => "reaches-host-through-engine",
            Effect::DestroysRemotely => "destroys-remotely",
            Effect::WaitsForPerson => "waits-for-person",
            Effect::RunsUnknownProgram => "runs-unknown-program",
            Effect::RunsDecodedText => "runs-decoded-text",
            Effect::CannotBeParsed => "cannot-be-parsed",
            Effect::CannotBeFollowed => "cannot-be-followed",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
