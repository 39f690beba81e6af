//! The JSON files that stages may leave under `.aider_fsm/` beside metrics and
//! rollouts: `runtime_env.json`, `hints_run.json`, and the proof that hints were used.

use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

use super::{MAX_DOCUMENT, metrics::parse_json};
use crate::document::shown;

/// What a value must be where it is present.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Boolean,
    Number,
    Text,
    Object,
    Texts,
    Objects,
}

impl Kind {
    fn holds(self, value: &Value) -> bool {
        let all = |test: fn(&Value) -> bool| value.as_array().is_some_and(|items| items.iter().all(test));
        match self {
            Kind::Boolean => value.is_boolean(),
            Kind::Number => value.is_number(),
            Kind::Text => value.is_string(),
            Kind::Object => value.is_object(),
            Kind::Texts => all(Value::is_string),
            Kind::Objects => all(Value::is_object),
        }
    }

    fn schema(self) -> Value {
        match self {
            Kind::Boolean => json!({"type": "boolean"}),
            Kind::Number => json!({"type": "number"}),
            Kind::Text => json!({"type": "string"}),
            Kind::Object => json!({"type": "object", "properties": {}}),
            Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Kind::Objects => json!({"type": "array", "items": {"type": "object"}}),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "a boolean",
            Kind::Number => "a number",
            Kind::Text => "a string",
            Kind::Object => "an object",
            Kind::Texts => "a list of strings",
            Kind::Objects => "a list of objects",
        }
    }
}

/// `runtime_env.json`: what a deployment offers to the stages after it.
pub(super) const RUNTIME_ENV: [(&str, Kind); 14] = [
    ("ok", Kind::Boolean),
    ("run_id", Kind::Text),
    ("pid", Kind::Number),
    ("service", Kind::Object),
    ("service.base_url", Kind::Text),
    ("service.health_url", Kind::Text),
    ("inference", Kind::Object),
    ("inference.type", Kind::Text),
    ("inference.model_dir", Kind::Text),
    ("inference.openai_base_url", Kind::Text),
    ("inference.model", Kind::Text),
    ("paths", Kind::Object),
    ("paths.rollout_path", Kind::Text),
    ("paths.metrics_path", Kind::Text),
];

/// `hints_run.json`: which documented command an evaluation ran.
pub(super) const HINTS_RUN: [(&str, Kind); 5] = [
    ("ok", Kind::Boolean),
    ("score", Kind::Number),
    ("chosen_command", Kind::Text),
    ("used_anchors", Kind::Texts),
    ("attempts", Kind::Objects),
];

/// Checks `runtime_env.json`: a JSON object, its known keys of their types, `ok` not false.
///
/// # Errors
/// Every finding, as `runtime_env.<code>` or `runtime_env.<code>: <detail>`, one line
/// each. Codes: `too_large`, `invalid_json`, `json_not_object`, `wrong_type`, `ok_not_true`.
pub fn validate_runtime_env(bytes: &[u8]) -> Result<Value, Vec<String>> {
    let (object, mut findings) = check("runtime_env", bytes, &RUNTIME_ENV)?;
    if object.get("ok") == Some(&Value::Bool(false)) {
        findings.push("runtime_env.ok_not_true".to_owned());
    }
    if findings.is_empty() {
        Ok(Value::Object(object))
    } else {
        Err(findings)
    }
}

/// Checks `hints_run.json`: a JSON object, its known keys of their types.
///
/// # Errors
/// As [`validate_runtime_env`], with `hints_run` for the file and without `ok_not_true`.
pub fn validate_hints_run(bytes: &[u8]) -> Result<Value, Vec<String>> {
    let (object, findings) = check("hints_run", bytes, &HINTS_RUN)?;
    if findings.is_empty() {
        Ok(Value::Object(object))
    } else {
        Err(findings)
    }
}

/// The JSON Schema of such a file; what it does not name is kept as it is.
pub(super) fn schema(shape: &[(&str, Kind)]) -> Schema {
    let mut properties = Map::new();
    for (path, kind) in shape {
        match path.split_once('.') {
            None => {
                properties.insert((*path).to_owned(), kind.schema());
            }
            // The tables name a section before its fields.
            Some((section, name)) => properties[section]["properties"][name] = kind.schema(),
        }
    }
    json_schema!({"type": "object", "properties": properties})
}

/// What a file holds, and what is wrong with it.
type Checked = (Map<String, Value>, Vec<String>);

fn check(name: &str, bytes: &[u8], shape: &[(&str, Kind)]) -> Result<Checked, Vec<String>> {
    let object = object(bytes).map_err(|why| vec![format!("{name}.{why}")])?;
    let wrong = |(path, kind): &(&str, Kind)| {
        let mut at = &object;
        let mut names = path.split('.').peekable();
        while let Some(key) = names.next() {
            let value = at.get(key)?;
            if names.peek().is_none() {
                return (!kind.holds(value)).then(|| format!("{name}.wrong_type: {path} must be {}", kind.name()));
            }
            at = value.as_object()?;
        }
        None
    };
    let findings = shape.iter().filter_map(wrong).collect();
    Ok((object, findings))
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(format!("too_large: {} bytes of {MAX_DOCUMENT}", bytes.len()));
    }
    match parse_json(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("json_not_object".to_owned()),
        Err(why) => Err(format!("invalid_json: {why}")),
    }
}

/// Checks the proof that an evaluation used a documented command: `hints_used.json`.
/// `expected` is the JSON list of anchors of which one must have been used; `None`
/// or an empty list asks for none.
///
/// # Errors
/// The predecessor's reason, `hints_used.ok_not_true` and its like, one line.
pub fn hint_proof(bytes: &[u8], expected: Option<&str>) -> Result<(), String> {
    let used = object(bytes).map_err(|why| format!("hints_used_json_{why}"))?;
    let refuse = |why: &str| Err(format!("hints_used.{why}"));
    if used.get("ok") != Some(&Value::Bool(true)) {
        return refuse("ok_not_true");
    }
    let anchors = match used.get("used_anchors").map(|anchors| anchors.as_array()) {
        Some(Some(anchors)) if !anchors.is_empty() => anchors,
        Some(None) => return refuse("used_anchors_invalid"),
        _ => return refuse("used_anchors_missing_or_empty"),
    };
    let Some(anchors) = texts(anchors) else {
        return refuse("used_anchors_invalid");
    };
    if let Some(expected) = expected.filter(|text| !text.trim().is_empty()) {
        let list = parse_json(expected.as_bytes()).ok();
        let Some(expected) = list.as_ref().and_then(Value::as_array).and_then(|list| texts(list)) else {
            return Err(format!(
                "AIDER_FSM_HINT_ANCHORS_JSON is no list of strings: {}",
                shown(expected)
            ));
        };
        if !expected.is_empty() && !anchors.iter().any(|anchor| expected.contains(anchor)) {
            return refuse("no_expected_anchor");
        }
    }
    match used.get("commands").map(|commands| Kind::Texts.holds(commands)) {
        Some(true) => Ok(()),
        _ => refuse("commands_invalid"),
    }
}

/// Strings that are not blank, trimmed; `None` when anything else is among them.
fn texts(values: &[Value]) -> Option<Vec<&str>> {
    let mut texts = Vec::with_capacity(values.len());
    for value in values {
        texts.push(value.as_str().map(str::trim).filter(|text| !text.is_empty())?);
    }
    Some(texts)
}

/// Whether an environment's flag is set: `1`, `true`, `yes`, `y` or `on`, whatever its case.
pub fn truthy(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    ["1", "true", "yes", "y", "on"].contains(&value.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_runtime_env_is_an_object_of_typed_keys() {
        let good = r#"{"ok": true, "service": {"base_url": "http://127.0.0.1:1"}, "inference": {}, "pid": 7, "x": []}"#;
        assert!(validate_runtime_env(good.as_bytes()).is_ok());
        assert!(validate_runtime_env(b"{}").is_ok());
        let findings = |json: &str| validate_runtime_env(json.as_bytes()).unwrap_err().join("; ");
        assert_eq!(
            findings(r#"{"ok": "yes", "service": {"base_url": 1}, "inference": [], "paths": {"rollout_path": null}}"#),
            "runtime_env.wrong_type: ok must be a boolean; \
             runtime_env.wrong_type: service.base_url must be a string; \
             runtime_env.wrong_type: inference must be an object; \
             runtime_env.wrong_type: paths.rollout_path must be a string"
        );
        assert_eq!(findings(r#"{"ok": false}"#), "runtime_env.ok_not_true");
        assert_eq!(findings("[]"), "runtime_env.json_not_object");
        assert!(findings("{\"pid\": NaN}").starts_with("runtime_env.invalid_json: "));
        assert!(findings(&" ".repeat(MAX_DOCUMENT + 1)).starts_with("runtime_env.too_large: "));
    }

    #[test]
    fn a_hint_run_is_an_object_of_typed_keys() {
        assert!(validate_hints_run(br#"{"ok": false, "score": 0.5, "used_anchors": [], "attempts": [{}]}"#).is_ok());
        let findings = validate_hints_run(br#"{"score": "1", "used_anchors": [1], "attempts": {}}"#).unwrap_err();
        assert_eq!(
            findings,
            [
                "hints_run.wrong_type: score must be a number",
                "hints_run.wrong_type: used_anchors must be a list of strings",
                "hints_run.wrong_type: attempts must be a list of objects",
            ]
        );
    }

    #[test]
    fn a_hint_proof_has_the_predecessors_reasons() {
        let proof = |json: &str, expected| hint_proof(json.as_bytes(), expected);
        let good = r#"{"ok": true, "used_anchors": ["pytest", "a"], "commands": ["pytest -q"]}"#;
        assert_eq!(proof(good, None), Ok(()));
        for expected in ["[]", "", r#"["b", "a"]"#] {
            assert_eq!(proof(good, Some(expected)), Ok(()), "{expected}");
        }
        for (json, expected, why) in [
            ("{}", None, "hints_used.ok_not_true"),
            (r#"{"ok": "true"}"#, None, "hints_used.ok_not_true"),
            (r#"{"ok": true}"#, None, "hints_used.used_anchors_missing_or_empty"),
            (
                r#"{"ok": true, "used_anchors": []}"#,
                None,
                "hints_used.used_anchors_missing_or_empty",
            ),
            (
                r#"{"ok": true, "used_anchors": "a"}"#,
                None,
                "hints_used.used_anchors_invalid",
            ),
            (
                r#"{"ok": true, "used_anchors": [" "]}"#,
                None,
                "hints_used.used_anchors_invalid",
            ),
            (good, Some(r#"["b"]"#), "hints_used.no_expected_anchor"),
            (
                r#"{"ok": true, "used_anchors": ["a"]}"#,
                None,
                "hints_used.commands_invalid",
            ),
            (
                r#"{"ok": true, "used_anchors": ["a"], "commands": [1]}"#,
                None,
                "hints_used.commands_invalid",
            ),
            ("[]", None, "hints_used_json_json_not_object"),
        ] {
            assert_eq!(proof(json, expected), Err(why.to_owned()), "{json}");
        }
        assert!(
            proof(good, Some("{"))
                .unwrap_err()
                .contains("AIDER_FSM_HINT_ANCHORS_JSON")
        );
        assert!(
            proof("{", None)
                .unwrap_err()
                .starts_with("hints_used_json_invalid_json: ")
        );
    }

    #[test]
    fn flags_are_set_by_five_words() {
        for word in ["1", "true", "YES", " y ", "On"] {
            assert!(truthy(word), "{word}");
        }
        for word in ["", "0", "false", "2", "enabled", "no"] {
            assert!(!truthy(word), "{word}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_findings_are_single_lines(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut lines = validate_runtime_env(&bytes).err().unwrap_or_default();
            lines.extend(validate_hints_run(&bytes).err().unwrap_or_default());
            lines.extend(hint_proof(&bytes, Some("[\"a\"]")).err());
            prop_assert!(lines.iter().all(|line| !line.contains('\n')));
        }
    }
}
