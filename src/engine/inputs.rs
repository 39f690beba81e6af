//! What goes into a run, by hash: the first record, and `lock.json`.

use serde::{Deserialize, Serialize};

use crate::{
    engine::{EngineError, ModelChoice, RunOptions, TargetOptions, evidence::digest_of, facts::Seed},
    record::audit::Digest,
};

/// Version of `lock.json`.
pub(super) const LOCK_VERSION: u32 = 1;

/// What goes into a run besides its target and the policy, by hash.
#[derive(Clone, Debug, Default, Serialize, schemars::JsonSchema)]
pub(super) struct Inputs {
    /// SHA-256 of the goal.
    goal: Option<Digest>,
    /// The model, as the user names it.
    model: Option<String>,
    /// SHA-256 of the cassette that plays it.
    cassette: Option<Digest>,
    /// The acceptance command that the user gives in place of the contract's.
    test_cmd: Option<Digest>,
    /// Texts for every snapshot.
    seeds: Vec<SeedLine>,
    /// The step of another run that this one goes on from.
    pub from: Option<FromLine>,
}

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
struct SeedLine {
    name: String,
    /// SHA-256 of what of it is shown.
    sha256: Digest,
}

/// A step of another run.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct FromLine {
    /// That run.
    pub run: String,
    /// The step's number.
    pub checkpoint: u64,
    /// BLAKE3 digest of its state.
    pub state: String,
}

/// `lock.json`: everything that went into a run, by hash.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Lock<'a> {
    /// 1; it rises when a field changes its meaning.
    pub version: u32,
    /// Version of this program.
    pub tool: &'a str,
    /// BLAKE3 digest of the target's manifest, as it was copied.
    pub target: String,
    /// SHA-256 of the contract; null where there is none.
    pub contract: Option<Digest>,
    /// BLAKE3 digest of the target with what bootstrap made; null where nothing was made yet.
    pub bootstrapped: Option<String>,
    /// `sha256:` and the digest of `policy.json`.
    pub policy: String,
    /// What built the walls.
    pub backend: Option<&'a str>,
    /// The image of containers, by its id.
    pub image: Option<&'a str>,
    /// OpenCode's executable; null without an agent inside.
    pub opencode: Option<Executable>,
    /// The rest.
    #[serde(flatten)]
    pub inputs: &'a Inputs,
}

/// A program of the host.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Executable {
    /// As its package names it.
    pub version: Option<String>,
    /// SHA-256 of it.
    pub sha256: Digest,
}

impl Inputs {
    /// Of a run.
    ///
    /// # Errors
    /// When the cassette cannot be read.
    pub fn of(options: &RunOptions, seeds: &[Seed]) -> Result<Self, EngineError> {
        let cassette = match &options.model {
            ModelChoice::Cassette(path) => Some(digest_of(path)?),
            ModelChoice::Bundled(text) => Some(Digest::of(text.as_bytes())),
            ModelChoice::Endpoint { .. } | ModelChoice::OfTheServer(_) => None,
        };
        let seeds = seeds.iter().map(|seed| SeedLine {
            name: seed.name.clone(),
            sha256: Digest::of(seed.text.as_bytes()),
        });
        Ok(Self {
            goal: Some(Digest::of(options.goal.as_bytes())),
            model: Some(match &options.model {
                // Its hash says which.
                ModelChoice::Cassette(_) => "cassette".to_owned(),
                model => model.to_string(),
            }),
            cassette,
            seeds: seeds.collect(),
            ..Self::of_target(&options.target)
        })
    }

    /// Of a verification.
    pub fn of_target(options: &TargetOptions) -> Self {
        Self {
            test_cmd: options.test_cmd.as_ref().map(|command| Digest::of(command.as_bytes())),
            ..Self::default()
        }
    }
}
