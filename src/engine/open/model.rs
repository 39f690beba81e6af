//! The model that a target's stages work with.

use std::path::PathBuf;

use serde::Serialize;

use super::OpenTarget;
use crate::{
    broker::{Budget, DoorConfig, ModelDoor, Upstream},
    engine::EngineError,
    policy::{NetworkMode, SettingName, SettingValue},
    record::Secret,
};

/// Transient errors of a provider that the clients inside get to see in one call: they
/// retry in their own way, as often as they like, up to the budget of calls.
const PATIENCE: u32 = 100_000;

/// The model that a target's stages work with.
#[derive(Clone, Debug)]
pub enum StageModel {
    /// A directory of the host, shown read-only inside.
    Directory(PathBuf),
    /// An OpenAI-compatible endpoint, reached through the model door; the key stays outside.
    Endpoint {
        /// Its base URL.
        base_url: String,
        /// What it is asked for, whatever the inside names.
        model: String,
        /// Its key.
        key: Option<Secret>,
    },
}

/// What the model door saw in one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ModelUse {
    /// Calls that were let through.
    pub calls: u64,
    /// Those that the provider failed: not reached, busy, broken, or its key refused.
    pub failed: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
}

/// The door to it, and the key that it opens to.
pub(super) struct Door {
    pub door: ModelDoor,
    pub key: Secret,
}

impl OpenTarget {
    /// Sets the model of the sandboxes that are made from now on.
    ///
    /// # Errors
    /// When the door to it cannot be opened.
    pub fn set_model(&mut self, model: Option<StageModel>) -> Result<(), EngineError> {
        if let (Some(said), Some(StageModel::Endpoint { base_url, .. })) =
            (self.ground.options.policy.setting(SettingName::Network), &model)
            && said.value == SettingValue::Network(NetworkMode::None)
        {
            return Err(EngineError::Usage(format!(
                "the network is `none` ({}), which lets nothing out, and the model is at {base_url}: allow its calls with \
                 --network model",
                said.origin
            )));
        }
        let before = self.door.take();
        if let Some(before) = before {
            before.door.close()?;
        }
        if let Some(StageModel::Endpoint { base_url, model, key }) = &model {
            let inside_key = Secret::new(uuid::Uuid::new_v4().simple().to_string());
            self.hide(&[std::slice::from_ref(&inside_key), key.as_slice()].concat());
            self.doors += 1;
            let ledger = match self.doors {
                1 => "model.jsonl".to_owned(),
                more => format!("model_{more:02}.jsonl"),
            };
            let cap = |name| self.ground.options.policy.number(name);
            let door = ModelDoor::open(DoorConfig {
                upstream: Upstream::Http {
                    base_url: base_url.clone(),
                    key: key.clone(),
                },
                model: model.clone(),
                inside_key: inside_key.clone(),
                per_run: Budget::default(),
                per_turn: Budget {
                    calls: cap(SettingName::Calls),
                    tokens: cap(SettingName::Tokens),
                    wall: None,
                },
                patience: PATIENCE,
                ledger: self.ground.site.run.path().join(ledger),
                record_to: None,
                past: None,
            })?;
            self.door = Some(Door { door, key: inside_key });
        }
        self.model = model;
        Ok(())
    }
}
