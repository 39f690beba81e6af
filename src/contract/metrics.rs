//! The metrics file that `evaluation` leaves behind.

use serde_json::{Map, Value};

use super::{MAX_DOCUMENT, stage::StageName};
use crate::{document::shown, names::RelPath};

/// Metrics that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// The whole object.
    pub value: Map<String, Value>,
    /// The top-level `ok`, when there is one.
    pub ok: Option<bool>,
    /// The top-level `score`, when there is one; always finite.
    pub score: Option<f64>,
}

/// Checks the metrics that `stage` left in `path`; `bytes` is `None` when the
/// file does not exist (or is left over from before the stage).
///
/// # Errors
/// Every finding, as `<stage>.<code>` or `<stage>.<code>: <detail>`, one line
/// each. Codes: `metrics_file_missing`, `metrics_too_large`, `invalid_json`,
/// `metrics_json_not_object`, `missing_keys`, `ok_not_boolean`, `ok_not_true`
/// (only when `ok` is required) and `score_not_number`.
pub fn validate_metrics(
    stage: StageName,
    path: &RelPath,
    bytes: Option<&[u8]>,
    required_keys: &[String],
) -> Result<Metrics, Vec<String>> {
    let Some(bytes) = bytes else {
        return Err(vec![format!("{stage}.metrics_file_missing: {path}")]);
    };
    if bytes.len() > MAX_DOCUMENT {
        return Err(vec![format!(
            "{stage}.metrics_too_large: {path} has {} bytes of {MAX_DOCUMENT}",
            bytes.len()
        )]);
    }
    let value = match parse_json(bytes) {
        Ok(Value::Object(value)) => value,
        Ok(_) => return Err(vec![format!("{stage}.metrics_json_not_object")]),
        Err(why) => return Err(vec![format!("{stage}.invalid_json: {why}")]),
    };
    let mut findings = Vec::new();
    let missing: Vec<String> = required_keys
        .iter()
        .filter(|key| lookup(&value, key).is_none())
        .map(|key| shown(key))
        .collect();
    if !missing.is_empty() {
        findings.push(format!("{stage}.missing_keys: {}", missing.join(", ")));
    }
    let ok = value.get("ok").map(Value::as_bool);
    match ok {
        Some(None) => findings.push(format!("{stage}.ok_not_boolean")),
        Some(Some(false)) if required_keys.iter().any(|key| key == "ok") => {
            findings.push(format!("{stage}.ok_not_true"));
        }
        _ => {}
    }
    let score = value
        .get("score")
        .map(|score| score.as_f64().filter(|score| score.is_finite()));
    if score == Some(None) {
        findings.push(format!("{stage}.score_not_number"));
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(Metrics {
        ok: ok.flatten(),
        score: score.flatten(),
        value,
    })
}

/// JSON as RFC 8259 has it: NaN, infinities and numbers beyond a double are
/// refused, nesting is bounded by the parser.
pub(super) fn parse_json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| shown(&error.to_string()))
}

/// The value under `key`: the literal top-level key if it is there, else the dotted path through objects.
fn lookup<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(key) {
        return Some(value);
    }
    let mut names = key.split('.');
    let mut at = object.get(names.next()?)?;
    for name in names {
        at = at.as_object()?.get(name)?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(json: &str, required: &[&str]) -> Result<Metrics, Vec<String>> {
        let path = RelPath::new(".aider_fsm/metrics.json").unwrap();
        let required: Vec<String> = required.iter().map(|key| (*key).to_owned()).collect();
        validate_metrics(StageName::Evaluation, &path, Some(json.as_bytes()), &required)
    }

    fn findings(json: &str, required: &[&str]) -> String {
        check(json, required).unwrap_err().join("; ")
    }

    #[test]
    fn good_metrics_give_ok_and_score() {
        let metrics = check(r#"{"ok": true, "score": 1, "extra": null}"#, &["ok", "score", "extra"]).unwrap();
        assert_eq!(
            (metrics.ok, metrics.score, metrics.value.len()),
            (Some(true), Some(1.0), 3)
        );
        let metrics = check("{}", &[]).unwrap();
        assert_eq!((metrics.ok, metrics.score), (None, None));
        assert_eq!(check(r#"{"ok": false}"#, &[]).unwrap().ok, Some(false));
    }

    #[test]
    fn a_missing_file_names_its_path() {
        let path = RelPath::new("out/m.json").unwrap();
        assert_eq!(
            validate_metrics(StageName::Evaluation, &path, None, &[]).unwrap_err(),
            ["evaluation.metrics_file_missing: out/m.json"]
        );
    }

    #[test]
    fn every_finding_is_reported() {
        assert_eq!(
            findings(r#"{"ok": "yes", "score": "banana"}"#, &["ok", "a", "b"]),
            "evaluation.missing_keys: a, b; evaluation.ok_not_boolean; evaluation.score_not_number"
        );
        assert_eq!(findings(r#"{"ok": false}"#, &["ok"]), "evaluation.ok_not_true");
        assert_eq!(findings(r#"{"score": true}"#, &[]), "evaluation.score_not_number");
        assert_eq!(findings(r#"{"score": null}"#, &[]), "evaluation.score_not_number");
        assert_eq!(findings("[1]", &[]), "evaluation.metrics_json_not_object");
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for json in [
            "",
            "{",
            r#"{"score": NaN}"#,
            r#"{"score": Infinity}"#,
            r#"{"score": -Infinity}"#,
            r#"{"score": 1e999}"#,
            "{} {}",
            &"[".repeat(100_000),
        ] {
            assert!(
                findings(json, &[]).starts_with("evaluation.invalid_json: "),
                "{json:.40}"
            );
        }
        assert!(findings(&format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_DOCUMENT)), &[]).contains("metrics_too_large"));
    }

    #[test]
    fn dotted_keys_descend_after_the_literal_key_was_tried() {
        assert!(check(r#"{"eval": {"score": 1}}"#, &["eval.score"]).is_ok());
        assert!(check(r#"{"eval.score": 1}"#, &["eval.score"]).is_ok());
        assert_eq!(
            findings(r#"{"eval": 1}"#, &["eval.score"]),
            "evaluation.missing_keys: eval.score"
        );
        assert_eq!(
            findings(r#"{"eval": {}}"#, &["eval.", "."]),
            "evaluation.missing_keys: eval., ."
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_findings_are_single_lines(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            key in "\\PC{0,20}",
        ) {
            let path = RelPath::new("m.json").unwrap();
            if let Err(findings) = validate_metrics(StageName::Evaluation, &path, Some(&bytes), &[key]) {
                prop_assert!(findings.iter().all(|finding| !finding.contains('\n')));
            }
        }
    }
}
