//! What a run recorded of its policy, read back: the same values by the same origins.

use std::sync::Arc;

use super::{
    effective::{Layer, Origin, Policy, Said},
    load::load_text,
    record::{Origins, SaidLine},
};
use crate::{document::Position, policy::PolicyError};

/// Where the document lies that is read.
const FILE: &str = "policy.json";

impl Policy {
    /// The policy of a run: what held (`policy.json`), as who said it and why
    /// (`policy_origins.json`).
    ///
    /// # Errors
    /// Where the document is none of a policy.
    pub fn recorded(canonical: &[u8], origins: Origins) -> Result<Self, PolicyError> {
        let mut policy = Self::shipped()?;
        policy.settings.clear();
        for source in load_text(FILE, canonical)? {
            policy.add(Layer::Shipped, &source);
        }
        policy.layers = origins
            .layers
            .iter()
            .map(|line| (line.layer, Arc::from(line.file.as_str())))
            .collect();
        // In the order in which they were written; single values by their names.
        let (values, rules): (Vec<_>, Vec<_>) = origins
            .said
            .into_iter()
            .partition(|line| policy.settings.keys().any(|name| name.to_string() == line.what));
        for (name, said) in &mut policy.settings {
            if let Some(line) = values.iter().find(|line| line.what == name.to_string()) {
                restore(said, line);
            }
        }
        let mut rules = rules.iter();
        for said in policy.images.words.iter_mut().chain(&mut policy.stages.words) {
            rules.next().into_iter().for_each(|line| restore(said, line));
        }
        for said in &mut policy.protected {
            rules.next().into_iter().for_each(|line| restore(said, line));
        }
        for said in &mut policy.hosts {
            if let Some(line) = rules.next() {
                said.value.because.clone_from(&line.because);
                restore(said, line);
            }
        }
        for said in &mut policy.commands {
            if let Some(line) = rules.next() {
                said.value.because.clone_from(&line.because);
                restore(said, line);
            }
        }
        Ok(policy)
    }
}

fn restore<T>(said: &mut Said<T>, line: &SaidLine) {
    said.because = line.because.as_deref().map(Arc::from);
    said.origin = origin(line);
}

/// `FILE:LINE:COLUMN` of a file, or whatever a user's word is shown as.
fn origin(line: &SaidLine) -> Origin {
    let place = || {
        let (rest, column) = line.at.rsplit_once(':')?;
        let (file, number) = rest.rsplit_once(':')?;
        let at = Position {
            line: number.parse().ok()?,
            column: column.parse().ok()?,
        };
        Some((Arc::from(file), at))
    };
    match place().filter(|_| line.layer != Layer::User) {
        Some((file, at)) => Origin::File {
            layer: line.layer,
            file,
            at,
        },
        None => Origin::User(line.at.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{SettingName, SettingValue};

    #[test]
    fn what_a_run_recorded_is_the_policy_that_it_had() {
        let mut policy = Policy::shipped().expect("shipped");
        policy.overrule(SettingName::Turns, SettingValue::Number(7), "--max-turns".to_owned());
        let rule = "pypi.org:443".parse().expect("a rule");
        policy.allow_host(rule, "--allow-host pypi.org:443".to_owned());
        let origins: Origins =
            serde_json::from_value(serde_json::to_value(policy.origins()).expect("json")).expect("back");
        let back = Policy::recorded(policy.canonical().as_bytes(), origins).expect("read");
        assert_eq!(back.canonical(), policy.canonical());
        let shown = |policy: &Policy| serde_json::to_value(policy.origins()).expect("json");
        assert_eq!(shown(&back), shown(&policy));
        assert_eq!(
            back.setting(SettingName::Turns).map(|said| said.origin.to_string()),
            Some("--max-turns".to_owned())
        );
    }
}
