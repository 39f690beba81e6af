//! Flags about targets that are fetched.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    surroundings::Surroundings,
    target::{TargetArgs, seconds},
};
use crate::{
    engine::EngineError,
    policy::parse_amount,
    source::{Endpoints, FetchLimits, FetchOptions, History, Named, Target},
};

/// What stands in for `--clone-dir`.
const NO_CLONES: &str = "what is fetched lies in the cache ($XDG_CACHE_HOME), is used again, and is never worked in; \
                         leave the flag out";

/// How a target elsewhere is fetched.
#[derive(Clone, Debug, Args)]
pub(super) struct FetchArgs {
    /// Branch, tag or commit of a repository, revision of a data set [default: its own].
    #[arg(long = "ref", value_name = "NAME")]
    revision: Option<String>,
    /// Commits of the past that come along; 0 for all [default: 1, or all with --history].
    #[arg(long, value_name = "N")]
    depth: Option<u32>,
    /// Fetch submodules, too.
    #[arg(long)]
    submodules: bool,
    /// How much of the past comes along: all branches and tags, or what HEAD reaches and nothing else.
    #[arg(long, value_enum, conflicts_with = "scrub_git_future")]
    history: Option<History>,
    /// The same as --history reachable.
    #[arg(long)]
    scrub_git_future: bool,
    /// Fetch anew what the cache has.
    #[arg(long, conflicts_with = "offline")]
    refresh: bool,
    /// Ask no server: what is not in the cache is an error.
    #[arg(long)]
    offline: bool,
    /// Accept plain http to other machines, which anybody on the way can read and change.
    #[arg(long)]
    allow_http: bool,
    /// Longest time in which a target is fetched [env: AIDER_FSM_GIT_CLONE_TIMEOUT_SECONDS].
    #[arg(long, value_name = "SECONDS", default_value = "1800", value_parser = seconds)]
    fetch_timeout: Duration,
    /// Bytes of a target that come over a network.
    #[arg(long, value_name = "BYTES", default_value = "2G", value_parser = parse_amount)]
    fetch_max_bytes: u64,
    /// Bytes of a target's files, where it comes packed.
    #[arg(long, value_name = "BYTES", default_value = "16G", value_parser = parse_amount)]
    fetch_max_unpacked: u64,
    /// Bytes of a data set's files together; what is beyond is left out [env: AIDER_FSM_HF_MAX_TOTAL_BYTES].
    #[arg(long, value_name = "BYTES", default_value = "512M", value_parser = parse_amount)]
    hf_max_total: u64,
    /// Bytes of one file of a data set; larger ones are left out [env: AIDER_FSM_HF_MAX_FILE_BYTES].
    #[arg(long, value_name = "BYTES", default_value = "256M", value_parser = parse_amount)]
    hf_max_file: u64,
    /// A flag of the predecessor.
    #[arg(long, hide = true, value_name = "DIR")]
    clone_dir: Option<PathBuf>,
}

impl FetchArgs {
    /// # Errors
    /// [`EngineError::Usage`] for a flag of the predecessor that is not taken.
    pub fn options(&self) -> Result<FetchOptions, EngineError> {
        if self.clone_dir.is_some() {
            return Err(EngineError::Usage(format!("--clone-dir is not taken: {NO_CLONES}")));
        }
        Ok(FetchOptions {
            revision: self.revision.clone(),
            depth: self.depth,
            history: self.history.or(self.scrub_git_future.then_some(History::Reachable)),
            submodules: self.submodules,
            refresh: self.refresh,
            offline: self.offline,
            allow_http: self.allow_http,
            limits: FetchLimits {
                wall: self.fetch_timeout,
                max_bytes: self.fetch_max_bytes,
                max_unpacked: self.fetch_max_unpacked,
                hub_total: self.hf_max_total,
                hub_file: self.hf_max_file,
                ..FetchLimits::default()
            },
        })
    }
}

impl TargetArgs {
    /// What the user named, and whose short names were meant. Nothing that lies in the
    /// target says which servers those are.
    ///
    /// # Errors
    /// [`EngineError::Source`] for a name that is none.
    pub fn named(&self, around: &Surroundings) -> Result<(Named, Endpoints), EngineError> {
        let endpoints = Endpoints::of(|name| around.bound(name).map(|found| found.value))?;
        let named = Target::parse(self.target().as_os_str(), &endpoints)?;
        Ok((named, endpoints))
    }
}
