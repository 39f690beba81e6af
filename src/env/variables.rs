//! What the stages of a call get over what the contract gives them.

use super::{CallOptions, Endpoint, EnvError, EnvSession, Llm, authoring::OPENAI};
use crate::{
    contract,
    engine::{self, Overrides},
    record::Secret,
};

/// Variables that say where a model is and with which key: for the door, never for the inside.
const DOOR: [&str; 3] = ["OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY"];

impl EnvSession {
    /// Where the model is, by the call's variables, else by the session's.
    pub(super) fn endpoint_of(&self, call: &CallOptions) -> Option<Endpoint> {
        let value = |name: &str| {
            let found = call.env.iter().rev().find(|(known, _)| known == name);
            found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
        };
        let base_url = value("OPENAI_BASE_URL").or_else(|| value("OPENAI_API_BASE"));
        let key = value("OPENAI_API_KEY").map(Secret::new);
        match (base_url, key, &self.endpoint) {
            (None, None, known) => known.clone(),
            (Some(base_url), key, known) => Some(Endpoint {
                base_url: base_url.to_owned(),
                // The host's key is for the host's endpoint.
                key: key.or_else(|| {
                    let known = known.as_ref().filter(|known| known.base_url == base_url);
                    known.and_then(|known| known.key.clone())
                }),
            }),
            (None, key, known) => Some(Endpoint {
                base_url: known.as_ref().map_or(OPENAI, |known| &known.base_url).to_owned(),
                key,
            }),
        }
    }

    /// What the stages of a call get over what the contract gives them.
    pub(super) fn variables_of(&self, call: &CallOptions) -> Result<Overrides, EnvError> {
        let mut set = checked(&call.env)?;
        let hidden: Vec<Secret> = set
            .iter()
            .filter(|(name, value)| engine::hides(name, value.expose()))
            .map(|(_, value)| value.clone())
            .collect();
        if !hidden.is_empty() {
            self.target.hide(&hidden);
        }
        let given = |set: &[(String, Secret)], name: &str| set.iter().any(|(known, _)| known == name);
        let mut unset = Vec::new();
        if !given(&set, "AIDER_EVAL_MODE") {
            set.push(("AIDER_EVAL_MODE".to_owned(), Secret::new(call.mode.as_str())));
        }
        let say = |set: &mut Vec<(String, Secret)>, name: &str, value: &str| {
            set.retain(|(known, _)| known != name);
            set.push((name.to_owned(), Secret::new(value)));
        };
        match &self.llm {
            Some(Llm::Directory(_)) => {
                say(&mut set, "AIDER_LLM_KIND", "local_hf");
                set.retain(|(name, _)| name != "AIDER_LLM_MODEL" && name != "AIDER_TRAINED_MODEL_DIR");
                unset.push("AIDER_LLM_MODEL");
            }
            Some(Llm::Remote(id)) => {
                say(&mut set, "AIDER_LLM_KIND", "remote");
                say(&mut set, "AIDER_LLM_MODEL", id);
                if !given(&set, "OPENAI_MODEL") {
                    say(&mut set, "OPENAI_MODEL", id);
                }
                // The door's address and its own key come in their place.
                set.retain(|(name, _)| name != "AIDER_TRAINED_MODEL_DIR" && !DOOR.contains(&name.as_str()));
                unset.extend(DOOR);
                unset.push("AIDER_TRAINED_MODEL_DIR");
            }
            Some(Llm::None) | None => {}
        }
        Ok(Overrides { set, unset })
    }
}

/// A caller's variables: names that may be set, and values that a program takes.
pub(super) fn checked(env: &[(String, String)]) -> Result<Vec<(String, Secret)>, EnvError> {
    let check = |(name, value): &(String, String)| {
        contract::parse_assignment(&format!("{name}={value}")).map_err(EnvError::InvalidEnv)?;
        match value.contains('\0') {
            true => Err(EnvError::InvalidEnv(format!("{name} holds a NUL character"))),
            false => Ok((name.clone(), Secret::new(value.as_str()))),
        }
    };
    env.iter().map(check).collect()
}
