use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::{
    contract::{Bootstrap, Pipeline, parse_actions},
    names::RelPath,
};

type Reader = fn(&str) -> Option<String>;

fn why<T>(read: impl Fn(&RelPath, &[u8]) -> Result<T, crate::contract::ContractError>, text: &str) -> Option<String> {
    let path = RelPath::new("f.yml").expect("a path");
    read(&path, text.as_bytes()).err().map(|why| why.message)
}

/// The keys that a schema has at a place, through references and alternatives.
fn keys(schema: &Value, root: &Value, place: &[&str]) -> BTreeSet<String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return keys(&root["$defs"][name], root, place);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().flat_map(|one| keys(one, root, place)).collect();
    }
    match place {
        ["[]", rest @ ..] => keys(&schema["items"], root, rest),
        [first, rest @ ..] => keys(&schema["properties"][first], root, rest),
        [] => {
            let names = schema["properties"].as_object().into_iter().flatten();
            names.map(|(name, _)| name.clone()).collect()
        }
    }
}

/// The keys of every section are those that the reader takes, no more and no fewer.
#[test]
fn schemas_and_readers_know_the_same_keys() {
    let all: std::collections::HashMap<_, _> = schemas().into_iter().map(|(name, _, schema)| (name, schema)).collect();
    let pipeline: Reader = |text| why(Pipeline::parse, text);
    let bootstrap: Reader = |text| why(Bootstrap::parse, text);
    let actions: Reader = |text| why(parse_actions, text);
    // `KEY` stands for the key in question.
    for (name, read, place, text) in [
        ("pipeline", pipeline, &[][..], "KEY: x\n"),
        ("pipeline", pipeline, &["security"], "security:\n  KEY: x\n"),
        ("pipeline", pipeline, &["auth"], "auth:\n  KEY: x\n"),
        ("pipeline", pipeline, &["tests"], "tests:\n  KEY: x\n"),
        ("pipeline", pipeline, &["deploy"], "deploy:\n  KEY: x\n"),
        (
            "pipeline",
            pipeline,
            &["deploy", "kubectl_dump"],
            "deploy:\n  kubectl_dump:\n    KEY: x\n",
        ),
        ("pipeline", pipeline, &["rollout"], "rollout:\n  KEY: x\n"),
        (
            "pipeline",
            pipeline,
            &["rollout", "generic"],
            "rollout:\n  generic:\n    KEY: x\n",
        ),
        ("pipeline", pipeline, &["evaluation"], "evaluation:\n  KEY: x\n"),
        (
            "pipeline",
            pipeline,
            &["evaluation", "generic"],
            "evaluation:\n  generic:\n    KEY: x\n",
        ),
        ("pipeline", pipeline, &["benchmark"], "benchmark:\n  KEY: x\n"),
        ("pipeline", pipeline, &["verify"], "verify:\n  KEY: x\n"),
        ("pipeline", pipeline, &["artifacts"], "artifacts:\n  KEY: x\n"),
        ("pipeline", pipeline, &["tooling"], "tooling:\n  KEY: x\n"),
        ("bootstrap", bootstrap, &[], "KEY: x\n"),
        ("actions", actions, &[], "KEY: x\n"),
        ("actions", actions, &["actions", "[]"], "actions:\n  - KEY: x\n"),
        (
            "actions",
            actions,
            &["actions", "[]"],
            "actions:\n  - kind: write_file\n    KEY: x\n",
        ),
    ] {
        let schema = all[name].as_value();
        let known = keys(schema, schema, place);
        let refusal = read(&text.replace("KEY", "qqqqqqqqqqqqqqqqqqqqqqqqqqqq")).expect("no such key");
        let (_, listed) = refusal
            .split_once("; known here: ")
            .unwrap_or_else(|| panic!("{refusal}"));
        for key in listed.split(", ").filter(|key| *key != "boot") {
            assert!(known.contains(key), "{name} {place:?}: the reader takes `{key}`");
        }
        let either = ["cmd", "path", "content"];
        for key in known
            .iter()
            .filter(|key| name != "actions" || !either.contains(&key.as_str()))
        {
            let said = read(&text.replace("KEY", key)).unwrap_or_default();
            assert!(
                !said.contains("unknown key") || text.contains(&format!("{key}: ")),
                "{name} {place:?}: {said}"
            );
        }
    }
}
