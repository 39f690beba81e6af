//! What the types of a document do not say: the version, and the examples of every rule.

use super::{
    document::{Document, Word},
    pattern::Examples,
    setting::{SettingName, given},
};
use crate::{
    document::{Fault, Position},
    names::RelPath,
    policy::{NetworkRules, shell},
};

/// Fewest processes and open files that a sandbox can work with.
const FEWEST: u64 = 64;
/// Most rules of one list.
const MANY: usize = 1000;

/// Everything that is wrong with a document.
pub(super) fn problems(document: &Document) -> Vec<Fault> {
    let mut found = Vec::new();
    if document.version.value != 1 {
        let version = document.version.value;
        let text = format!("`version` must be the integer 1, found `{version}`");
        found.push(document.version.at.fault(text));
    }
    for setting in given(document) {
        let few = matches!(setting.name, SettingName::Processes | SettingName::OpenFiles)
            && setting.value.value.number().is_some_and(|number| number < FEWEST);
        if few {
            let text = format!("`{}` must be at least {FEWEST}", setting.name);
            found.push(setting.value.at.fault(text));
        }
    }
    for protected in document.guards.iter().flat_map(|guards| &guards.protected) {
        let rule = &protected.value;
        let examples = Examples {
            matching: &rule.matching,
            other: &rule.not_match,
        };
        let covers = |text: &str| match RelPath::new(text) {
            Ok(path) => Ok(rule.path.covers(&path) && !rule.except.iter().any(|but| but.covers(&path))),
            Err(why) => Err(why.to_string()),
        };
        examples.failures(rule.path.as_str(), covers, &mut found);
        if rule.phases.as_ref().is_some_and(Vec::is_empty) {
            let text = "`phases` is empty: the rule would protect nothing; remove it for all phases";
            found.push(protected.at.fault(text));
        }
    }
    let images = document.sandbox.iter().filter_map(|sandbox| sandbox.images.as_ref());
    let stages = document
        .environment
        .iter()
        .filter_map(|environment| environment.stages.as_ref());
    for words in images.chain(stages) {
        for Word(word) in &words.value {
            let rule = &word.value;
            let examples = Examples {
                matching: &rule.matching,
                other: &rule.not_match,
            };
            examples.failures(rule.pattern.as_str(), |text| Ok(rule.pattern.covers(text)), &mut found);
        }
    }
    if let Some(network) = &document.network {
        for rule in &network.rules {
            let alone = NetworkRules {
                rules: vec![rule.value.clone()],
                ..NetworkRules::default()
            };
            if let Err(fault) = alone.check() {
                found.push(rule.at.fault(format!("{}: {}", fault.rule, fault.why)));
            }
        }
    }
    found.extend(document.commands.iter().flat_map(shell::problems));
    let lists = [
        document.guards.as_ref().map_or(0, |guards| guards.protected.len()),
        document.network.as_ref().map_or(0, |network| network.rules.len()),
    ];
    if lists.into_iter().any(|length| length > MANY) {
        found.push(Position::START.fault(format!("a list of rules has at most {MANY}")));
    }
    found.sort_by_key(|fault| (fault.at.line, fault.at.column));
    found
}
