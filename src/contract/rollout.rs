//! `.aider_fsm/rollout.json`, which a rollout stage may leave behind.

use serde_json::Value;

use super::{MAX_DOCUMENT, metrics::parse_json};

/// Checks a rollout summary: a JSON object in which `ok`, `counts.*` and
/// `paths.*` have their types where they are present.
///
/// # Errors
/// Every finding, as `rollout.<code>` or `rollout.<code>: <detail>`, one line
/// each. Codes: `too_large`, `invalid_json`, `json_not_object`,
/// `ok_not_boolean`, `ok_not_true`, `counts_not_object`, `count_not_whole`,
/// `paths_not_object` and `path_not_string`.
pub fn validate_rollout(bytes: &[u8]) -> Result<Value, Vec<String>> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(vec![format!(
            "rollout.too_large: {} bytes of {MAX_DOCUMENT}",
            bytes.len()
        )]);
    }
    let value = parse_json(bytes).map_err(|why| vec![format!("rollout.invalid_json: {why}")])?;
    let Value::Object(object) = &value else {
        return Err(vec!["rollout.json_not_object".to_owned()]);
    };
    let mut findings = Vec::new();
    match object.get("ok").map(Value::as_bool) {
        Some(None) => findings.push("rollout.ok_not_boolean".to_owned()),
        Some(Some(false)) => findings.push("rollout.ok_not_true".to_owned()),
        _ => {}
    }
    match object.get("counts") {
        Some(Value::Object(counts)) => {
            for name in ["samples", "correct", "errors"] {
                if counts.get(name).is_some_and(|count| count.as_u64().is_none()) {
                    findings.push(format!("rollout.count_not_whole: counts.{name}"));
                }
            }
        }
        Some(_) => findings.push("rollout.counts_not_object".to_owned()),
        None => {}
    }
    match object
        .get("paths")
        .map(|paths| paths.as_object().map(|paths| paths.get("samples_jsonl")))
    {
        Some(None) => findings.push("rollout.paths_not_object".to_owned()),
        Some(Some(Some(path))) if path.as_str().is_none_or(str::is_empty) => {
            findings.push("rollout.path_not_string: paths.samples_jsonl".to_owned());
        }
        _ => {}
    }
    if findings.is_empty() { Ok(value) } else { Err(findings) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(json: &str) -> String {
        validate_rollout(json.as_bytes()).unwrap_err().join("; ")
    }

    #[test]
    fn typed_fields_pass_and_unknown_ones_are_kept() {
        let json = r#"{"ok": true, "counts": {"samples": 0}, "paths": {"samples_jsonl": "/a/b"}, "mode": "demo"}"#;
        assert_eq!(validate_rollout(json.as_bytes()).unwrap()["mode"], "demo");
        assert!(validate_rollout(b"{}").is_ok());
    }

    #[test]
    fn wrong_types_are_all_named() {
        assert_eq!(
            findings(r#"{"ok": 1, "counts": {"samples": -1, "errors": 0.5}, "paths": {"samples_jsonl": ""}}"#),
            "rollout.ok_not_boolean; rollout.count_not_whole: counts.samples; \
             rollout.count_not_whole: counts.errors; rollout.path_not_string: paths.samples_jsonl"
        );
        assert_eq!(
            findings(r#"{"ok": false, "counts": [], "paths": 1}"#),
            "rollout.ok_not_true; rollout.counts_not_object; rollout.paths_not_object"
        );
        assert_eq!(findings("null"), "rollout.json_not_object");
        assert!(findings("{\"a\": NaN}").starts_with("rollout.invalid_json: "));
        assert!(findings(&" ".repeat(MAX_DOCUMENT + 1)).starts_with("rollout.too_large: "));
    }
}
