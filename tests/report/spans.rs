//! Spans, held against what OTLP's JSON encoding says of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use boon::{Compiler, Schemas};
use serde_json::{Value, json};

use crate::{
    formats::{runs, told},
    made::Made,
};

/// `opentelemetry/proto/trace/v1/trace.proto` and the encoding's own rules, as far as they
/// concern what is written: ids in hexadecimal digits, 64-bit numbers in strings, enums as
/// numbers, lowerCamelCase names, and no others.
fn schema() -> Value {
    let strict = |required: &[&str], properties: Value| json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties});
    let number = json!({"type": "string", "pattern": "^-?(0|[1-9][0-9]*)$"});
    let value = json!({"type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1, "properties": {
        "stringValue": {"type": "string", "minLength": 1, "maxLength": 20_000},
        "boolValue": {"type": "boolean"},
        "intValue": number,
    }});
    let pair = strict(
        &["key", "value"],
        json!({"key": {"type": "string", "minLength": 1}, "value": value}),
    );
    let attributes = json!({"type": "array", "items": pair});
    let id = |digits: u8| json!({"type": "string", "pattern": format!("^[0-9a-f]{{{digits}}}$"), "not": {"pattern": "^0*$"}});
    let status = strict(&[], json!({"code": {"enum": [0, 1, 2]}, "message": {"type": "string"}}));
    let span = strict(
        &[
            "traceId",
            "spanId",
            "name",
            "kind",
            "startTimeUnixNano",
            "endTimeUnixNano",
            "attributes",
            "status",
        ],
        json!({
            "traceId": id(32), "spanId": id(16), "parentSpanId": id(16), "name": {"type": "string", "minLength": 1},
            "kind": {"enum": [0, 1, 2, 3, 4, 5]}, "startTimeUnixNano": number, "endTimeUnixNano": number,
            "attributes": attributes, "status": status,
        }),
    );
    let scope = strict(
        &["name", "version"],
        json!({"name": {"type": "string"}, "version": {"type": "string"}}),
    );
    let scoped = strict(
        &["scope", "spans"],
        json!({"scope": scope, "spans": {"type": "array", "items": span}}),
    );
    let resource = strict(&["attributes"], json!({"attributes": attributes}));
    let of_resource = strict(
        &["resource", "scopeSpans"],
        json!({"resource": resource, "scopeSpans": {"type": "array", "items": scoped, "minItems": 1}}),
    );
    strict(
        &["resourceSpans"],
        json!({"resourceSpans": {"type": "array", "items": of_resource, "minItems": 1}}),
    )
}

fn spans_of(run: &Path) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("tempdir");
    let [one, other] = ["one.json", "other.json"].map(|name| {
        told("export", run, "otlp", &dir.path().join(name));
        fs::read_to_string(dir.path().join(name)).expect("read")
    });
    assert_eq!(one, other, "the same run gives the same spans");
    assert_eq!(one.matches('\n').count(), 1, "a line for a collector");
    let document: Value = serde_json::from_str(&one).expect("json");
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.add_resource("urn:otlp", schema()).expect("a resource");
    let index = compiler.compile("urn:otlp", &mut schemas).expect("a schema");
    if let Err(why) = schemas.validate(&document, index) {
        panic!("{why:#}");
    }
    let mut wrong = document.clone();
    wrong["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["startTimeUnixNano"] = json!(7);
    assert!(schemas.validate(&wrong, index).is_err(), "the control");
    let spans = &document["resourceSpans"][0]["scopeSpans"][0]["spans"];
    spans.as_array().expect("spans").clone()
}

/// The value of an attribute, as text.
fn about(span: &Value, key: &str) -> Option<String> {
    let found = span["attributes"].as_array()?.iter().find(|pair| pair["key"] == key)?;
    let value = found["value"].as_object()?.values().next()?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

#[test]
fn spans_hold_to_the_encoding_and_each_lies_in_the_one_that_it_is_a_part_of() {
    for (made, run) in runs() {
        let spans = spans_of(&run);
        let text = |span: &Value, name: &str| span[name].as_str().map(str::to_owned);
        let time = |span: &Value| {
            ["startTimeUnixNano", "endTimeUnixNano"]
                .map(|name| text(span, name).expect(name).parse::<u64>().expect("nanoseconds"))
        };
        let by_id: BTreeMap<_, _> = spans
            .iter()
            .map(|span| (text(span, "spanId").expect("an id"), span))
            .collect();
        assert_eq!(by_id.len(), spans.len(), "every id once");
        let traces: BTreeSet<_> = spans.iter().map(|span| text(span, "traceId")).collect();
        assert_eq!(traces.len(), 1);
        let roots = spans.iter().filter(|span| span.get("parentSpanId").is_none()).count();
        assert_eq!(roots, 1, "one run");
        for span in &spans {
            let [from, to] = time(span);
            assert!(from <= to, "{span}");
            if let Some(above) = text(span, "parentSpanId") {
                let above = by_id.get(&above).unwrap_or_else(|| panic!("no parent: {span}"));
                if span["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("execute_tool"))
                {
                    let [first, last] = time(above);
                    assert!(first <= from && to <= last, "{span}\n{above}");
                }
            }
        }
        let named = |name: &str| {
            spans
                .iter()
                .filter(|span| span["name"].as_str().is_some_and(|it| it.starts_with(name)))
                .count()
        };
        assert!(named("execute_tool") > 0 && named("verify") > 0);
        if made.is_some() {
            // Four iterations, in each two turns of twelve calls, and a verification.
            assert_eq!(
                (
                    named("iteration "),
                    named("invoke_agent"),
                    named("execute_tool"),
                    named("verify")
                ),
                (4, 8, 8 * 12, 4)
            );
            let turn = spans
                .iter()
                .find(|span| span["name"] == "invoke_agent opencode")
                .expect("a turn");
            assert_eq!(about(turn, "gen_ai.operation.name").as_deref(), Some("invoke_agent"));
            assert!(about(turn, "gen_ai.usage.input_tokens").is_some_and(|tokens| tokens.parse::<u64>().is_ok()));
        }
    }
}

#[test]
fn a_run_without_an_agent_has_spans_too() {
    let mut made = Made::new();
    made.end("VERIFIED", 0, 0);
    let spans = spans_of(made.path());
    assert_eq!(spans[0]["name"], "run");
    assert_eq!(spans[0]["status"]["code"], 1, "it passed: {spans:?}");
    assert!(!spans.iter().any(|span| span["name"] == "invoke_agent opencode"));
}
