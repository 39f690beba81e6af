//! `--print-config`: every setting as it would be used, and where it comes from.

use serde_json::{Map, Value, json};

use super::{
    invocation::Invocation,
    model::Resolved,
    surroundings::{Origin, Setting},
};
use crate::{
    contract,
    engine::{Caps, EngineError},
    record::{self, Redactor, Secret},
};

/// What stands for a value that is never shown.
const HIDDEN: &str = "***";
/// Arguments that are not settings, and those that are shown resolved.
const NOT_SHOWN: [&str; 7] = ["help", "print-config", "repo", "env", "model", "base-url", "json"];

/// One line of the table.
struct Row {
    name: String,
    value: Value,
    origin: Origin,
}

/// The whole, redacted, as JSON and as a table. `grants` and `model` are what was
/// resolved beyond the arguments; `verify` has no model.
pub(super) fn shown(
    invocation: &Invocation,
    grants: &[(Setting<String>, Secret)],
    model: Option<&Resolved>,
) -> Result<(Value, String), EngineError> {
    let mut rows: Vec<Row> = invocation
        .arguments()
        .filter(|(name, _)| !NOT_SHOWN.contains(&name.as_str()))
        .map(|(name, setting)| Row {
            value: value_of(&setting.value),
            origin: setting.origin,
            name,
        })
        .collect();
    let text = |name: &str, setting: Option<&Setting<String>>| Row {
        name: name.to_owned(),
        value: setting.map_or(Value::Null, |setting| json!(without_password(&setting.value))),
        origin: setting.map_or(Origin::Default, |setting| setting.origin.clone()),
    };
    let mut secrets = invocation.around.secrets();
    if let Some(model) = model {
        rows.push(text("model", model.model.as_ref()));
        rows.push(text("base-url", model.base_url.as_ref()));
        rows.push(Row {
            name: "api-key".to_owned(),
            value: model.api_key.as_ref().map_or(Value::Null, |_| json!(HIDDEN)),
            origin: model.api_key.as_ref().map_or(Origin::Default, |key| key.origin.clone()),
        });
    }
    for (name, secret) in grants {
        secrets.push(secret.clone());
        rows.push(Row {
            name: format!("env {}", name.value),
            value: json!(HIDDEN),
            origin: name.origin.clone(),
        });
    }
    if let Some((_, repo)) = invocation
        .arguments()
        .find(|(name, repo)| name == "repo" && !repo.value.is_empty())
    {
        rows.retain(|row| row.name != "target");
        rows.push(Row {
            name: "target".to_owned(),
            value: value_of(&repo.value),
            origin: repo.origin,
        });
    }
    for row in rows.iter_mut().filter(|row| row.name == "target") {
        if let Value::String(text) = &row.value {
            row.value = json!(without_password(text));
        }
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let redactor = Redactor::new(&secrets);
    for row in &mut rows {
        match row.name.as_str() {
            "max-run" if row.value.is_null() => row.value = json!(Caps::RUN.as_secs().to_string()),
            "max-silence" if row.value.is_null() => row.value = json!(Caps::SILENCE.as_secs().to_string()),
            "pipeline" if row.value.is_null() => row.value = json!(contract::default_path()),
            "artifacts-dir" if row.value.is_null() => row.value = json!(record::default_runs_dir()?),
            "env-file" if row.value.is_null() => row.value = json!(invocation.around.env_file()),
            _ => {}
        }
        row.value = redactor.value(row.value.take());
    }
    Ok((as_json(&rows), as_table(&rows)))
}

fn value_of(values: &[String]) -> Value {
    match values {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    }
}

/// A URL whose user name and password (RFC 3986, 3.2.1) are not shown.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{HIDDEN}{}", &rest[at..]),
        None => url.to_owned(),
    }
}

fn as_json(rows: &[Row]) -> Value {
    let setting = |row: &Row| {
        let origin = row.origin.to_string();
        (row.name.clone(), json!({"value": row.value, "origin": origin}))
    };
    json!({"settings": rows.iter().map(setting).collect::<Map<_, _>>()})
}

fn as_table(rows: &[Row]) -> String {
    let cells: Vec<(String, String, String)> = rows
        .iter()
        .map(|row| {
            let value = match &row.value {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let cell = |text: &str| crate::report::escape(text.as_bytes(), 200);
            (cell(&row.name), cell(&value), cell(&row.origin.to_string()))
        })
        .collect();
    let width = |of: fn(&(String, String, String)) -> &String| cells.iter().map(|c| of(c).chars().count()).max();
    let (name, value) = (width(|c| &c.0).unwrap_or(0), width(|c| &c.1).unwrap_or(0).min(60));
    let lines = cells
        .iter()
        .map(|c| format!("{:<name$}  {:<value$}  {}", c.0, c.1, c.2));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for (url, shown) in [
            ("http://u:p@h:1/v1", "http://***@h:1/v1"),
            ("https://p@ss@h/x@y", "https://***@h/x@y"),
            ("http://h/v1?a=@", "http://h/v1?a=@"),
            ("local/model@1", "local/model@1"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
