//! `schema`: the JSON Schemas of contracts, records and the configuration.

use clap::CommandFactory;
use serde_json::{Map, Value, json};

use super::{
    args::{CONFIG_KEYS, Cli},
    policy::AuditReport,
};
use crate::{contract, engine, env, policy, record, report::reading::RunView, suite};

/// The version of every schema: it rises when a file changes so that an older reader would misread it.
const VERSION: u32 = 1;

/// Every schema, by its name.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let mut all: Vec<_> = contract::schemas()
        .into_iter()
        .chain(engine::schemas())
        .chain(env::serve::schemas())
        .chain(suite::schemas())
        .map(|(name, file, schema)| (name, named(name, file, schema.to_value())))
        .collect();
    let view = record::schema_of::<RunView>();
    all.push((
        "report",
        named("report", "what `report --format json` prints", view.to_value()),
    ));
    let file = "a policy file, and policy.json of a run";
    all.push(("policy", named("policy", file, policy::schema().to_value())));
    all.push((
        "config",
        named("config", "$XDG_CONFIG_HOME/opencode-fsm/config.yml", config()),
    ));
    let audit = record::schema_of::<AuditReport<'_>>();
    all.push((
        "policy_audit",
        named("policy_audit", "what `policy audit --json` prints", audit.to_value()),
    ));
    let verdict = crate::record::schema_of::<crate::escape::Verdict>();
    all.push((
        "escape",
        named("escape", "a line of escape-test --json", verdict.to_value()),
    ));
    all.sort_by_key(|(name, _)| *name);
    all
}

/// A schema under its name, with the file that it is for as its title.
fn named(name: &str, file: &str, schema: Value) -> Value {
    let mut whole = Map::new();
    whole.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    whole.insert(
        "$id".to_owned(),
        json!(format!("urn:opencode-fsm:schema:{name}:{VERSION}")),
    );
    whole.insert("title".to_owned(), json!(file));
    if let Value::Object(fields) = schema {
        for (key, value) in fields {
            whole.entry(key).or_insert(value);
        }
    }
    Value::Object(whole)
}

/// The configuration's, made of the flags of `run`.
fn config() -> Value {
    let grammar = Cli::command();
    let run = grammar.find_subcommand("run");
    let mut properties = Map::new();
    for arg in run.into_iter().flat_map(clap::Command::get_arguments) {
        let id = arg.get_id().as_str();
        if !CONFIG_KEYS.contains(&id) {
            continue;
        }
        let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let words: Vec<String> = arg
            .get_possible_values()
            .iter()
            .map(|word| word.get_name().to_owned())
            .collect();
        let property = match words.is_empty() {
            true => json!({"description": about, "type": ["string", "integer"]}),
            false => json!({"description": about, "enum": words}),
        };
        properties.insert(id.to_owned(), property);
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}
