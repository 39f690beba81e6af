//! What one policy allows and another does not.

use serde::Serialize;

use super::{
    effective::{Policy, Protection, Said},
    pattern::WordPattern,
    setting::{SettingName, SettingValue},
};
use crate::policy::{
    HostRule, NetworkMode,
    shell::{CommandRule, Ruling},
};

/// One capability that came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `gained`: the second allows it, and the first does not. `lost`: the other way round.
    /// `changed`: neither is the narrower.
    pub change: Change,
    /// Its place in a document, for instance `sandbox.limits.memory`.
    pub what: String,
    /// What the first says.
    pub before: Option<String>,
    /// What the second says.
    pub after: Option<String>,
    /// The whole, in words.
    pub words: String,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Gained,
    Lost,
    Changed,
}

/// Every capability by which `after` differs from `before`.
pub fn diff(before: &Policy, after: &Policy) -> Vec<Difference> {
    let mut found = Vec::new();
    for name in SettingName::ALL {
        let (old, new) = (value(before, name), value(after, name));
        if old != new {
            found.push(of_setting(name, old, new));
        }
    }
    words(
        "sandbox.images",
        "containers may start from images",
        (&before.images().words, &after.images().words),
        &mut found,
    );
    words(
        "environment.stages",
        "stages may be granted variables",
        (&before.stages().words, &after.stages().words),
        &mut found,
    );
    protected(before.protected(), after.protected(), &mut found);
    hosts(before, after, &mut found);
    commands(before.commands(), after.commands(), &mut found);
    found.sort_by_key(|difference| difference.change);
    found
}

fn value(policy: &Policy, name: SettingName) -> Option<SettingValue> {
    policy.setting(name).map(|said| said.value)
}

fn of_setting(name: SettingName, old: Option<SettingValue>, new: Option<SettingValue>) -> Difference {
    let change = match (old, new) {
        (Some(old), Some(new)) if new.is_within(old) => Change::Lost,
        (Some(old), Some(new)) if old.is_within(new) => Change::Gained,
        _ => Change::Changed,
    };
    let shown = |value: Option<SettingValue>| value.map(|value| value.to_string());
    let said = |value: Option<SettingValue>| shown(value).unwrap_or_else(|| "left to the run".to_owned());
    Difference {
        change,
        what: name.to_string(),
        words: format!("{}: {}, before {}", name.words(), said(new), said(old)),
        before: shown(old),
        after: shown(new),
    }
}

fn words(
    place: &str,
    sentence: &str,
    (before, after): (&[Said<WordPattern>], &[Said<WordPattern>]),
    found: &mut Vec<Difference>,
) {
    let mut one_way = |from: &[Said<WordPattern>], to: &[Said<WordPattern>], change: Change| {
        for said in to {
            let pattern = said.value.as_str();
            if from.iter().any(|known| known.value.covers(pattern)) {
                continue;
            }
            let (no_longer, shown) = match change {
                Change::Lost => (" no longer", (Some(pattern.to_owned()), None)),
                _ => ("", (None, Some(pattern.to_owned()))),
            };
            found.push(Difference {
                change,
                what: place.to_owned(),
                before: shown.0,
                after: shown.1,
                words: format!("{sentence}{no_longer} {pattern}"),
            });
        }
    };
    one_way(before, after, Change::Gained);
    one_way(after, before, Change::Lost);
}

fn protected(before: &[Said<Protection>], after: &[Said<Protection>], found: &mut Vec<Difference>) {
    let mut one_way = |from: &[Said<Protection>], to: &[Said<Protection>], change: Change| {
        for said in to
            .iter()
            .filter(|said| !from.iter().any(|known| known.value == said.value))
        {
            let phases: Vec<String> = said.value.phases.iter().map(ToString::to_string).collect();
            let shown = format!("{} ({})", said.value.path, phases.join(", "));
            let (may, shown) = match change {
                Change::Lost => ("may no longer", (None, Some(shown.clone()))),
                _ => ("may", (Some(shown.clone()), None)),
            };
            found.push(Difference {
                change,
                what: "guards.protected".to_owned(),
                words: format!("the agent {may} change {} in {}", said.value.path, phases.join(", ")),
                before: shown.0,
                after: shown.1,
            });
        }
    };
    // What is protected is what is lost.
    one_way(before, after, Change::Lost);
    one_way(after, before, Change::Gained);
}

/// Rules count only where the mode opens the door.
fn hosts(before: &Policy, after: &Policy, found: &mut Vec<Difference>) {
    let open = |policy: &Policy| match policy.network().mode {
        Some(NetworkMode::Allow) => policy.hosts().to_vec(),
        _ => Vec::new(),
    };
    let (before, after) = (open(before), open(after));
    let bare = |rule: &HostRule| HostRule {
        because: None,
        matches: Vec::new(),
        not_match: Vec::new(),
        ..rule.clone()
    };
    let mut one_way = |from: &[Said<HostRule>], to: &[Said<HostRule>], change: Change| {
        for said in to
            .iter()
            .filter(|said| !from.iter().any(|known| bare(&known.value) == bare(&said.value)))
        {
            let rule = said.value.to_string();
            let (may, shown) = match change {
                Change::Lost => ("may no longer", (Some(rule.clone()), None)),
                _ => ("may", (None, Some(rule.clone()))),
            };
            found.push(Difference {
                change,
                what: "network.rules".to_owned(),
                words: format!("programs inside {may} reach {rule}"),
                before: shown.0,
                after: shown.1,
            });
        }
    };
    one_way(&before, &after, Change::Gained);
    one_way(&after, &before, Change::Lost);
}

/// Which of two rules about commands is the narrower depends on all that come before them:
/// what is there and was not is told, by what it says.
fn commands(before: &[Said<CommandRule>], after: &[Said<CommandRule>], found: &mut Vec<Difference>) {
    let same = |a: &CommandRule, b: &CommandRule| (a.verdict, &a.when, a.only_in) == (b.verdict, &b.when, b.only_in);
    let mut one_way = |from: &[Said<CommandRule>], to: &[Said<CommandRule>], comes: bool| {
        for rule in to.iter().map(|said| &said.value) {
            if from.iter().any(|known| same(&known.value, rule)) {
                continue;
            }
            let id = &rule.id.value;
            let verdict = rule.verdict.name();
            let shown = Some(format!("{id}: {verdict}"));
            found.push(Difference {
                change: match (rule.verdict, comes) {
                    (Ruling::Undecided, _) => Change::Changed,
                    (Ruling::Allow, true) | (Ruling::Deny, false) => Change::Gained,
                    (Ruling::Deny, true) | (Ruling::Allow, false) => Change::Lost,
                },
                what: "commands.rules".to_owned(),
                before: shown.clone().filter(|_| !comes),
                after: shown.filter(|_| comes),
                words: format!(
                    "the rule `{id}`, which says {verdict}, {}",
                    if comes { "is new" } else { "is gone" }
                ),
            });
        }
    };
    one_way(before, after, true);
    one_way(after, before, false);
}
